"""Will it fit: what a run needs of a card's memory, as a range, from the base's shape and the settings. No torch.

The arithmetic is derived, not measured, and published figures for the same run differ by a factor of two; hence the
range, and hence a run measures its own peak, from which `workbench.measured` learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from workbench import rewards
from workbench.methods.shared import ADAPTERS, WHOLE, in_four_bits

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

ALL = "all-linear"
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block, in the order of `linear_shapes`."""

ANSWERS_AT_ONCE = {"dpo": 2, "orpo": 2, "simpo": 2, "reward": 4}
"""Answers of a row that go through together, where it is not one: a pair, and as many as are usually ranked."""

WHOLE_LOGITS = ("orpo", "simpo")
"""Methods whose trainers in TRL hold every logit of a row."""

WRITTEN_AT_ONCE = 32
"""Answers written at once that an estimate counts on: the sampler takes more where there is room."""

CONTEXT_BYTES = (0.6e9, 1.0e9)
"""What a CUDA process takes beside tensors: context, workspaces, fragments."""

TIGHT_SHARE = 0.9
"""Above this share of the memory an estimate is called tight."""

ANOTHER_BASE = "another base for the reward"
"""The part of an estimate that a reward model on a base of its own is."""

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
    measured_runs: int = 0
    """Earlier runs whose measured peaks the range comes from; 0 where it is only worked out."""


def embedding_parameters(base: Shape) -> int:
    """The embeddings, and the head where it is not the same matrix."""
    return base.vocab * base.hidden * (1 if base.tied else 2)


def linear_parameters(base: Shape) -> int:
    """The weights of the blocks' linear layers: q, k, v, o and the gated MLP's three."""
    return sum(rows * columns for rows, columns in linear_shapes(base)) * base.layers


def linear_shapes(base: Shape, targets: str = ALL) -> list[tuple[int, int]]:
    """(in, out) of the linear layers of one block of the Llama kind, all or those that `targets` names."""
    width, keys = base.heads * base.head_dim, base.kv_heads * base.head_dim
    attention = [(base.hidden, width), (base.hidden, keys), (base.hidden, keys), (width, base.hidden)]
    shapes = [*attention, *[(base.hidden, base.intermediate)] * 2, (base.intermediate, base.hidden)]
    named = {name.strip() for name in targets.split(",")}
    return [shape for name, shape in zip(LINEAR, shapes, strict=True) if targets == ALL or name in named]


def lora_parameters(base: Shape, rank: int, targets: str = ALL, *, dora: bool = False) -> int:
    """An adapter on linear layers: rank × (in + out) each, and with DoRA the length of each of `out` rows."""
    shapes = linear_shapes(base, targets)
    return base.layers * sum(rank * (into + out) + out * dora for into, out in shapes)


def block_parameters(base: Shape) -> int:
    """One block with its norms and biases: what the base has beside embeddings, head and last norm."""
    rest = base.parameters - embedding_parameters(base) - base.hidden
    return max(rest, linear_parameters(base)) // base.layers


def trained_parameters(base: Shape, settings: Mapping[str, Any], *, scalar_head: bool = False) -> int:
    """How many weights the settings tune, starting from the base; a reward model has a head of one number."""
    how = settings["how"]
    if how in ADAPTERS:
        rank, targets = int(settings["rank"]), str(settings["targets"]).strip()
        return lora_parameters(base, rank, targets, dora=bool(settings.get("dora"))) + base.hidden * scalar_head
    if how == "prompt":
        return int(settings["virtual_tokens"]) * base.hidden
    if how == "prefix":
        return int(settings["virtual_tokens"]) * 2 * base.layers * base.kv_heads * base.head_dim
    head = base.hidden if scalar_head else base.vocab * base.hidden
    if how == "head_only":
        return head
    if how == "full":
        return base.parameters + (head - (0 if base.tied else base.vocab * base.hidden) if scalar_head else 0)
    return block_parameters(base) * min(int(settings["last_layers"]), base.layers) + base.hidden + head


def cache_bytes_per_token(base: Shape) -> int:
    """Keys and values of one token of one sequence, in 16 bits."""
    return 2 * base.layers * base.kv_heads * base.head_dim * 2


def parts_of(base: Shape, settings: Mapping[str, Any], method: str, *, on_card: bool = True) -> dict[str, int]:
    """Bytes by what needs them, without the process's own. `auto` means 8-bit moments on a card only."""
    how = str(settings["how"])
    trained = trained_parameters(base, settings)
    linear = linear_parameters(base)
    others = max(base.parameters - linear, embedding_parameters(base))
    frozen = (NF4_BYTES if in_four_bits(settings) else FROZEN_BYTES) * linear + FROZEN_BYTES * others
    if how in WHOLE:
        own_head = base.tied and how == "head_only"  # the head is copied off the embeddings, which stay
        frozen = FROZEN_BYTES * max(0, linear + others - (0 if own_head else trained))
    eight_bit = settings["optimizer"] in ("adamw_8bit", "paged_adamw_8bit", "auto" if on_card else "")
    rows = int(settings["micro_batch"]) * ANSWERS_AT_ONCE.get(method, 1)
    tokens = rows * int(settings["max_length"])
    blocks, checkpoints = _held_blocks(base, settings)
    return {
        "weights": int(frozen),
        "trained weights": trained * (TRAINED_BYTES + OPTIMIZER_BYTES["8bit" if eight_bit else "32bit"]),
        "activations": checkpoints * tokens * base.hidden * 2 + blocks * LAYER_ACTIVATIONS * tokens * base.hidden,
        "logits": 0 if method == "reward" else LOGIT_BYTES * base.vocab * _logit_tokens(tokens, method),
        **(_group_parts(base, settings) if "group" in settings else {}),
        **(_role_parts(base, settings, eight_bit=bool(eight_bit)) if method == "ppo" else {}),
    }


