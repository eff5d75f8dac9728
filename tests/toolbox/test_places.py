"""What a run may reach, and how long outputs are kept for it, on the host."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from chogori.toolbox.places import Reach, tell


def test_what_a_run_may_reach_is_one_policy(tmp_path: Path) -> None:
    reach = Reach(tmp_path / "work", lambda run: tmp_path / run, write=True)
    policy = reach.policy("run-1")
    assert (policy.workspace, policy.out) == (tmp_path / "work", tmp_path / "run-1")
    assert policy.work_writable
    assert reach.policy("run-1", tmp_path / "other").out == tmp_path / "other"
    assert not Reach(None, lambda run: tmp_path).policy("r").work_writable


async def test_what_fits_is_told_whole_and_not_kept(tmp_path: Path) -> None:
    assert await tell("short", tmp_path / "out", limit=5, name="t") == "short"
    assert not (tmp_path / "out").exists()


async def test_what_does_not_fit_is_kept_whole_once(tmp_path: Path) -> None:
    text = "line\n" * 100 + "\ud800"
    told = await tell(text, tmp_path / "out", limit=50, name="grep")
    assert told.startswith("line\n" * 9)
    assert "[cut: 49 of 501 characters are shown; the whole is in /out/results/grep-" in told
    assert await tell(text, tmp_path / "out", limit=50, name="grep") == told
    (kept,) = (tmp_path / "out" / "results").iterdir()
    assert kept.read_text() == "line\n" * 100 + "?"


async def test_without_a_folder_a_long_text_is_cut_all_the_same(tmp_path: Path) -> None:
    assert await tell("x" * 10, None, limit=4, name="t") == (
        "xxxx\n[cut: 4 of 10 characters are shown]"
    )
    (tmp_path / "file").touch()
    assert "kept" not in await tell("x" * 10, tmp_path / "file" / "out", limit=4, name="t")


@pytest.mark.parametrize("laid", ["folder", "file", "fifo"])
async def test_a_link_that_a_program_laid_where_texts_are_kept_is_not_followed(
    tmp_path: Path, laid: str
) -> None:
    out, precious = tmp_path / "out", tmp_path / "precious"
    precious.mkdir()
    out.mkdir()
    told = await tell("x" * 10, out, limit=4, name="t")
    (kept,) = (out / "results").iterdir()
    if laid == "folder":
        kept.unlink()
        (out / "results").rmdir()
        (out / "results").symlink_to(precious)
    else:
        kept.unlink()
        if laid == "fifo":
            os.mkfifo(kept)
        else:
            kept.symlink_to(precious / "file")
    again = await tell("x" * 10, out, limit=4, name="t")
    assert list(precious.iterdir()) == []
    assert again in (told, "xxxx\n[cut: 4 of 10 characters are shown]")
    if laid == "fifo":
        assert stat.S_ISFIFO(kept.lstat().st_mode)
