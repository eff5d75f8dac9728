"""A model, some tools, and the loop between them: the loop and what stands round it.

Imports `chat`, `store` and `errors`. The loop is `loop.py`; budget, guards, claims, context and
agreement are values, listeners and wrappers, so that it need not grow. A run (`run.py`) does all
it does through its branches (`branch.py`), and has a journal, from which it can go on.
"""

from chogori.agent.agent import Agent
from chogori.agent.agreement import Agreement
from chogori.agent.budget import Budget
from chogori.agent.claims import Evidence
from chogori.agent.context import Context
from chogori.agent.guards import DEFAULT_GUARDS, Guard, Remind, Step, Stop
from chogori.agent.toolset import ClientTool, Toolset

__all__ = [
    "DEFAULT_GUARDS",
    "Agent",
    "Agreement",
    "Budget",
    "ClientTool",
    "Context",
    "Evidence",
    "Guard",
    "Remind",
    "Step",
    "Stop",
    "Toolset",
]
