"""How many threads a model's sums are shared among."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from workbench.paths import BUNDLED_BASE
from workbench.worker import model, threads

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "ALL", 2)
    monkeypatch.setattr(threads, "_widest", 0)


def test_the_bundled_base_is_worked_on_by_one_thread() -> None:
    """Loading it leaves one thread where there were two."""
    torch.set_num_threads(2)
    model.load_weights(BUNDLED_BASE, torch.float32)
    assert torch.get_num_threads() == 1


def test_the_widest_model_of_a_process_decides() -> None:
    """A reward model of another base that is wide brings the other threads back, and a narrow one after it does not."""
    counts = []
    for hidden_size in (128, 2048, 256):
        threads.suit(hidden_size)
        counts.append(torch.get_num_threads())
    assert counts == [1, 2, 2]


def test_a_number_from_outside_stays() -> None:
    """Who sets OMP_NUM_THREADS has decided."""
    code = "import torch; from workbench.worker import threads; threads.suit(64); print(torch.get_num_threads())"
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2"]
