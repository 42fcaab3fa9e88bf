"""What was exported, told: the bytes that choices need, checks of a part beside their marks, the command's table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from workbench import exported
from workbench.commands.checks import show_checks
from workbench.events import Exported, Metrics, Verified
from workbench.exports import card, plan
from workbench.exports.folder import Delivery
from workbench.exports.source import Source
from workbench.live import Live
from workbench.output import Output


def test_an_export_that_measures_no_f16_keeps_what_others_measured(tmp_path: Path) -> None:
    """The figures along the way to a GGUF stay in export.json when an adapter is exported into the same folder."""
    Delivery(tmp_path, {"run": "0001", "chain": {"merged": {"answers": {}}, "f16": {}}}).note("a", {})
    (tmp_path / "a").touch()
    Delivery(tmp_path, {"run": "0001"}).note("b", {})

    row = json.loads((tmp_path / "export.json").read_text())
    assert (set(row["chain"]), set(row["parts"])) == ({"merged", "f16"}, {"a", "b"})


def test_what_is_ticked_is_planned_with_the_file_that_is_made_on_the_way() -> None:
    """Q8_0 needs an f16 for the time being, unless that is wanted too; Ollama alone means Q8_0."""
    offered = [
        exported.Choice("merged", "", "", 10),
        exported.Choice("ollama", "", "", 5),
        exported.Choice("gguf", "Q8_0", "", 5),
        exported.Choice("gguf", "f16", "", 9),
    ]
    merged, ollama, q8, f16 = offered

    assert exported.byte_plan([merged, q8], offered) == plan.BytePlan({"merged": 10, "Q8_0": 5}, {"f16": 9})
    assert exported.byte_plan([q8, f16], offered) == plan.BytePlan({"Q8_0": 5, "f16": 9})
    assert exported.byte_plan([ollama], offered) == plan.BytePlan({"Q8_0": 5}, {"f16": 9})
    assert exported.byte_plan([merged], offered) == plan.BytePlan({"merged": 10})


def test_each_check_is_told_beside_its_mark() -> None:
    """Of two marks for the answers the one that was missed is said; an infinite divergence is not told as nought."""
    row = {"positions": 100, "near_ties": 0, "mark_agreement": 0.9, "mark_kl": 0.1, "passed": 0.0}
    told = {}
    for name, figures in {"few": (0.5, 0.05), "far": (1.0, None)}.items():
        checks = {"answers": {**row, "greedy_agreement": figures[0], "mean_kl": figures[1]}}
        part = exported.Part("x", Path("x"), "0001", 1, False, checks=checks)
        told[name] = [(line.name, line.passed) for line in exported.checked_in_words(part)]
        said = [line.said for line in exported.checked_in_words(part)]

    assert told["few"] == [("answers", False), ("KL", True)]
    assert told["far"] == [("answers", True), ("KL", False)]
    assert said[1] == "infinitely many nats a token, at most 0.1 allowed"


def test_the_command_s_table_holds_each_figure_beside_its_mark(capsys: pytest.CaptureFixture[str]) -> None:
    """One row a part: verified or not, agreement, KL and stops with their marks, texts, and where it lies."""
    answers: Metrics = {"greedy_agreement": 0.9987, "mean_kl": 2e-4, "mark_agreement": 0.99, "mark_kl": 0.01}
    live = Live()
    live.feed(
        [
            Exported(target="Q8_0", path="/x/Q8_0.gguf", size_bytes=3_600_000),
            Verified(target="Q8_0", check="tokens", passed=True, figures={"texts": 54, "different": 0}),
            Verified(target="Q8_0", check="chat template", passed=False, figures={"texts": 4, "different": 1}),
            Verified(target="Q8_0", check="answers", passed=True, figures=answers),
            Verified(target="Q8_0", check="stops", passed=True, figures={"share": 1.0, "mark_share": 0.8}),
        ]
    )

    show_checks(live, Output())

    head, row = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "part"
    assert re.split(" {2,}", row) == [
        "Q8_0", "3.6 MB", "✗ failed", "99.87% ≥ 99.0%", "2.0e-04 ≤ 0.01", "100% ≥ 80%", "57 of 58", "/x/Q8_0.gguf",
    ]  # fmt: skip


def test_toss_ups_stand_beside_the_tokens_that_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """96 % pass a mark of 99 % where the rest are toss-ups: both are told, so that the line is true."""
    answers: Metrics = {"greedy_agreement": 0.96, "positions": 200, "near_ties": 8, "mark_agreement": 0.99}
    live = Live()
    live.feed([Exported(target="Q8_0", path="/x", size_bytes=1), Verified("Q8_0", "answers", True, answers)])
    show_checks(live, Output())
    source = Source(model=Path("x"), adapter=None, tokenizer=Path("x"), base="tiny")
    written = card.write(source, {"parts": {"model-Q8_0.gguf": {"verified": True, "checks": {"answers": answers}}}})

    assert "96.00% + 4.00% toss-ups ≥ 99.0%" in capsys.readouterr().out
    assert "| 96.00% + 4.00% |" in written
