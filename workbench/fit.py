"""Will it fit: what a run needs of a card's memory, as a range, from the base's shape and the settings. No torch.

The arithmetic is derived, not measured, and published figures for the same run differ by a factor of two; hence the
range, and hence a run measures its own peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

NF4_BYTES = 0.516
"""A quantised weight: 4 bits, and the scales of blocks of 64, quantised themselves (0.016)."""

FROZEN_BYTES = 2
"""A frozen weight that is not quantised, in bf16."""

TRAINED_BYTES = 8
"""A trained weight and its gradient, both fp32: smaller steps than bf16 can hold must not be lost."""

OPTIMIZER_BYTES = {"8bit": 2, "32bit": 8}
"""AdamW's two moments of a trained weight."""

LAYER_ACTIVATIONS = 34
"""Bytes a token and hidden unit that one block holds for its backward pass, with an MLP 3.5 times as wide
(Korthikanti et al. 2022, section 4.1)."""

LOGIT_BYTES = 10
"""A logit in bf16 and fp32 with its gradient, where the whole vocabulary is held at once."""

LOGIT_CHUNK_TOKENS = 256
"""TRL 1.16's fused head projects so many tokens at once."""

CONTEXT_BYTES = (0.6e9, 1.0e9)
"""What a CUDA process takes beside tensors: context, workspaces, fragments."""

TIGHT_SHARE = 0.9
"""Above this share of the memory an estimate is called tight."""

Verdict = Literal["fits", "tight", "no"]


class Shape(Protocol):
    """What is asked of a base model (`bases.Base` has it)."""

    @property
    def parameters(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def tied(self) -> bool: ...


@dataclass(frozen=True)
class Estimate:
    """Bytes a run needs at its peak, by what needs them, and whether the card has them."""

    low_bytes: int
    high_bytes: int
    parts: dict[str, int]
    verdict: Verdict
    sentence: str


def embedding_parameters(base: Shape) -> int:
    """The embeddings, and the head where it is not the same matrix."""
    return base.vocab * base.hidden * (1 if base.tied else 2)


def linear_parameters(base: Shape) -> int:
    """The weights of the blocks' linear layers: q, k, v, o and the gated MLP's three."""
    return sum(rows * columns for rows, columns in linear_shapes(base)) * base.layers


def linear_shapes(base: Shape) -> list[tuple[int, int]]:
    """(in, out) of the linear layers of one block of the Llama kind."""
    width, keys = base.heads * base.head_dim, base.kv_heads * base.head_dim
    attention = [(base.hidden, width), (base.hidden, keys), (base.hidden, keys), (width, base.hidden)]
    return [*attention, *[(base.hidden, base.intermediate)] * 2, (base.intermediate, base.hidden)]


def lora_parameters(base: Shape, rank: int) -> int:
    """An adapter on all linear layers: rank × (in + out) each."""
    return rank * base.layers * sum(rows + columns for rows, columns in linear_shapes(base))


def trained_parameters(base: Shape, settings: Mapping[str, Any]) -> int:
    """How many weights the settings tune."""
    how = settings["how"]
    if how in ("qlora", "lora"):
        return lora_parameters(base, int(settings["rank"]))
    if how == "full":
        return base.parameters
    tuned = min(int(settings["last_layers"]), base.layers)
    return linear_parameters(base) * tuned // base.layers + base.vocab * base.hidden


def cache_bytes_per_token(base: Shape) -> int:
    """Keys and values of one token of one sequence, in 16 bits."""
    return 2 * base.layers * base.kv_heads * base.head_dim * 2


def parts_of(base: Shape, settings: Mapping[str, Any], method: str, *, on_card: bool = True) -> dict[str, int]:
    """Bytes by what needs them, without the process's own. `auto` means 8-bit moments on a card only."""
    how = str(settings["how"])
    trained = trained_parameters(base, settings)
    linear = linear_parameters(base)
    others = max(base.parameters - linear, embedding_parameters(base))
    frozen = {
        "qlora": NF4_BYTES * linear + FROZEN_BYTES * others,
        "lora": FROZEN_BYTES * (linear + others),
        "last_layers": FROZEN_BYTES * max(0, linear + others - trained),
        "full": 0,
    }[how]
    eight_bit = settings["optimizer"] in ("adamw_8bit", "paged_adamw_8bit", "auto" if on_card else "")
    rows = int(settings["micro_batch"]) * (2 if method == "dpo" else 1)  # chosen and rejected go through together
    tokens = rows * int(settings["max_length"])
    blocks = 1 if settings["gradient_checkpointing"] else base.layers
    return {
        "weights": int(frozen),
        "trained weights": trained * (TRAINED_BYTES + OPTIMIZER_BYTES["8bit" if eight_bit else "32bit"]),
        "activations": base.layers * tokens * base.hidden * 2 + blocks * LAYER_ACTIVATIONS * tokens * base.hidden,
        "logits": LOGIT_BYTES * base.vocab * min(tokens, LOGIT_CHUNK_TOKENS),
    }


def estimate(base: Shape, settings: Mapping[str, Any], method: str, hardware: Any) -> Estimate:
    """What a run needs, and whether this machine's card (or, without one, its memory) has that much."""
    parts = parts_of(base, settings, method, on_card=hardware.vram_bytes is not None)
    if hardware.vram_bytes is None:  # a CPU computes in fp32, and its processes hold torch's libraries
        parts["weights"] = parts["weights"] * (1 if settings["how"] == "qlora" else 2)
        parts["activations"] *= 2
    total = sum(parts.values())
    low = int(total + CONTEXT_BYTES[0])
    high = int(total * 1.25 + CONTEXT_BYTES[1])
    room = hardware.vram_bytes if hardware.vram_bytes is not None else hardware.ram_bytes
    verdict: Verdict = "fits" if high <= room * TIGHT_SHARE else "tight" if low <= room else "no"
    return Estimate(low, high, parts, verdict, _sentence(low, high, room, verdict, parts, settings))


def _sentence(
    low: int, high: int, room: int, verdict: Verdict, parts: dict[str, int], settings: Mapping[str, Any]
) -> str:
    span = f"needs about {low / 2**30:.1f}-{high / 2**30:.1f} GiB of {room / 2**30:.1f}"
    if verdict == "fits":
        return f"Fits: {span}."
    opening = "Tight" if verdict == "tight" else "Too large"
    return f"{opening}: {span}. {_advice(parts, settings)}"


def _advice(parts: dict[str, int], settings: Mapping[str, Any]) -> str:
    """The change that would save most and is still to be had."""
    if settings["how"] != "qlora" and max(parts, key=lambda name: parts[name]) in ("weights", "trained weights"):
        return "Set how=qlora: 4-bit weights and a small adapter."
    if not settings["gradient_checkpointing"]:
        return "Switch gradient_checkpointing on."
    if int(settings["micro_batch"]) > 1:
        return f"Set micro_batch=1 and accumulation={int(settings['micro_batch']) * int(settings['accumulation'])}."
    if max(parts, key=lambda name: parts[name]) == "weights":
        return "Choose a smaller base."
    return f"Lower max_length to {max(64, int(settings['max_length']) // 2)}."
