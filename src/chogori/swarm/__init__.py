"""An orchestrator that creates subagents and assigns them tasks side by side, within one budget.

`Swarm` has the verbs of an agent. The orchestrator directs through tools (`tools.py`), a `Team`
holds what there is of one run, each task is a run of a `Subagent`, and an `Executor` says where it
runs. Imports `agent`, `chat`, `store` and `errors`; never HTTP, never torch.
"""

from chogori.swarm.executor import Assignment, Executor, Local
from chogori.swarm.roles import ROLES, Role
from chogori.swarm.steps import Report
from chogori.swarm.subagent import Subagent
from chogori.swarm.swarm import Swarm
from chogori.swarm.table import Table

__all__ = [
    "ROLES",
    "Assignment",
    "Executor",
    "Local",
    "Report",
    "Role",
    "Subagent",
    "Swarm",
    "Table",
]
