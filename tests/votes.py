"""Prompts, completions and votes for tests of the store."""

from __future__ import annotations

from workbench.events import Completed
from workbench.records import NewPrompt, Origin, Ranking, Turn
from workbench.store import Store

ORIGIN = Origin(base="bundled")


def ask(text: str, **more) -> NewPrompt:
    return NewPrompt((Turn("user", text),), **more)


def answered(store: Store, text: str, answers: int = 2, job: str = "0001") -> tuple[int, list[int]]:
    """A prompt with completions: its id and theirs."""
    (prompt_id,) = store.add_prompts([ask(text)])
    store.add_completions(
        job, ORIGIN, [Completed(prompt_id=prompt_id, n=n, text=f"answer {n}") for n in range(answers)]
    )
    return prompt_id, [completion.id for completion in store.completions(prompt_id)]


def vote(prompt_id: int, ids: list[int], judge: str = "person", verdict="ranked") -> Ranking:
    return Ranking(0, prompt_id, tuple(ids), tuple((i,) for i in ids), verdict, judge)


def queued(store: Store, **more) -> list[str]:
    """Texts of the whole ranking queue, in order."""
    found, place = [], ""
    while following := store.next_to_rank(after=place, **more):
        found.append(following[0].text)
        place = following[1]
    return found
