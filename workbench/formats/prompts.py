"""Prompts alone, to sample and to measure on; the known right answer and the kind of request may stand beside them."""

from __future__ import annotations

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import conversation, is_any_turns, kind_of, optional_text, prompt_of, text_of
from workbench.records import Conversation, NewPrompt
from workbench.tags import COLUMNS

OTHERS = {"answer", "kind", "id", "split", "system", "system_prompt", "tags", *COLUMNS}
"""Keys that may stand beside the prompt; any other says that the row is more than a prompt."""


def fits(row: Row) -> bool:
    return "prompt" in row and set(row) - {"prompt"} <= OTHERS


def parse(row: Row) -> Parsed:
    return Parsed(prompts=(NewPrompt(_prompt(row), _known_answer(row), kind_of(row)),))


def _known_answer(row: Row) -> str | None:
    answer = row.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return str(answer)
    return optional_text(row, "answer") or None


def _prompt(row: Row) -> Conversation:
    system = optional_text(row, "system", "system_prompt")
    if not is_any_turns(row.get("prompt")):
        return prompt_of(text_of(row, "prompt"), system=system)
    turns = conversation(row["prompt"], system=system)
    if turns[-1].role not in ("user", "tool"):
        raise BadRow(f"the prompt ends with the {turns[-1].role}'s turn, not with a question")
    return turns


LAYOUT = Layout(
    name="prompts",
    label="prompts to sample",
    keys="'prompt' and no answer to imitate ('answer' is the known right one)",
    precedence=65,
    fits=fits,
    parse=parse,
)
