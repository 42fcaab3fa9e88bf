"""Export: what is offered, what it costs, what is ordered, and what was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.chat import ChatScreen
from screens.widgets.records import Records
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import SIZES, drawn, settle
from workbench import bases
from workbench.bench import Bench
from workbench.events import Finished, Planned, Started, Step
from workbench.job import BaseRef
from workbench.runs import Run


@pytest.fixture
def trained(bench: Bench) -> Run:
    """A finished training run on the bundled base."""
    base = bases.resolve("bundled")
    job = make_job(base=BaseRef(base.spec, base.name, base.fingerprint), name="polite")
    run = bench.runs.create(job, {"train.jsonl": []})
    run.paths.model.mkdir()
    (run.paths.model / "adapter_config.json").write_text("{}")
    FakeWorker(run).sign_in().leave(Finished(step=10))
    return run


CHECKS = {
    "tokens": {"texts": 4120, "different": 0, "passed": 1.0},
    "chat template": {"texts": 4, "different": 0, "passed": 1.0},
    "answers": {
        "greedy_agreement": 0.9987, "mean_kl": 2.1e-4, "positions": 1536, "near_ties": 0,
        "mark_agreement": 0.99, "mark_kl": 0.01, "passed": 1.0,
    },
    "stops": {"share": 0.9375, "share_of_merged": 1.0, "mark_share": 0.8, "answers": 16, "passed": 1.0},
    "as_trained": {"greedy_agreement": 0.972, "mean_kl": 3.4e-3},
}  # fmt: skip
WRONG = (
    "41.00% of 1536 greedy tokens agree (mark 88.0%), mean KL 0.9 nats (mark 0.2); first difference at answer 1, "
    "token 3, after 'It is': expected ' blue', got ' the'. The first weights that differ are blk.0.attn_q.weight, by "
    "140% (its type explains 20%)."
)


def exported(bench: Bench, run: Run) -> Path:
    """A verified GGUF and one that failed its checks."""
    folder = bench.paths.exports / f"{run.id}-polite"
    folder.mkdir(parents=True)
    (folder / "model-Q8_0.gguf").write_bytes(b"GGUF")
    (folder / "model-Q4_K_M.gguf.unverified").write_bytes(b"GGUF")
    answers = {"greedy_agreement": 0.41, "mean_kl": 0.9, "mark_agreement": 0.88, "mark_kl": 0.2, "passed": 0.0}
    parts = {
        "model-Q8_0.gguf": {
            "target": "Q8_0", "verified": True, "size_bytes": 3_600_000, "checks": CHECKS, "created": 2.0,
        },
        "model-Q4_K_M.gguf.unverified": {
            "target": "Q4_K_M",
            "verified": False,
            "size_bytes": 2_200_000,
            "checks": {**CHECKS, "answers": {**CHECKS["answers"], **answers}},
            "failures": [WRONG],
            "created": 1.0,
        },
    }  # fmt: skip
    (folder / "export.json").write_text(json.dumps({"run": run.id, "parts": parts}))
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_export_looks_right(
    bench: Bench, trained: Run, size: tuple[int, int], snap_compare: Any, monkeypatch: Any
) -> None:
    """Models, kinds of file with their sizes, the room they need, and earlier exports with their figures."""
    exported(bench, trained)
    monkeypatch.setattr("screens.export.disk_free", lambda folder: 80_000_000_000)

    async def open_export(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await pilot.press("7")
        await settle(pilot)

    assert snap_compare(BenchApp(bench), terminal_size=size, run_before=open_export)


async def test_the_figures_of_a_part_can_be_read_at_80_columns(bench: Bench, trained: Run) -> None:
    """Every check is a line of its own beside its mark, whole; what the highlighted kind is for is said as well."""
    exported(bench, trained)
    async with BenchApp(bench, "export").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        lines = [line.strip() for line in drawn(pilot.app).splitlines()]

    for expected in (
        "answers     ✓ 99.87% of 1,536 greedy tokens agree, 99.0% asked for",
        "KL          ✓ 2.1e-04 nats a token, at most 0.01 allowed",
        "stops       ✓ 94% of 16 answers end unasked (merged: 100%), 80% asked for",
        "tokens      ✓ 4,120 of 4,120 texts and 4 of 4 chats become the same tokens",
        "in training   97.20% agree with the 4-bit model trained, KL 3.4e-03",
        "Hugging Face folder, to train on or to serve",
    ):
        assert expected in lines


async def test_what_failed_is_said_with_its_first_difference(bench: Bench, trained: Run) -> None:
    """A part that failed shows which token and which weights differ first, and which of its marks it missed."""
    exported(bench, trained)
    async with BenchApp(bench, "export").run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        pilot.app.screen.query_one("#export-parts").focus()
        await pilot.press("j")
        await settle(pilot)
        shown = " ".join(drawn(pilot.app).split())

    for expected in (
        "✗ 41.00% of 1536 greedy tokens agree (mark 88.0%)",
        "expected ' blue', got ' the'",
        "blk.0.attn_q.weight, by 140%",
        "answers ✗ 41.00% of 1,536 greedy tokens agree, 88.0% asked for",
        "KL ✗ 9.0e-01 nats a token, at most 0.2 allowed",
        "stops ✓ 94%",
    ):
        assert expected in shown


async def test_on_a_wide_terminal_the_list_is_the_table_of_checks(bench: Bench, trained: Run) -> None:
    """Beside each figure stands the mark it had to reach, and what the chosen kinds need is told part by part."""
    exported(bench, trained)
    async with BenchApp(bench, "export").run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        shown = " ".join(drawn(pilot.app).split())

    assert "99.87% ≥ 99.0% 2.1e-04 ≤ 0.01 94% ≥ 80%" in shown
    assert "merged 6.8 MB, Q8_0 3.6 MB, f16 for the time being 6.8 MB, tokens and text 16 MB" in shown


async def test_what_is_ticked_is_ordered(bench: Bench, trained: Run, monkeypatch: Any) -> None:
    """x orders one run for the merged weights and one for all ticked GGUF types, and launches both."""
    launched: list[Run] = []
    monkeypatch.setattr(bench.runs, "launch", launched.append)
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        app.screen.query_one("#export-kinds", Records).select("f16")
        await pilot.press("space")
        await settle(pilot)
        await pilot.press("x")
        await settle(pilot)

    assert [run.job.action for run in launched] == ["merged", "gguf"]
    assert set(str(launched[1].job.settings["quants"]).split(",")) == {"f16", "Q8_0"}
    assert launched[1].job.parent == trained.id


async def test_a_newly_trained_run_is_the_one_exported(bench: Bench, trained: Run, monkeypatch: Any) -> None:
    """A run that finished since the screen was last seen is under the cursor when one comes back, and x exports it."""
    launched: list[Run] = []
    monkeypatch.setattr(bench.runs, "launch", launched.append)
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        newer = bench.runs.create(make_job(base=trained.job.base, action="dpo", parent=trained.id), {"train.jsonl": []})
        newer.paths.model.mkdir()
        FakeWorker(newer).sign_in().leave(Finished(step=5))
        await pilot.press("1", "7")
        await settle(pilot)

        assert f"run {newer.id} needs" in drawn(app)
        await pilot.press("x")
        await settle(pilot)

    assert {run.job.parent for run in launched} == {newer.id}


async def test_a_reward_model_is_not_offered(bench: Bench, trained: Run) -> None:
    """A newer reward model is not among the models, so the newest run that writes answers is under the cursor."""
    judge = bench.runs.create(make_job(base=trained.job.base, action="reward", name="judge"), {"train.jsonl": []})
    judge.paths.model.mkdir()
    FakeWorker(judge).sign_in().leave(Finished(step=5))
    async with BenchApp(bench, "export").run_test(size=(120, 40)) as pilot:
        await settle(pilot)

        assert f"run {trained.id} needs" in drawn(pilot.app)
        assert "judge" not in drawn(pilot.app)


async def test_nothing_ticked_is_said(bench: Bench, trained: Run) -> None:
    """With nothing ticked the export key is greyed and says why."""
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("enter", "space")
        app.screen.query_one("#export-kinds", Records).select("Q8_0")
        await pilot.press("space", "x")
        await settle(pilot)

        assert "Nothing is ticked" in drawn(app)


async def test_only_a_verified_file_is_chatted_with(bench: Bench, trained: Run) -> None:
    """c opens the chat with a verified GGUF under the cursor, and refuses one that failed its checks."""
    folder = exported(bench, trained)
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.screen.query_one("#export-parts").focus()
        await pilot.press("j", "c")
        await settle(pilot)

        assert "choose a verified GGUF file" in drawn(app)
        await pilot.press("k", "c")
        await settle(pilot)
        assert isinstance(app.screen, ChatScreen)
        assert f"{folder.name}/model-Q8_0.gguf" in drawn(app)


async def test_a_run_is_chatted_with_from_the_list_of_models(bench: Bench, trained: Run) -> None:
    """With the cursor on a run, c opens the chat with that run."""
    exported(bench, trained)
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("c")
        await settle(pilot)

        assert isinstance(app.screen, ChatScreen)
        assert trained.title in drawn(app)


async def test_a_damaged_record_hides_only_its_own_folder(bench: Bench, trained: Run) -> None:
    """An export.json that cannot be read does not take the others with it."""
    exported(bench, trained)
    broken = bench.paths.exports / "broken"
    broken.mkdir()
    (broken / "export.json").write_text("{")
    app = BenchApp(bench, "export")
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)

        assert "model-Q8_0.gguf" in drawn(app)


async def test_an_export_at_work_is_told_of_beside_earlier_ones(bench: Bench, trained: Run) -> None:
    """While a run writes, the list of what was exported before says so, and which key shows it."""
    exported(bench, trained)
    working = bench.runs.create(make_job(base=trained.job.base, kind="export", action="merged", parent=trained.id), {})
    FakeWorker(working).sign_in()
    async with BenchApp(bench, "export").run_test(size=(120, 40)) as pilot:
        await settle(pilot)

        assert f"run {working.id} is writing and checking: r shows it, x there stops it" in drawn(pilot.app)


async def test_what_has_just_been_exported_is_under_the_cursor(bench: Bench, trained: Run) -> None:
    """A part that came or failed while the list was open is highlighted with its checks; the cursor was elsewhere."""
    folder = exported(bench, trained)
    async with BenchApp(bench, "export").run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        made = pilot.app.screen.query_one("#export-parts", Records)
        assert made.record.path.name == "model-Q8_0.gguf"
        record = json.loads((folder / "export.json").read_text())
        record["parts"]["model-f16.gguf.unverified"] = {"verified": False, "created": 3.0, "failures": [WRONG]}
        (folder / "model-f16.gguf.unverified").write_bytes(b"GGUF" * 500)
        (folder / "export.json").write_text(json.dumps(record))
        pilot.app.screen.reload()  # type: ignore[attr-defined]
        await settle(pilot)

        assert made.record.path.name == "model-f16.gguf.unverified"
        assert "0 B" not in drawn(pilot.app), "what failed has a size"
        assert "blk.0.attn_q.weight" in drawn(pilot.app)


async def test_keys_without_an_export_say_so(bench: Bench, trained: Run) -> None:
    """With a trained run and nothing exported, b and r each say in a sentence that fits what is missing."""
    async with BenchApp(bench, "export").run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("b")
        await settle(pilot)
        assert "Nothing is exported yet that could be heard beside its run." in drawn(pilot.app)
        await pilot.press("r")
        await settle(pilot)
        assert "There is no export yet: x starts one." in drawn(pilot.app)


async def test_an_export_at_work_tells_its_speed(bench: Bench, trained: Run) -> None:
    """The status row has bytes a second, as it has a loss in training."""
    working = bench.runs.create(make_job(base=trained.job.base, kind="export", action="gguf", parent=trained.id), {})
    worker = FakeWorker(working).sign_in().write(Started(), Planned(total_steps=10))
    worker.write(Step(step=4, metrics={"bytes": 4e6, "bytes_per_second": 2.5e6}, seconds=1.0))
    async with BenchApp(bench, "export").run_test(size=(120, 40)) as pilot:
        await settle(pilot)

        assert "2.5 MB/s" in drawn(pilot.app).splitlines()[-2]
