"""Control prefixes: from a column of a data file to what a model is given, without loss and droppable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.projects import Copies
from tests.test_conversation import ScriptedSession
from workbench import importing, orders, tags
from workbench.bench import Bench
from workbench.conversation import Manner, Talk
from workbench.errors import SettingError
from workbench.methods import get
from workbench.paths import BUNDLED_BASE
from workbench.preview import token_preview
from workbench.records import Turn
from workbench.session import ModelRef

PREFIX = "[quality: high] [topic: birds]\n"


def import_tagged(bench: Bench) -> None:
    """A hundred imported demonstrations: quality high or low, every second one about birds."""
    rows = [
        {"prompt": f"Question {n}?", "completion": f"Answer {n}.", "quality": "high" if n % 3 else "low"}
        | ({"tags": {"topic": "birds"}} if n % 2 else {})
        for n in range(100)
    ]
    file = bench.paths.root / "tagged.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    importing.import_file(bench.store, file)


@pytest.fixture
def bench(tmp_path: Path, copied: Copies) -> Iterator[Bench]:
    """A project as `import_tagged` fills it."""
    opened = copied(tmp_path / "project", import_tagged)
    yield opened
    opened.close()


def settings(**changes: Any) -> dict[str, Any]:
    return {"tags": "topic, quality", "untagged": 0.0, "held_out": 0.2, "seed": 0, **changes}


def test_the_prefix_stands_before_the_last_question() -> None:
    """Names in alphabetical order, a bracket each, one line; earlier turns and the caller's own stay as they were."""
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Which sings?"},
    ]
    said = tags.applied(turns, tags.parse("topic=birds, quality = high"))

    assert [turn["content"] for turn in said] == ["Hello", "Hi", PREFIX + "Which sings?"]
    assert turns[-1]["content"] == "Which sings?"
    assert tags.applied(turns, {}) == turns


@pytest.mark.parametrize("text", ["quality", "=high", "quality=", "qual]ity=high", "quality=" + "x" * 90])
def test_what_is_no_tag_is_a_sentence(text: str) -> None:
    """Without a name, a value or an equals sign the form is told."""
    with pytest.raises(SettingError, match="is not a tag"):
        tags.parse(text)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"quality": "high", "source": 3, "kind": "x"}, {"quality": "high", "source": "3"}),
        ({"tags": ["topic: birds", "loose"], "quality": None}, {"topic": "birds"}),
        ({"tags": "topic=birds, quality=low"}, {"topic": "birds", "quality": "low"}),
        ({"quality": "a]\n[b", "source": "x" * 90}, {"quality": "a b"}),
        ({"source": {"url": "x"}, "tags": 7}, {}),
    ],
)
def test_a_row_s_tags_are_read_however_they_are_written(row: dict[str, Any], found: dict[str, str]) -> None:
    """Columns of the three names, or `tags` as a table, a list or a text; what could break the prefix is taken out."""
    assert dict(tags.tags_of(row)) == found


def test_an_imported_column_reaches_the_frozen_rows(bench: Bench) -> None:
    """The store keeps every tag, a run takes those it names, and a row without any stays as it is."""
    assert bench.store.tag_values() == {"quality": ["high", "low"], "topic": ["birds"]}

    files, _ = orders.frozen_rows(bench, get("sft"), settings())
    asked = {row["prompt"][0]["content"] for rows in files.values() for row in rows}
    alone, _ = orders.frozen_rows(bench, get("sft"), settings(tags="topic"))

    assert {f"{PREFIX}Question 1?", "[quality: high]\nQuestion 2?"} <= asked
    assert "[quality: low] [topic: birds]\nQuestion 3?" in asked
    assert "Question 2?" in {row["prompt"][0]["content"] for rows in alone.values() for row in rows}
    with pytest.raises(SettingError, match="has a tag called 'mood'"):
        orders.frozen_rows(bench, get("sft"), settings(tags="mood"))


def test_a_share_goes_without_the_same_rows_every_time(bench: Bench) -> None:
    """Of some 80 rows about half lose the whole prefix at 0.5, by seed and text; held-out rows keep it, none moves."""
    full, _ = orders.frozen_rows(bench, get("sft"), settings())
    some, _ = orders.frozen_rows(bench, get("sft"), settings(untagged=0.5))
    other, _ = orders.frozen_rows(bench, get("sft"), settings(untagged=0.5, seed=1))

    without = [row for row in some["train.jsonl"] if not row["prompt"][0]["content"].startswith("[")]
    assert 0.3 < len(without) / len(some["train.jsonl"]) < 0.7
    assert some == orders.frozen_rows(bench, get("sft"), settings(untagged=0.5))[0]
    assert some["train.jsonl"] != other["train.jsonl"]
    assert some["held_out.jsonl"] == full["held_out.jsonl"]
    assert [row["completion"] for row in some["train.jsonl"]] == [row["completion"] for row in full["train.jsonl"]]


def test_the_prefix_carries_no_loss() -> None:
    """In the preview every token of the prefix is context, and what is trained is the answer as without it."""
    row = {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Yes."}]}
    tagged = {**row, "prompt": tags.applied(row["prompt"], {"quality": "high"})}
    (bare,), (shown,) = (token_preview(BUNDLED_BASE, one, {"max_length": 64}) for one in (row, tagged))

    context = "".join(token.text for token in shown.tokens if token.part == "context")
    assert "[quality: high]\nHi" in context
    trained = [[token.text for token in found.tokens if token.part == "trained"] for found in (bare, shown)]
    assert trained[0] == trained[1]


def test_sampling_and_chatting_ask_with_a_tag(bench: Bench) -> None:
    """The frozen prompts of a sampling run have the prefix, only where the model knows the tag; so has a question."""
    run = orders.train(bench, "sft", preset="cpu", changes={"tags": "quality"})
    run.paths.model.mkdir()
    (run.paths.model / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    asked = orders.sample(bench, orders.SampleOrder(source=run.id, prompts=1, changes={"tags": "quality=high"}))
    session = ScriptedSession("Yes.")
    talk = Talk(ModelRef("run", run.id), session)  # type: ignore[arg-type]  # stands in for the child
    list(talk.say("Which?", Manner(tags="quality=low")))

    (row,) = [json.loads(line) for line in (asked.paths.data / "prompts.jsonl").read_text().splitlines()]
    assert row["turns"][-1]["content"].startswith("[quality: high]\n")
    assert session.asked == [(Turn("user", "[quality: low]\nWhich?"),)]
    assert talk.turns == [Turn("user", "Which?"), Turn("assistant", "Yes.")]
    for source, wished in ((run.id, "topic=birds"), (None, "quality=high")):
        with pytest.raises(SettingError, match="was not trained with a tag"):
            orders.sample(bench, orders.SampleOrder(source=source, changes={"tags": wished}))
