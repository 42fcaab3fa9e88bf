"""In how many bits a model answers on a card: 16 where there is room, else 4, else not there. No torch.

A model that is only talked to has no gradients: it needs its weights, the keys and values of what was said, and what
a CUDA process takes beside tensors.
"""

from __future__ import annotations

from typing import Literal

from workbench import fit
from workbench.fit import Shape
from workbench.hardware import GIB

Bits = Literal[16, 4, 0]

KEPT_TOKENS = 4096
"""Tokens whose keys and values must find room: one long conversation, or sixteen short answers at once."""

BESIDE_BYTES = int(fit.CONTEXT_BYTES[1])


def weight_bytes(base: Shape, *, four_bit: bool) -> int:
    """All weights in a 16-bit type; in NF4 the blocks' linear ones are 4-bit and the rest stays."""
    if not four_bit:
        return fit.FROZEN_BYTES * base.parameters
    linear = min(fit.linear_parameters(base), base.parameters)
    return int(fit.NF4_BYTES * linear) + fit.FROZEN_BYTES * (base.parameters - linear)


def answering_bytes(base: Shape, *, four_bit: bool) -> int:
    """What a model needs to answer, with `KEPT_TOKENS` of context."""
    return weight_bytes(base, four_bit=four_bit) + KEPT_TOKENS * fit.cache_bytes_per_token(base) + BESIDE_BYTES


def bits_for(base: Shape, free_bytes: int) -> Bits:
    """The most bits in which a model answers with so much free memory; 0 where not even 4 fit."""
    if answering_bytes(base, four_bit=False) <= free_bytes:
        return 16
    return 4 if answering_bytes(base, four_bit=True) <= free_bytes else 0


def note_of(base: Shape, free_bytes: int) -> str:
    """Why a model answers in 4 bits, for the person."""
    needed = answering_bytes(base, four_bit=False)
    return (
        f"In 16 bits the model needs {needed / GIB:.1f} GiB and the card has {free_bytes / GIB:.1f} free: it answers "
        "in 4 bits (NF4), a little unlike its export."
    )
