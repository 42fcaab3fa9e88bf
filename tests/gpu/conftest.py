"""`pytest -m gpu`: the same paths as tests/training, on a card, in bf16 and with bitsandbytes' kernels for it.

The machines that these were written on and that check every commit have no card, so they have been collected and
skipped there and never run. They are kept simple for that reason: two random layers, a few steps, and figures that do
not depend on the card.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.conftest import (  # noqa: F401  # fixtures
    asked,
    demonstrations,
    make_run,
    pairs,
    rankings,
    rows_by_need,
    thumbs,
)
from tests.training.conftest import tiny_base as whole_base  # noqa: F401
from workbench import hardware

NO_CARD = "needs a CUDA card: nvidia-smi finds none here"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is for a card, and is left out of the quick tests as all that trains is."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.torch)
            if not hardware.detect().has_card:
                item.add_marker(pytest.mark.skip(reason=NO_CARD))


@pytest.fixture(autouse=True)
def _clean_card() -> Iterator[None]:
    """Each test begins with an empty allocator and a peak of nothing, and may take the whole card."""
    import gc

    import torch

    if not torch.cuda.is_available():
        pytest.skip("this torch is built without CUDA, or its driver does not answer")
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture(scope="session")
def tiny_base(whole_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The random two-layer Llama in bf16, as public bases are."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("bases") / "tiny-bf16"
    shutil.copytree(whole_base, folder)
    AutoModelForCausalLM.from_pretrained(whole_base, dtype=torch.bfloat16).save_pretrained(folder)
    return folder
