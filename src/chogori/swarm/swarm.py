"""A swarm: an orchestrator that creates subagents and assigns them tasks, all within one budget.

    swarm = Swarm(Agent(model, tools))
    answer = swarm.ask("Compare these forty files.")
    answer.report["critical_steps"]

As in Kimi K2.5: the orchestrator is an agent with two more tools; a subagent sees its own task and
tools, in a context of its own; the orchestrator sees last messages. Every subagent is a run below
the orchestrator's, so whatever is killed goes on where it was, and nothing that finished is done
again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from chogori.agent import Agent, Budget
from chogori.agent.bodies import dump
from chogori.agent.guards import DEFAULT_GUARDS, GuardFactory
from chogori.agent.run import Run, Standing, Start
from chogori.agent.verbs import Verbs
from chogori.chat import Answer, ChatModel, Event, Tool
from chogori.errors import ConfigError
from chogori.store import Store
from chogori.swarm.executor import Executor, Local, is_kept
from chogori.swarm.mapper import Mapper
from chogori.swarm.roles import ROLES, Role
from chogori.swarm.scheduler import Turnstile
from chogori.swarm.table import Table, Wide
from chogori.swarm.team import Team

SUBAGENTS, CALLS = 300, 4_000
"""More tasks than the first, and more calls of tools than the second, no swarm has."""
SUBAGENT_STEPS = 100
"""As in Kimi K2.5's own tests (technical report, appendix E.8)."""


