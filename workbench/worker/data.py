"""A run's frozen rows as the token ids that TRL's trainers take. What carries loss is decided by `workbench.tokens`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset

from workbench.errors import FormatError, RunError
from workbench.tokens import ChatTokens

Row = Mapping[str, Any]
Encode = Callable[[ChatTokens, Row, int], dict[str, list[int]] | None]


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


def dataset(path: Path, tokens: ChatTokens, encode: Encode, max_length: int) -> tuple[Dataset | None, int]:
    """The rows of a file as a dataset (None when empty), and how many lost their answer and were left out."""
    rows = read_rows(path)
    encoded = [made for row in rows if (made := encode(tokens, row, max_length)) is not None]
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
