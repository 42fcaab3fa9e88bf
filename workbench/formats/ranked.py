"""A question with several answers, each with its rank, score or label: Nectar's, UltraFeedback's and files like them.

The answers stand in a list, or beside each other under names of their own (those of the models that wrote them, say).
Rank 1 is best, a higher score is better, true is better than false, and what is labelled false is bad in itself. Equal
marks are a tie. A reference answer beside them is a demonstration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from workbench.formats import BadRow, Layout, Parsed, Ranked, Row
from workbench.formats.preference import PROMPTS, TURNS, question_of
from workbench.formats.turns import kind_of, optional_text, text_of
from workbench.records import NewPrompt

LISTS = ("answers", "completions", "responses", "candidates", "solutions", "outputs", "generations")
TEXTS = ("answer", "response", "solution", "completion", "output", "generation", "text", "content")
RANKS = ("rank", "ranking")
SCORES = ("score", "overall_score", "rating", "reward", "fine-grained_score")
LABELS = ("is_correct", "correct", "label", "accepted", "is_right")
REFERENCES = ("ground_truth", "reference", "reference_answer", "gold", "gold_answer")


def fits(row: Row) -> bool:
    asked = "instruction" in row or any(row.get(key) for key in (*PROMPTS, *TURNS))
    return asked and len(_marked(row)) > 1


def parse(row: Row) -> Parsed:
    marked = _marked(row)
    if len(marked) < 2:
        raise BadRow("there are not two answers with a rank, a score or a label")
    prompt = NewPrompt(question_of(row), kind=kind_of(row))
    texts = tuple(text_of(answer, _key(answer, TEXTS)) for _, answer in marked)
    marks = [_mark(answer, name) for name, answer in marked]
    if len({kind for kind, _ in marks}) > 1:
        raise BadRow("some answers have a rank and others a score or a label")
    places: dict[float, list[int]] = {}
    for place, (_, worth) in enumerate(marks):
        places.setdefault(worth, []).append(place)
    tiers = tuple(tuple(places[worth]) for worth in sorted(places, reverse=True))
    bad = tuple(place for place, (kind, worth) in enumerate(marks) if kind == "label" and not worth)
    reference = optional_text(row, *REFERENCES)
    demonstrations = ((prompt, reference),) if reference else ()
    return Parsed(demonstrations=demonstrations, rankings=(Ranked(prompt, texts, tiers, bad),))


def _marked(row: Row) -> list[tuple[str, Row]]:
    """(name, answer) of the answers that have a text and a mark, in a list or beside each other."""
    for key in LISTS:
        if isinstance(row.get(key), list):
            return [(f"{key}[{at}]", answer) for at, answer in enumerate(row[key]) if _is_marked(answer)]
    return [(key, answer) for key, answer in row.items() if _is_marked(answer)]


def _is_marked(value: Any) -> bool:
    return isinstance(value, dict) and bool(_key(value, TEXTS)) and bool(_key(value, (*RANKS, *SCORES, *LABELS)))


def _mark(answer: Row, name: str) -> tuple[str, float]:
    """(kind, worth) of an answer's mark; more worth is better."""
    for kind, keys in (("rank", RANKS), ("score", SCORES), ("label", LABELS)):
        for value in _values(answer, keys):
            if kind == "label" and not (isinstance(value, bool) or value in (0, 1)):
                raise BadRow(f"the label of {name!r} is neither true nor false")
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise BadRow(f"the {kind} of {name!r} is not a number")
            return kind, -float(value) if kind == "rank" else float(value)
    raise BadRow(f"{name!r} has no rank, score or label")


def _values(answer: Row, keys: tuple[str, ...]) -> Iterator[Any]:
    return (answer[key] for key in keys if answer.get(key) is not None)


def _key(answer: Row, keys: tuple[str, ...]) -> str:
    """The first of these keys that the answer has a value under; "" where it has none."""
    return next((key for key in keys if answer.get(key) is not None), "")


LAYOUT = Layout(
    name="ranked",
    label="several answers with ranks, scores or labels",
    keys="a question and several answers, each with a rank, a score or a label",
    precedence=15,
    fits=fits,
    parse=parse,
)
