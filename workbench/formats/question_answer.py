"""A question and its answer under any of the usual names: question/answer, query/response, input/target and so on."""

from __future__ import annotations

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.alpaca import history_of
from workbench.formats.turns import imitable, kind_of, optional_text, prompt_of, text_of
from workbench.records import NewPrompt

QUESTIONS = ("question", "query", "problem", "instruction", "prompt", "input")
ANSWERS = (
    "answer",
    "response",
    "ground_truth",
    "solution",
    "output",
    "generation",
    "completion",
    "target",
    "targets",
    "summary",
)
CONTEXTS = ("context", "article")


def fits(row: Row) -> bool:
    return _question_key(row) is not None and _key(row, ANSWERS) is not None


def parse(row: Row) -> Parsed:
    question_key, answer_key = _question_key(row), _key(imitable(row), ANSWERS)
    if question_key is None or answer_key is None:
        raise BadRow(f"{'a question' if question_key is None else 'an answer'} is missing")
    question = text_of(row, question_key)
    names = {name.lower(): name for name in row}
    context = optional_text(row, *(names[name] for name in CONTEXTS if name in names and names[name] != question_key))
    prompt = prompt_of(
        f"{context}\n\n{question}" if context else question,
        system=optional_text(row, "system", "system_prompt"),
        history=history_of(row),
    )
    return Parsed(demonstrations=((NewPrompt(prompt, kind=kind_of(row)), text_of(row, answer_key)),))


def _question_key(row: Row) -> str | None:
    """The question's key; an article to sum up counts as one where nothing else does."""
    return _key(row, QUESTIONS) or (_key(row, CONTEXTS) if _key(row, ("summary",)) else None)


def _key(row: Row, known: tuple[str, ...]) -> str | None:
    """The row's key that is one of these, whatever its case; earlier ones first."""
    names = {name.lower(): name for name in row}
    return next((names[name] for name in known if name in names and row[names[name]] is not None), None)


LAYOUT = Layout(
    name="question_answer",
    label="question and answer",
    keys="a question and an answer (question/answer, query/response or the like)",
    precedence=80,
    fits=fits,
    parse=parse,
)