@dataclass(frozen=True, slots=True)
class Swarm(Verbs):
    """See the module's docstring. Raises `ConfigError` for limits that no swarm has."""

    orchestrator: Agent
    """Its budget is that of the whole swarm; only the steps are its own. Its store keeps all runs,
    and where its `options` do not ask for streams, nobody is told what subagents do."""
    subagent_model: ChatModel | None = None
    """None: the orchestrator's."""
    subagent_tools: Sequence[Tool] | None = None
    """What subagents may be given; an agent that is created is given all. None: the
    orchestrator's."""
    width: int = 100
    """So many subagents run at once; requests wait for the endpoint's limiter besides."""
    subagent_budget: Budget = field(default_factory=lambda: Budget(steps=SUBAGENT_STEPS))
    """What one of them may have at most."""
    roles: Sequence[Role] = ROLES
    """Agents that need not be created. Those are offered that have a tool, or need none."""
    maps: bool = False
    """Whether the orchestrator has a third tool: one task for each of many items, as a table."""
    depth: int = 1
    """2: subagents may have subagents of their own, in this process."""
    shared_folder: bool | None = None
    """Whether subagents can append to a folder that all read; None: unless the model is small."""
    most: int = SUBAGENTS
    """Tasks in one run."""
    subagent_guards: Sequence[GuardFactory] = DEFAULT_GUARDS
    note: str = ""
    """What stands in every subagent's system prompt, after its role: where it is, what is there."""
    grace_seconds: float = 45.0
    """What a subagent whose time is over may take to land; then it is ended."""
    patience_seconds: float = 20.0
    """A subagent that does only pure work and is silent for so long, and for several times what is
    usual, gets a second run beside it."""
    retry_seconds: float = 0.5
    """How long to wait until a task is taken up again whose model could not be had; then twice."""
    ended: Callable[[str], Awaitable[None]] | None = None
    """Is told of each subagent's run that is over, to give back what it held: its sandbox."""
    executor: Executor = field(default_factory=Local)

    def __post_init__(self) -> None:
        for what, value, most in (
            ("width", self.width, SUBAGENTS),
            ("most", self.most, SUBAGENTS),
            ("depth", self.depth, 2),
            ("calls", self.orchestrator.budget.calls or CALLS, CALLS),
        ):
            if not 1 <= value <= most:
                raise ConfigError(f"a swarm's {what} is from 1 to {most:,}, and not {value:,}")

    @property
    def kept_in(self) -> Store | None:
        return self.orchestrator.kept_in

    @property
    def budget(self) -> Budget:
        """Of the whole; there is always a limit to calls."""
        budget = self.orchestrator.budget
        return replace(budget, calls=CALLS if budget.calls is None else budget.calls)

    @property
    def model_of_subagents(self) -> ChatModel:
        """Who answers for them."""
        return self.subagent_model or self.orchestrator.model

    @property
    def tools_of_subagents(self) -> Sequence[Tool]:
        """What they may be given."""
        return self.orchestrator.tools if self.subagent_tools is None else self.subagent_tools

    @property
    def ready(self) -> dict[str, Role]:
        """The roles that are offered, by name."""
        tools = self.tools_of_subagents
        return {role.name: role for role in self.roles if not role.tools or role.of(tools)}

    @property
    def has_folder(self) -> bool:
        """Whether subagents have a shared folder."""
        if self.shared_folder is None:
            return self.model_of_subagents.profile.native_tools
        return self.shared_folder

    @property
    def is_watched(self) -> bool:
        """Whether somebody is told what subagents do."""
        return self.orchestrator.options.stream

    def turnstile(self) -> Turnstile:
        """For one run. An embedded engine works on as many sequences as it has slots: more tasks
        at once would only take turns there, and lose what the engine has read."""
        slots = getattr(self.model_of_subagents, "slots", None)
        return Turnstile(min(self.width, slots) if isinstance(slots, int) else self.width)

    def subagent(self, role: Role) -> Agent:
        """The agent of a role."""
        lead = self.orchestrator
        return replace(
            lead,
            model=self.model_of_subagents,
            tools=role.of(self.tools_of_subagents),
            instructions=f"{role.system_prompt}\n\n{self.note}".strip(),
            budget=self.subagent_budget,
            options=replace(lead.options, stream=False),
            guards=self.subagent_guards,
            approval="always" if lead.approval == "always" else "never",
        )

    def describe(self) -> dict[str, Any]:
        worker = self.subagent(Role("", ""))
        return {
            **self.orchestrator.describe(),
            "swarm": {
                "subagent": worker.describe(),
                "width": self.width,
                "roles": [asdict(role) for role in self.roles],
                "maps": self.maps,
                "depth": self.depth,
                "shared_folder": self.has_folder,
                "most": self.most,
                "note": self.note,
            },
        }

    async def drive(self, start: Start, run: Run, branch: str = "") -> AsyncIterator[Event]:
        if run.held is None:
            run.held = Team(self, run)
        team = cast(Team, run.held)
        events = cast(AsyncGenerator[Event], team.begin(start).drive(start, run, branch))
        async with aclosing(events), aclosing(team.told(events)) as told:
            async for event in told:
                yield event

    async def map(
        self,
        template: str,
        items: Sequence[str],
        *,
        columns: Sequence[str] = (),
        agent: str = "worker",
        system_prompt: str = "",
        after: Mapping[int, Sequence[int]] = {},
        lengths: Sequence[float] = (),
        run_id: str | None = None,
    ) -> Table:
        """`template`, with each of `items` in the place of {item}, to a subagent for each; as a
        table, with `columns` if they are named. No model plans it: it is one call of `map_task`.

        `agent` is a role, or the name of one that has `system_prompt`. `after` names the items, by
        number, whose results an item builds on; `lengths` what each may take: the longest chains
        begin first. A map that is kept under `run_id` goes on. Raises `ConfigError`."""
        wide = Wide(agent=agent, template=template, items=items, columns=tuple(columns),
                    after=after, lengths=lengths)  # fmt: skip
        mapping = self.mapping(self._roles_for(agent, system_prompt))
        is_there = run_id is not None and await is_kept(self, run_id)
        events = (
            mapping.resume(run_id or "")
            if is_there
            else mapping.stream(dump(wide.told()).decode(), run_id=run_id)
        )
        answer = [event async for event in events][-1]
        assert isinstance(answer, Answer), "nobody need be asked"
        told = next(message for message in answer.conversation if message.role == "tool")
        if told.extra.get("failed"):
            raise ConfigError(told.text)
        return cast(Team, cast(Standing, answer.standing).run.held).table

    def mapping(self, roles: Sequence[Role]) -> Swarm:
        """This swarm, with an orchestrator that only maps."""
        lead = replace(self.orchestrator, model=Mapper(), tools=(), guards=(), instructions="")
        return replace(
            self,
            orchestrator=lead,
            subagent_model=self.model_of_subagents,
            subagent_tools=self.tools_of_subagents,
            maps=True,
            roles=roles,
        )

    def _roles_for(self, agent: str, system_prompt: str) -> list[Role]:
        others = [role for role in self.roles if role.name != agent]
        own = next((role for role in self.roles if role.name == agent), Role(agent, ""))
        return [*others, replace(own, system_prompt=system_prompt) if system_prompt else own]
