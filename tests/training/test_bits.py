"""What a worker does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workbench.paths import PACKAGE_ROOT

pytestmark = pytest.mark.torch

PROGRAM = """
import sys, torch
compiled = torch.compile
import workbench.worker.bits
import workbench.worker.ppo.loop
assert torch.compile is compiled
assert "bitsandbytes" in sys.modules
assert "torch._inductor.compile_fx" not in sys.modules
layer = workbench.worker.bits.Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32).to("cpu")
layer(torch.ones(2, 64, requires_grad=True)).sum().backward()
assert "torch._inductor.compile_fx" not in sys.modules
"""


def test_a_worker_needs_no_compiler() -> None:
    """bitsandbytes as a worker imports it, and a 4-bit layer's passes, load no Inductor, which takes 42 MB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=PACKAGE_ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
