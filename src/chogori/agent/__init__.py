"""A model, some tools, and the loop between them: the loop and what stands round it.

Imports `chat` and `errors`. The loop is `loop.py`; budget, guards, claims and agreement
are values, listeners and wrappers, so that it need not grow.
"""

from chogori.agent.agent import Agent
from chogori.agent.agreement import Agreement
from chogori.agent.budget import Budget
from chogori.agent.claims import Evidence
from chogori.agent.guards import DEFAULT_GUARDS, Guard, Remind, Step, Stop
from chogori.agent.toolset import ClientTool, Toolset

__all__ = [
    "DEFAULT_GUARDS",
    "Agent",
    "Agreement",
    "Budget",
    "ClientTool",
    "Evidence",
    "Guard",
    "Remind",
    "Step",
    "Stop",
    "Toolset",
]
