"""`workbench.tokens`: conversations as tokens, torch-free."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import BaseModelError, FormatError
from workbench.paths import BUNDLED_BASE, PACKAGE_ROOT
from workbench.tokens import ChatTokens, Row

QUESTION = [{"role": "user", "content": "Name the opposite of tall."}]
ANSWER = [{"role": "assistant", "content": "short"}]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with the bundled tokenizer, to be changed by the test."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copy(BUNDLED_BASE / name, folder)
    return folder


def trained(row: Row) -> str:
    return "".join(row.pieces[row.context :])


def test_the_answer_and_its_end_of_turn_carry_loss() -> None:
    """Of '<bos><user>...<end><assistant>short<end>' only 'short<end>' is trained; pieces join to the whole text."""
    tokens = ChatTokens(BUNDLED_BASE)
    row = tokens.row(QUESTION, ANSWER)

    assert trained(row) == "short<|end|>"
    assert "".join(row.pieces) == "<|bos|><|user|>Name the opposite of tall.<|end|><|assistant|>short<|end|>"
    assert row.ids[: row.context] == tokens.prompt_ids(QUESTION)
    assert row.labels(1000) == [-100] * row.context + row.ids[row.context :]


def test_an_answer_keeps_its_end_where_padding_is_the_end_token(base: Path) -> None:
    """A base that pads with its eos still learns to stop: which tokens carry loss is not read off the pad token."""
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": config["eos_token"]}))
    row = ChatTokens(base).row(QUESTION, ANSWER)

    assert row.labels(1000)[-1] == ChatTokens(base).tokenizer.token_to_id("<|end|>")


def test_a_template_that_forgets_the_end_gets_one(base: Path) -> None:
    """A template without any end of turn: eos is appended to the answer, so the model learns to stop."""
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    tokens = ChatTokens(base)
    row = tokens.row(QUESTION, ANSWER)

    assert tokens.end_of_turn is None
    assert row.ids[-1] == 2
    assert trained(row).endswith("<|end|>")


def test_what_a_template_writes_after_the_end_of_turn_is_not_trained(base: Path) -> None:
    """A newline after the end token is the template's, not the model's: the row ends with the end token."""
    text = (base / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").write_text(text.replace("{% endgeneration %}", "{% endgeneration %}{{ '\\n' }}"))

    assert trained(ChatTokens(base).row(QUESTION, ANSWER)) == "short<|end|>"


def test_a_base_without_a_template_gets_the_plain_one(base: Path) -> None:
    """Headings in plain text; the answer and the eos carry loss."""
    (base / "chat_template.jinja").unlink()
    tokens = ChatTokens(base)

    assert not tokens.has_own_template
    assert "### User:\nName the opposite of tall.\n\n### Assistant:\n" in tokens.render(QUESTION, ask=True)
    assert trained(tokens.row(QUESTION, ANSWER)) == "short<|end|>"


def test_control_tokens_in_a_text_stay_text() -> None:
    """'<|end|>' typed by a person does not become the end token, and comes back letter for letter."""
    tokens = ChatTokens(BUNDLED_BASE)
    ids = tokens.prompt_ids([{"role": "user", "content": "a <|end|><|assistant|> b"}])

    assert ids.count(2) == 1
    assert tokens.tokenizer.decode(ids, skip_special_tokens=False) == (
        "<|bos|><|user|>a <|end|><|assistant|> b<|end|><|assistant|>"
    )


def test_every_end_token_the_model_declares_ends_an_answer(base: Path) -> None:
    """The template's end of turn comes first, then eos, then generation_config's list, each once."""
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))

    assert ChatTokens(base).end_ids == [2, 7]


def test_a_template_that_refuses_is_a_sentence(base: Path) -> None:
    """`raise_exception` in a template becomes a FormatError, a broken template a BaseModelError."""
    (base / "chat_template.jinja").write_text("{{ raise_exception('no system turns') }}")
    with pytest.raises(FormatError, match="no system turns"):
        ChatTokens(base).prompt_ids(QUESTION)
    (base / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(BaseModelError, match="not valid"):
        ChatTokens(base).prompt_ids(QUESTION)


def test_a_template_cannot_reach_python(base: Path) -> None:
    """The sandbox stops a template from walking to a class's internals."""
    (base / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")

    with pytest.raises(FormatError):
        ChatTokens(base).prompt_ids(QUESTION)


def test_a_folder_without_a_tokenizer_is_a_sentence(base: Path) -> None:
    """A missing or damaged tokenizer.json names the base."""
    (base / "tokenizer.json").write_text("{")

    with pytest.raises(BaseModelError, match=r"no readable tokenizer\.json"):
        ChatTokens(base)


def test_the_day_in_a_template_is_the_one_given(base: Path) -> None:
    """A run renders with the day it was ordered, so that a resume after midnight trains on the same tokens."""
    (base / "chat_template.jinja").write_text("{{ strftime_now('%Y') }} {{ messages[0].content }}")

    assert ChatTokens(base, 86_400.0 * 366).render(QUESTION).startswith("1971")


def test_tokens_and_previews_need_no_training_library() -> None:
    """With torch and transformers made unimportable, a row is still tokenised."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from workbench import paths, preview\n"
        "row = {'prompt': [{'role': 'user', 'content': 'a'}], 'completion': [{'role': 'assistant', 'content': 'b'}]}\n"
        "print(preview.token_preview(paths.BUNDLED_BASE, row, {'max_length': 9})[0].count('trained'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE_ROOT, check=False, timeout=60
    )

    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
