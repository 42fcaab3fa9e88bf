"""Public data from the world outside: imported as it is, and trained on by a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import importing, orders
from workbench.bench import Bench
from workbench.runs.following import ending_error, wait

pytestmark = pytest.mark.torch


def test_gsm8k_imports_and_trains(tmp_path: Path, shared_data: Path) -> None:
    """2,000 real question/answer rows are imported whole, and a short SFT run lowers the loss on held-out ones."""
    bench = Bench.create(tmp_path / "project")
    report = importing.import_file(bench.store, shared_data / "gsm8k_train_2000.jsonl")
    changes = {"max_steps": 12, "eval_every": 12, "held_out": 0.01, "learning_rate": 2e-3, "watch_every": 0}

    run = orders.train(bench, "sft", preset="cpu", changes=changes)
    bench.runs.launch(run)
    follower = wait(run, lambda look: None)

    assert (report.layout, report.rows_ok, report.rejected) == ("question_answer", 2000, ())
    assert ending_error(run, follower) is None
    first, last = (follower.live.evaluations["loss"].y[at] for at in (0, -1))
    assert last < first - 0.05
