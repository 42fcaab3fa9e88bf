"""The tree of runs: which started from which, in the order in which it is drawn. Pure: it reads orders, no folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.job import Job

LAST, MORE, PAST, BESIDE = "╰─ ", "├─ ", "   ", "│  "


@dataclass(frozen=True)
class Node:
    """One run in the tree. `branch` is what is drawn before it, empty for a run that starts from a base."""

    job: Job
    branch: str = ""
    depth: int = 0
    children: int = 0


def descendants(run_id: str, jobs: Iterable[Job]) -> list[str]:
    """The runs that need that one: its model is where they started, what they used, or what rewarded them."""
    return [job.run for job in jobs if run_id in (job.parent, *job.lineage, *job.rewards)]


def tree(jobs: Sequence[Job]) -> list[Node]:
    """Every run after the one it started from, siblings as they are given; without their parent they are roots."""
    known = {job.run for job in jobs}
    children: dict[str | None, list[Job]] = {}
    for job in jobs:
        children.setdefault(job.parent if job.parent in known and job.parent != job.run else None, []).append(job)
    nodes: list[Node] = []
    # a stack of its own: a chain of runs may be longer than Python's
    waiting = [(job, "", "", 0) for job in reversed(children.get(None, []))]
    while waiting:
        job, branch, under, depth = waiting.pop()
        below = children.get(job.run, [])
        nodes.append(Node(job, branch, depth, len(below)))
        for place, child in reversed(list(enumerate(below))):
            last = place == len(below) - 1
            waiting.append((child, under + (LAST if last else MORE), under + (PAST if last else BESIDE), depth + 1))
    return nodes