def _logit_tokens(tokens: int, method: str) -> int:
    """Tokens whose logits are in memory at once."""
    return tokens if method in WHOLE_LOGITS else min(tokens, LOGIT_CHUNK_TOKENS)


def _group_parts(base: Shape, settings: Mapping[str, Any]) -> dict[str, int]:
    """What writing groups of answers needs beside training on them: keys and values, and the reference of a run that
    tunes whole weights, which is a second model."""
    answers = min(WRITTEN_AT_ONCE, int(settings["micro_batch"]) * int(settings["accumulation"]))
    bytes_each = {"full": 4}.get(str(settings["how"]), FROZEN_BYTES)
    second = settings["how"] in WHOLE and float(settings["beta"]) > 0
    return {
        "answers in writing": answers * int(settings["max_length"]) * cache_bytes_per_token(base),
        "reference": base.parameters * bytes_each if second else 0,
    }


def _role_parts(base: Shape, settings: Mapping[str, Any], *, eight_bit: bool) -> dict[str, int]:
    """What PPO's roles need beside the policy on the same base: keys and values of answers being written, a value with
    an adapter of its own, a reward model's adapter in fp32, and the starting values where whole weights are tuned."""
    rows = int(settings["micro_batch"]) * int(settings["accumulation"]) * int(settings["mini_batches"])
    trained = trained_parameters(base, settings)
    adapters = settings["how"] in ADAPTERS
    optimized = TRAINED_BYTES + OPTIMIZER_BYTES["8bit" if eight_bit else "32bit"]
    judged = any(term.kind == "run" for term in rewards.parse(str(settings["reward"])))
    return {
        "answers in writing": min(WRITTEN_AT_ONCE, rows) * int(settings["max_length"]) * cache_bytes_per_token(base),
        "value": trained * optimized if adapters and settings["value"] == "adapter" else 0,
        "reward model": 4 * trained if adapters and judged else 0,
        "reference": 0 if adapters else 4 * trained,
    }


def beside_bytes(others: Sequence[Shape]) -> int:
    """What reward models on bases of their own weigh, in 4 bits, beside the policy's base."""
    return int(sum(NF4_BYTES * linear_parameters(o) + FROZEN_BYTES * embedding_parameters(o) for o in others))


def _held_blocks(base: Shape, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Blocks whose activations are held for the backward pass, and those whose input is: below the lowest trained
    weight there is none. A prefix cannot be computed twice."""
    how = settings["how"]
    passed = {"head_only": 0, "last_layers": min(int(settings["last_layers"]), base.layers)}.get(str(how), base.layers)
    twice = settings["gradient_checkpointing"] and how != "prefix"
    return (min(1, passed) if twice else passed), passed


def estimate(
    base: Shape, settings: Mapping[str, Any], method: str, hardware: Any, beside: Sequence[Shape] = ()
) -> Estimate:
    """What a run needs, and whether this machine's card (or, without one, its memory) has that much.

    `beside` are the bases that the run's reward models bring along.
    """
    parts = parts_of(base, settings, method, on_card=hardware.vram_bytes is not None)
    if beside:
        parts[ANOTHER_BASE] = beside_bytes(beside)
    if hardware.vram_bytes is None:  # a CPU computes in fp32, and its processes hold torch's libraries
        parts["weights"] = parts["weights"] * (1 if in_four_bits(settings) else 2)
        parts["activations"] *= 2
    total = sum(parts.values())
    low = int(total + CONTEXT_BYTES[0])
    high = int(total * 1.25 + CONTEXT_BYTES[1])
    return judged(low, high, parts, settings, room_of(hardware))


def room_of(hardware: Any) -> int:
    """The memory that a run has: the card's, or without one the machine's."""
    return int(hardware.vram_bytes if hardware.vram_bytes is not None else hardware.ram_bytes)


def judged(
    low: int, high: int, parts: dict[str, int], settings: Mapping[str, Any], room: int, runs: int = 0, source: str = ""
) -> Estimate:
    """A range of bytes against the room there is; `source` says where the range comes from."""
    verdict: Verdict = "fits" if high <= room * TIGHT_SHARE else "tight" if low <= room else "no"
    span = f"needs about {low / 2**30:.1f}-{high / 2**30:.1f} GiB of {room / 2**30:.1f}{source}"
    opening = {"fits": "Fits", "tight": "Tight", "no": "Too large"}[verdict]
    other = parts.get(ANOTHER_BASE, 0)
    told = [f"{opening}: {span}."]
    told += [f"The reward model's own base takes {other / 2**30:.1f} of them."] if other else []
    told += [_advice(parts, settings)] if verdict != "fits" else []
    sentence = " ".join(told)
    return Estimate(low, high, parts, verdict, sentence, runs)


def _advice(parts: dict[str, int], settings: Mapping[str, Any]) -> str:
    """The change that would save most and is still to be had."""
    if not in_four_bits(settings) and max(parts, key=lambda name: parts[name]) in ("weights", "trained weights"):
        return "Set how=qlora: 4-bit weights and a small adapter."
    if not settings["gradient_checkpointing"]:
        return "Switch gradient_checkpointing on."
    if int(settings["micro_batch"]) > 1:
        return f"Set micro_batch=1 and accumulation={int(settings['micro_batch']) * int(settings['accumulation'])}."
    if max(parts, key=lambda name: parts[name]) == "weights":
        return "Choose a smaller base."
    return f"Lower max_length to {max(64, int(settings['max_length']) // 2)}."
