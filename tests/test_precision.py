"""In how many bits a model answers: worked out by hand for public shapes and pretended cards."""

from __future__ import annotations

import pytest

from tests.test_fit import GIB, MODELS
from workbench import precision


def test_what_an_answering_model_needs_is_its_weights_its_cache_and_the_process() -> None:
    """Llama-3.1-8B: 8.03e9 weights of 2 bytes, 4096 tokens of 128 KiB and 1 GB; in NF4 6.98e9 of them are 0.516."""
    shape = MODELS["Llama-3.1-8B"]
    half, four = (precision.answering_bytes(shape, four_bit=bits) for bits in (False, True))

    assert half == pytest.approx(8.03e9 * 2 + 4096 * 128 * 1024 + 1e9, rel=0.001)
    assert four == pytest.approx(6.98e9 * 0.516 + 1.05e9 * 2 + 4096 * 128 * 1024 + 1e9, rel=0.001)


@pytest.mark.parametrize(
    ("model", "free_gib", "bits"),
    [
        ("Llama-3.2-1B", 7.5, 16),
        ("Llama-3.2-3B", 7.5, 16),
        ("Llama-3.2-3B", 5.5, 4),
        ("Qwen3-4B", 7.5, 4),
        ("Llama-3.1-8B", 23, 16),
        ("Llama-3.1-8B", 15, 4),
        ("Llama-3.1-8B", 7.5, 4),
        ("Qwen3-14B", 11.5, 4),
        ("Qwen3-14B", 7.5, 0),
    ],
)
def test_a_model_answers_in_the_most_bits_that_fit(model: str, free_gib: float, bits: int) -> None:
    """16 bits where they fit the free memory, 4 where only those do, and 0, which is not on the card, otherwise."""
    assert precision.bits_for(MODELS[model], int(free_gib * GIB)) == bits


def test_the_note_has_both_figures() -> None:
    """The person reads what 16 bits need, what is free, and that the answers are of 4 bits."""
    note = precision.note_of(MODELS["Llama-3.1-8B"], int(7.5 * GIB))

    assert note.startswith("In 16 bits the model needs 16.4 GiB and the card has 7.5 free")
    assert "4 bits" in note
