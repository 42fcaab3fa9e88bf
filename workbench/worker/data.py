"""A run's frozen rows as the token ids that TRL's trainers take. What carries loss is decided by `workbench.tokens`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.errors import FormatError, RunError
from workbench.tokens import ChatTokens

if TYPE_CHECKING:
    from datasets import Dataset  # imported where it is used: 82 MB that a run without TRL does not need

Row = Mapping[str, Any]
Encode = Callable[[ChatTokens, Row, int], Mapping[str, Any] | None]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file of the run; none where there is no such file."""
    if not path.is_file():
        return []
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise FormatError(
                    f"is not JSON ({error}).",
                    "The run's data was changed; order the run again.",
                    path=path.name,
                    line=number,
                ) from None
    return rows


def sft_row(tokens: ChatTokens, row: Row, max_length: int) -> dict[str, list[int]] | None:
    """`input_ids` and `labels` of a demonstration; None where the prompt alone fills the row."""
    made = tokens.row(row["prompt"], row["completion"])
    if made.context >= max_length:
        return None
    return {"input_ids": made.ids[:max_length], "labels": made.labels(max_length)}


def dpo_row(tokens: ChatTokens, row: Row, max_length: int) -> dict[str, list[int]] | None:
    """Token ids of a pair, after its common prompt; None where the prompt alone fills the row."""
    chosen = tokens.row(row["prompt"], row["chosen"])
    rejected = tokens.row(row["prompt"], row["rejected"])
    context = min(chosen.context, rejected.context)
    if context >= max_length:
        return None
    return {
        "prompt_ids": chosen.ids[:context],
        "chosen_ids": chosen.ids[context:max_length],
        "rejected_ids": rejected.ids[context:max_length],
    }


def thumb_row(tokens: ChatTokens, row: Row, max_length: int) -> dict[str, Any] | None:
    """Token ids of an answer called good (`label`) or bad, after its prompt; None where the prompt fills the row."""
    made = tokens.row(row["prompt"], row["completion"])
    if made.context >= max_length:
        return None
    return {
        "prompt_ids": made.ids[: made.context],
        "completion_ids": made.ids[made.context : max_length],
        "label": bool(row["label"]),
    }


def prompt_row(tokens: ChatTokens, row: Row, max_length: int) -> dict[str, Any] | None:
    """A prompt to be answered, as turns and as token ids; None where it is longer than `max_length`."""
    ids = tokens.prompt_ids(row["prompt"])
    if len(ids) > max_length:
        return None
    return {
        "prompt": [dict(turn) for turn in row["prompt"]],
        "prompt_ids": ids,
        "answer": row.get("answer", ""),
        "kind": row.get("kind", ""),
    }


def shuffled_thumbs(rows: Dataset, seed: int) -> Dataset:
    """Thumbs in a random order, each with a `KL_completion_ids`: the answer before it that is to another prompt.

    KTO's mean log-ratio is of such mismatched answers. TRL reads rows in order, so the order is drawn here.
    """
    from datasets import Dataset

    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    made = [rows[place] for place in order]
    return Dataset.from_list([{**row, "KL_completion_ids": _other_answer(made, i)} for i, row in enumerate(made)])


def _other_answer(rows: list[dict[str, Any]], place: int) -> list[int]:
    """The nearest answer before `place`, round the end, to another prompt; the one before where all prompts are one."""
    asked = rows[place]["prompt_ids"]
    for step in range(1, len(rows)):
        other = rows[place - step]
        if other["prompt_ids"] != asked:
            return list(other["completion_ids"])
    return list(rows[place - 1]["completion_ids"])


def dataset(path: Path, tokens: ChatTokens, encode: Encode, max_length: int) -> tuple[Dataset | None, int]:
    """The rows of a file as a dataset (None when empty), and how many lost their answer and were left out."""
    from datasets import Dataset

    rows = read_rows(path)
    encoded = [dict(made) for row in rows if (made := encode(tokens, row, max_length)) is not None]
    return (Dataset.from_list(encoded) if encoded else None), len(rows) - len(encoded)


def training_sets(
    folder: Path,
    tokens: ChatTokens,
    encode: Encode,
    max_length: int,
    note: Callable[[str, Literal["info", "warning"]], None],
) -> tuple[Dataset, Dataset | None]:
    """The rows to train on and those held out; says how many were left out, and refuses to train on none."""
    train, lost = dataset(folder / "train.jsonl", tokens, encode, max_length)
    held_out, _ = dataset(folder / "held_out.jsonl", tokens, encode, max_length)
    if train is None:
        raise RunError(
            f"There is no row to train on: {lost} rows lose their whole answer at {max_length} tokens.",
            "Raise max_length, or shorten the prompts.",
        )
    if lost:
        note(
            f"{lost} rows lose their whole answer at {max_length} tokens and are left out: raise max_length.",
            "warning",
        )
    return train, held_out
