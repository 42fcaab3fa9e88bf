"""One answer and whether it is good: KTO's rows, in any of the layouts that hold an answer to imitate.

TRL marks prompt and completion with `label`, ms-swift its messages with the same, LLaMA-Factory its rows with
`kto_tag`. The mark is of the last answer. A good one is a demonstration too; a bad one never is.
"""

from __future__ import annotations

from workbench.formats import BadRow, Layout, Parsed, Ranked, Row, alpaca, messages, prompt_completion, sharegpt
from workbench.formats import question_answer as qa
from workbench.formats.turns import MARKS, mark_of

ANSWERED = (messages, sharegpt, prompt_completion, alpaca, qa)
"""The layouts that a marked row may be written in, by precedence."""


def fits(row: Row) -> bool:
    return mark_of(row) is not None and any(layout.fits(row) for layout in ANSWERED)


def parse(row: Row) -> Parsed:
    good = mark_of(row)
    if good is None:
        raise BadRow("no 'label' says whether the answer is good")
    unmarked = {key: value for key, value in row.items() if key not in MARKS}
    written = next((layout for layout in ANSWERED if layout.fits(unmarked)), None)
    if written is None:
        raise BadRow("a question or an answer is missing")
    prompt, answer = written.parse(unmarked).demonstrations[-1]
    verdict = Ranked(prompt, (answer,), ((0,),), () if good else (0,))
    return Parsed(demonstrations=((prompt, answer),) if good else (), rankings=(verdict,))


LAYOUT = Layout(
    name="unpaired",
    label="single answers, good or bad (KTO)",
    keys="an answer and a 'label' of true or false",
    precedence=30,
    fits=fits,
    parse=parse,
)
