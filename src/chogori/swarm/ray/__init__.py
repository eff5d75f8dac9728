"""Subagents on Ray: an `Executor` whose subagents are Ray tasks, on whatever machines Ray has.

Needs the extra `ray`. The orchestrator stays where it is; everything that subagents record goes
through one actor beside the database, and they wait for its commit. Imports what `swarm` may.
"""

from chogori.swarm.ray.executor import RayExecutor

__all__ = ["RayExecutor"]
