"""Which tokens of a row will carry loss, shown before training. Torch is never loaded.

`in_child` is for screens: the base's chat template is rendered in a process with limits, because it is a program of
whoever made the base. `python -m workbench.preview` is that child.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.errors import BaseModelError, WorkbenchError
from workbench.tokens import ChatTokens

Part = Literal["context", "trained", "cut"]
Row = Mapping[str, Any]

CHILD_SECONDS = 20
"""A template that is still looping after this long will not stop."""

CHILD_BYTES = 4 * 2**30
"""Address space of the child: tokenizers maps about 1 GB before it does anything."""


@dataclass(frozen=True)
class Token:
    """One token's text, and whether it is context, trained on, or cut off at the longest row."""

    text: str
    part: Part


@dataclass(frozen=True)
class Preview:
    """One answer of a row, token by token. `name` is 'completion', 'chosen' or 'rejected', or 'prompt' alone."""

    name: str
    tokens: tuple[Token, ...]

    def count(self, part: Part) -> int:
        return sum(token.part == part for token in self.tokens)


@dataclass(frozen=True)
class Lengths:
    """How a method's rows fit into the longest row."""

    rows: int = 0
    cut: int = 0
    """Rows that lose the end of an answer."""
    lost: int = 0
    """Rows that lose a whole answer and are left out of the training."""
    longest: int = 0
    median: int = 0
    sizes: Sequence[int] = field(default=(), compare=False)
    """Tokens of every row, of its longer answer where it has two."""

    @property
    def sentence(self) -> str:
        """What a person should know before training."""
        if not self.rows:
            return "There are no rows."
        if not self.cut and not self.lost:
            return f"All {self.rows} rows fit; the longest has {self.longest} tokens."
        parts = [f"{self.cut} of {self.rows} rows lose the end of their answer"] if self.cut else []
        parts += [f"{self.lost} of {self.rows} rows lose their answer and are left out"] if self.lost else []
        return f"{' and '.join(parts)}; the longest has {self.longest} tokens."


def answers(row: Row) -> dict[str, Any]:
    """A row's answers by name, best first; none where the model is still to write them."""
    if "rankings" in row:
        placed = [place for tier in row["rankings"][0] for place in tier]
        rest = [place for place in range(len(row["answers"])) if place not in placed]
        return {f"answer {at}": row["answers"][place] for at, place in enumerate([*placed, *rest], 1)}
    return {name: row[name] for name in ("completion", "chosen", "rejected") if name in row}


def token_preview(folder: Path, row: Row, settings: Mapping[str, Any]) -> list[Preview]:
    """What the trainer will make of a row, one preview for each of its answers. `folder` is the base's."""
    return _previews(ChatTokens(folder), row, int(settings["max_length"]))


def _previews(tokens: ChatTokens, row: Row, max_length: int) -> list[Preview]:
    found = []
    if not answers(row):
        pieces = tokens.asked(row["prompt"])[1]
        found.append(Preview("prompt", tuple(Token(piece, "context") for piece in pieces)))
    for name, answer in answers(row).items():
        made = tokens.row(row["prompt"], answer)
        whole = "rankings" in row  # its reward is read at the last token, so it is never cut but left out
        read = len(made.ids) - 1 if whole else made.context
        lost = len(made.ids) > max_length if whole else made.context >= max_length
        parts: list[Part] = [
            "cut" if lost or i >= max_length else "context" if i < read else "trained" for i in range(len(made.ids))
        ]
        found.append(Preview(name, tuple(map(Token, made.pieces, parts))))
    return found


def measure(tokens: ChatTokens, rows: Sequence[Row], max_length: int) -> Lengths:
    """How the rows fit; a row is as long as its longer answer."""
    sizes: list[int] = []
    cut = lost = 0
    for row in rows:
        made = [tokens.row(row["prompt"], answer) for answer in answers(row).values()]
        longest = max(len(answer.ids) for answer in made) if made else len(tokens.prompt_ids(row["prompt"]))
        sizes.append(longest)
        gone = any(answer.context >= max_length for answer in made)
        gone |= not made and longest >= max_length  # a prompt that leaves no room for an answer
        if "rankings" in row:
            gone = sum(len(answer.ids) <= max_length for answer in made) < 2
            longest = min(longest, max_length)
        lost += gone
        cut += not gone and longest > max_length
    median = sorted(sizes)[len(sizes) // 2] if sizes else 0
    return Lengths(len(sizes), cut, lost, max(sizes, default=0), median, sizes)


def in_child(
    folder: Path, shown: Sequence[Row], all_rows: Sequence[Row], settings: Mapping[str, Any]
) -> tuple[list[list[Preview]], Lengths]:
    """Previews of the `shown` rows and the lengths of `all_rows`, worked out in a child. Call it from a thread."""
    order = {
        "folder": str(folder),
        "shown": list(shown),
        "rows": list(all_rows),
        "settings": {"max_length": settings["max_length"]},
    }
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-X", "utf8", "-m", "workbench.preview"],
            input=json.dumps(order),
            capture_output=True,
            encoding="utf-8",
            timeout=CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unusable(folder, f"took more than {CHILD_SECONDS} s") from None
    if child.returncode != 0:
        raise _unusable(folder, (child.stderr.strip().splitlines() or ["it ended without a word"])[-1][:300])
    answer = json.loads(child.stdout)
    if "error" in answer:
        raise BaseModelError(answer["error"], answer["hint"])
    previews = [
        [Preview(one["name"], tuple(Token(*token) for token in one["tokens"])) for one in row]
        for row in answer["previews"]
    ]
    return previews, Lengths(**answer["lengths"])


def _unusable(folder: Path, why: str) -> BaseModelError:
    return BaseModelError(
        f"The tokenizer or chat template of {folder.name} cannot be used ({why}).",
        "Look at chat_template.jinja in its folder, or choose another base.",
    )


def _limit_child() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CHILD_SECONDS, CHILD_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES, CHILD_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    limit = int(order["settings"]["max_length"])
    try:
        tokens = ChatTokens(Path(order["folder"]))
        previews = [_previews(tokens, row, limit) for row in order["shown"]]
        lengths = measure(tokens, order["rows"], limit)
    except WorkbenchError as error:
        return {"error": error.message, "hint": error.hint}
    rows = [
        [{"name": one.name, "tokens": [[token.text, token.part] for token in one.tokens]} for one in row]
        for row in previews
    ]
    return {"previews": rows, "lengths": dataclasses.asdict(lengths)}


if __name__ == "__main__":
    _limit_child()
    sys.stdout.write(json.dumps(_answer(json.load(sys.stdin))))
