"""`workbench.preview`: which tokens carry loss, in a child with limits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench import preview
from workbench.errors import BaseModelError
from workbench.paths import BUNDLED_BASE
from workbench.tokens import ChatTokens


def row(question: str, **answers: str) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": question}],
        **{name: [{"role": "assistant", "content": text}] for name, text in answers.items()},
    }


CONTEXT = len(ChatTokens(BUNDLED_BASE).prompt_ids(row("Why?")["prompt"]))
"""Tokens of the prompt 'Why?' with its template."""


def test_tokens_past_the_longest_row_are_cut() -> None:
    """One token past the context is trained, and the rest of the answer is cut."""
    limit = {"max_length": CONTEXT + 1}
    shown = preview.token_preview(BUNDLED_BASE, row("Why?", completion="Because it is."), limit)[0]
    parts = [token.part for token in shown.tokens]

    assert len(parts) > CONTEXT + 2
    assert parts == ["context"] * CONTEXT + ["trained"] + ["cut"] * (len(parts) - CONTEXT - 1)


def test_a_row_whose_prompt_fills_it_is_all_cut() -> None:
    """A row that will be left out shows no trained token at all."""
    shown = preview.token_preview(BUNDLED_BASE, row("Why?", completion="Because."), {"max_length": CONTEXT})[0]

    assert {"cut"} == {token.part for token in shown.tokens}


def test_both_answers_of_a_pair_are_shown() -> None:
    """A preference row gives a preview of the chosen and one of the rejected answer, with the same context."""
    chosen, rejected = preview.token_preview(
        BUNDLED_BASE, row("Why?", chosen="So.", rejected="No."), {"max_length": 99}
    )

    assert (chosen.name, rejected.name) == ("chosen", "rejected")
    assert chosen.count("context") == rejected.count("context") == CONTEXT


def test_lengths_count_cut_and_lost_rows() -> None:
    """Of three rows: one fits, one loses the end of its answer, one its whole answer."""
    rows = [
        row("Why?", completion="a"),
        row("Why?", completion="It is so, and it is so, and it is so."),
        row("why " * 99, completion="a"),
    ]
    found = preview.measure(ChatTokens(BUNDLED_BASE), rows, CONTEXT + 3)

    assert (found.rows, found.cut, found.lost) == (3, 1, 1)
    assert found.sentence.startswith("1 of 3 rows lose the end of their answer and 1 of 3 rows lose their answer")


def test_the_child_answers_as_this_process_does() -> None:
    """Previews and lengths come back from the child unchanged."""
    rows = [row("Why?", completion="Because."), row("é漢<|end|>", completion="ok")]
    shown, lengths = preview.in_child(BUNDLED_BASE, rows, rows, {"max_length": 20})

    assert [preview.token_preview(BUNDLED_BASE, one, {"max_length": 20}) for one in rows] == shown
    assert lengths.rows == 2


def test_a_template_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless template costs the child its time limit and the app a sentence."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_BASE / name, tmp_path)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(loop + "{% endfor %}")
    monkeypatch.setattr(preview, "CHILD_SECONDS", 1)

    with pytest.raises(BaseModelError, match="took more than 1 s"):
        preview.in_child(tmp_path, [row("Why?", completion="So.")], [], {"max_length": 9})
