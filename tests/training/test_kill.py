"""A worker killed at any moment near a save loses at most the time since its last checkpoint."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.conftest import MakeRun
from tests.training.test_runs import weights_hash
from workbench import checkpoints
from workbench.paths import PACKAGE_ROOT

pytestmark = pytest.mark.torch

KILLS = 3
STEPS = 12


def start_worker(run_dir: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "utf8", "-m", "workbench.worker", str(run_dir)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def losses(run_dir: Path) -> dict[int, float]:
    """Loss by step; where a step was trained again, the later one."""
    lines = (run_dir / "events.jsonl").read_bytes().split(b"\n")
    rows = [json.loads(line) for line in lines if line.endswith(b"}")]
    return {row["step"]: row["metrics"]["loss"] for row in rows if row["type"] == "step"}


def test_killing_a_worker_while_it_saves_never_loses_the_run(make_run: MakeRun) -> None:
    """Three SIGKILLs within 50 ms of a save, at steps drawn at random: the last worker ends as if nothing was."""
    settings = {"how": "qlora", "max_steps": STEPS, "save_every": 1, "eval_every": 0, "watch_every": 0}
    whole = make_run("sft", "0001", **settings).train()
    killed = make_run("sft", "0002", **settings).paths
    dice = random.Random(7)
    for _ in range(KILLS):
        worker = start_worker(killed.root)
        beginning = _newest(killed.checkpoints)
        target = beginning + dice.randint(1, 2)
        while _newest(killed.checkpoints) < target:
            assert worker.poll() is None, (killed.root / "worker.log").read_text()
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.05))
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(timeout=30)
        newest = checkpoints.newest_valid(killed.checkpoints)
        assert newest is not None
        assert newest.step >= target

    assert start_worker(killed.root).wait(timeout=180) == 0, (killed.root / "worker.log").read_text()
    assert whole.metric("loss") == losses(killed.root)
    assert weights_hash(whole.paths.model) == weights_hash(killed.model)


def _newest(folder: Path) -> int:
    """The highest step with a published checkpoint, by name alone."""
    names = [path.name for path in folder.glob("step-??????")] if folder.is_dir() else []
    return max((int(name[5:]) for name in names), default=0)
