"""What an agent tells the world while it works. Every view and record is drawn from these alone.

A leg of a run ends with `Answer` or with `Waiting`; nothing follows either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chogori.chat.conversation import Conversation
from chogori.chat.messages import Delta, Message, ToolCall, Usage
from chogori.chat.parts import Content, text_of
from chogori.chat.tools import Effect


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first event of a run."""

    run_id: str
    task: Content
    model: str
    tools: tuple[str, ...] = ()
    agent: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The agent's description: what another process rebuilds it from."""


@dataclass(frozen=True, slots=True)
class LegStarted:
    """The run goes on after an answer, or after waiting, with what was waited for."""

    said: Content = ()
    approve: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """A person's yes or no, by call id."""
    results: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the client's tools brought, by call id."""


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """An embedded model came up. Told once, by whoever loaded it."""

    model: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepStarted:
    """One reply and its tools begin. Steps count from 1."""

    number: int
    budget: Mapping[str, float] = field(default_factory=dict[str, float])
    """What is left of each limit, this step taken off."""
    role: Literal["", "orchestrator", "subagent"] = ""
    """Whose step it is, in a swarm."""
    stage: int = 0
    """In a swarm, the step of the orchestrator that it belongs to, from 1; all its turns count."""


@dataclass(frozen=True, slots=True)
class ReplyRestarted:
    """The reply was cut; what had streamed of it is void, and the model is asked again."""

    reason: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """The whole reply, and what it took."""

    message: Message
    usage: Usage
    seconds: float
    first_token_seconds: float
    tokens_per_second: float
    """Completion tokens over the time from the first token to the last; 0 where unknown."""


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A call begins; the intent stands before the deed."""

    call: ToolCall
    effect: Effect


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call ended, well or not."""

    call: ToolCall
    content: Content
    failed: bool
    seconds: float
    effect: Effect
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def output(self) -> str:
        """The text of the content."""
        return text_of(self.content)


@dataclass(frozen=True, slots=True)
class Reminded:
    """A guard spoke to the model."""

    guard: str
    text: str


@dataclass(frozen=True, slots=True)
class Compacted:
    """From here on the model is shown less of the conversation; nothing of it is lost."""

    policy: str
    hidden: int
    """Messages that are no longer shown as they were."""
    tokens_before: int
    tokens_after: int
    """What a request takes up, as estimated."""


@dataclass(frozen=True, slots=True)
class Steered:
    """A person spoke in the middle of a run; the model is told before its next step."""

    text: str


@dataclass(frozen=True, slots=True)
class Paused:
    """A person asked the run to stop before its next step; it waits for a person."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that was interrupted goes on; what was recorded before is not told again."""

    run_id: str
    step: int
    """The step it goes on in."""
    events: int
    """Events that were kept of it."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """Another, independent solution begins, to be compared with those before it."""

    number: int
    why: str
    budget: Mapping[str, float] = field(default_factory=dict[str, float])
    """What it may use up of what is left."""


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """What the attempt came to, and whether it bears the answer out."""

    number: int
    value: str
    agrees: bool


@dataclass(frozen=True, slots=True)
class Landing:
    """The budget has ended; the model is asked for its best answer and what is missing."""

    reason: str


ClaimStatus = Literal["supported", "contradicted", "unsupported", "unverified"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A number or a quote of the answer, and where it was found."""

    text: str
    status: ClaimStatus
    evidence: str = ""
    """The id of the tool call whose result bears it out, or "task", or "" for none."""


StoppedBy = Literal["answer", "budget", "guard"]
WaitsFor = Literal["approval", "tool_results", "person"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A leg ended in an answer."""

    text: str
    run_id: str
    stopped_by: StoppedBy
    conversation: Conversation
    claims: tuple[Claim, ...] = ()
    usage: Usage = Usage()
    steps: int = 0
    seconds: float = 0.0
    dollars: float | None = None
    """None where no price is known."""
    missing: str = ""
    """Why it is not the whole answer: the budget that ended, the guard that stopped it."""
    standing: Any = None
    """What the next leg needs and nobody else does; not told, not kept."""
    report: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of a swarm: what it took in all (`swarm.Report`)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A leg ended because somebody else must act first. `continue_` goes on from here."""

    reason: WaitsFor
    run_id: str
    calls: tuple[ToolCall, ...]
    conversation: Conversation
    usage: Usage = Usage()
    steps: int = 0
    seconds: float = 0.0
    standing: Any = None
    """As in `Answer`."""


@dataclass(frozen=True, slots=True)
class FromSubagent:
    """Something happened in the run of a subagent, whose own journal keeps it."""

    run_id: str
    name: str
    """What the orchestrator calls the subagent."""
    event: Event


Event = (
    Delta
    | RunStarted
    | LegStarted
    | ModelLoaded
    | StepStarted
    | ReplyRestarted
    | ReplyFinished
    | ToolStarted
    | ToolFinished
    | Reminded
    | Compacted
    | Steered
    | Paused
    | Resumed
    | AttemptStarted
    | AttemptFinished
    | Landing
    | Answer
    | Waiting
    | FromSubagent
)
