"""`chogori runs plot`: a run as a picture, a lane for each of its agents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from chogori.apps.keeping import found
from chogori.apps.lanes import closing
from chogori.apps.settings import Settings
from chogori.errors import ConfigError
from chogori.swarm.lanes import Lane, Timeline, timeline

FORMATS = (".png", ".svg")
COLOURS = {"model": "#4878a8", "tool": "#e8903a", "others": "#c9d6e2"}
NAMES = {"model": "waits for its model", "tool": "waits for a tool", "others": "waits for its team"}
IDLE, CRITICAL = "#dddddd", "#c03028"
NAMED = 80
"""Beyond so many lanes there is no room for names."""
INCHES, MOST_INCHES = 0.2, 16.0
"""Of one lane, and of all."""


async def plot_run(settings: Settings, wanted: str, out: Path | None) -> list[Path]:
    """Draw a run into files and tell which; `out` is one of them, or their name without its end.
    Raises `RunNotFound`, and `ConfigError` where pictures cannot be drawn."""
    figure_type = _figure_type()
    async with found(settings, wanted) as (store, id):
        told = await timeline(store, id)
    figure = draw(figure_type, id, told)
    paths = _paths(out or Path(id))
    for path in paths:
        try:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else {})
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
        print(path, file=sys.stdout)
    return paths


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(
            "pictures are drawn by matplotlib, which is not installed: pip install 'chogori[tools]'"
        ) from error
    return Figure


def _paths(out: Path) -> list[Path]:
    if out.suffix in FORMATS:
        return [out]
    return [out.with_name(out.name + suffix) for suffix in FORMATS]


def draw(figure_type: Any, id: str, told: Timeline) -> Any:
    """The picture."""
    count = len(told.lanes)
    height = min(MOST_INCHES, INCHES * count)
    figure = figure_type(figsize=(11, height + 1.6), layout="constrained")
    axes = figure.add_subplot()
    for row, lane in enumerate(told.lanes):
        _draw_lane(axes, row, lane)
    for cut in told.cuts:
        axes.axvline(cut, color="black", linestyle=":", linewidth=1)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, max(told.seconds, 0.001) * 1.005)
    axes.set_xlabel("seconds" + ("; at a dotted line the run was stopped" if told.cuts else ""))
    axes.set_yticks(range(count) if count <= NAMED else [])
    if count <= NAMED:
        axes.set_yticklabels([_label(lane) for lane in told.lanes], fontsize=7)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(_title(id, told), fontsize=10, loc="left")
    _draw_legend(figure, axes, told)
    return figure


def _draw_lane(axes: Any, row: int, lane: Lane) -> None:
    place = (row - 0.36, 0.72)
    axes.broken_barh([(lane.begin, lane.end - lane.begin)], place, color=IDLE, linewidth=0)
    for kind, colour in COLOURS.items():
        spans = [(s.begin, s.end - s.begin) for s in lane.spans if s.kind == kind]
        if spans:
            axes.broken_barh(spans, place, color=colour, linewidth=0)
    if lane.is_critical:
        whole = [(lane.begin, lane.end - lane.begin)]
        axes.broken_barh(whole, place, facecolor="none", edgecolor=CRITICAL, linewidth=1.2)


def _label(lane: Lane) -> str:
    # matplotlib reads dollars as mathematics
    name = lane.name.replace("$", r"\$")
    return f"{name} {lane.run_id.rpartition('-')[2][:6] if lane.depth else ''}".strip()


def _title(id: str, told: Timeline) -> str:
    if told.report:
        return f"{id}: {told.seconds:.1f} s\n{closing(told.report)}".replace("$", r"\$")
    subagents = len(told.lanes) - 1
    return (
        f"{id}: {subagents} subagent{'' if subagents == 1 else 's'}, {told.steps} steps, "
        f"{told.critical_steps} critical, {told.seconds:.1f} s"
    )


def _draw_legend(figure: Any, axes: Any, told: Timeline) -> None:
    from matplotlib.patches import Patch

    kinds = {span.kind for lane in told.lanes for span in lane.spans}
    patches = [Patch(color=COLOURS[kind], label=NAMES[kind]) for kind in COLOURS if kind in kinds]
    patches.append(Patch(color=IDLE, label="neither of these"))
    patches.append(Patch(facecolor="none", edgecolor=CRITICAL, label="critical steps"))
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=7,
                  frameon=False)  # fmt: skip
