"""Settings that every training method has. Defaults suit a QLoRA run; presets state only what differs.

A field's help is what the person reads in the form, so it says what the value costs and what it buys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.fields import Field

ADAPTERS = ("qlora", "lora")
SOFT = ("prefix", "prompt")
"""Ways that tune no weight of the base but numbers put before the text (`workbench.worker.soft_prompt`)."""
WHOLE = ("head_only", "last_layers", "full")
"""Ways that tune weights of the base itself: no adapter can be switched off to have the reference."""

HOW = (*ADAPTERS, *SOFT, *WHOLE)

RATE_FACTORS = {"prefix": 100.0, "prompt": 50.0}
"""How many times an adapter's rate suits a way of tuning: of 10 to 300 these learnt fastest on the demo."""


def in_four_bits(settings: Mapping[str, Any]) -> bool:
    """Whether the base is held as NF4 while it is tuned."""
    return settings["how"] == "qlora" or (settings["how"] in SOFT and settings["bits"] == "4")


SHARED: tuple[Field, ...] = (
    Field(
        "how",
        "qlora",
        "How to tune",
        "qlora: a small adapter on a 4-bit base, least memory. lora: the same on a 16-bit base. "
        "prefix: keys and values put before the text in every layer; prompt: as many words put before it, the least "
        "there is to train; neither can be merged. head_only: the output head alone. "
        "last_layers: the last blocks and the head themselves. full: every weight, needs many times the memory.",
        choices=HOW,
        group="model",
    ),
    Field(
        "rank",
        16,
        "LoRA rank",
        "Size of the adapter. 8 learns style, 16 suits most, 32 and more learn facts better and cost memory.",
        low=1,
        high=512,
        group="model",
    ),
    Field(
        "alpha",
        32,
        "LoRA alpha",
        "Strength of the adapter: it is scaled by alpha / rank. Once or twice the rank is usual.",
        low=1,
        high=2048,
        group="model",
    ),
    Field(
        "dropout",
        0.0,
        "LoRA dropout",
        "Share of the adapter's inputs silenced at random. 0 is fastest; 0.05 helps on tiny data.",
        low=0.0,
        high=0.9,
        group="model",
        advanced=True,
    ),
    Field(
        "targets",
        "all-linear",
        "LoRA targets",
        "Which layers get an adapter: all-linear, or names such as q_proj,v_proj.",
        group="model",
        advanced=True,
    ),
    Field(
        "rslora",
        False,
        "Rank-stabilised",
        "Scales the adapter by alpha / √rank, so that ranks of 64 and more are not held back (Kalajdzievski 2023).",
        group="model",
        advanced=True,
    ),
    Field(
        "dora",
        False,
        "DoRA",
        "Tunes each weight's length apart from its direction (Liu et al. 2024): closer to full tuning, about twice "
        "as slow.",
        group="model",
        advanced=True,
    ),
    Field(
        "virtual_tokens",
        16,
        "Virtual tokens",
        "With prefix and prompt: how many are put before the text. Each takes a token of the context.",
        low=1,
        high=1024,
        unit="tokens",
        group="model",
        advanced=True,
    ),
    Field(
        "bits",
        "4",
        "Bits of the base",
        "With prefix and prompt: 4 holds the base as NF4, like qlora; 16 as it is, like lora.",
        choices=("4", "16"),
        group="model",
        advanced=True,
    ),
    Field(
        "last_layers",
        2,
        "Layers to tune",
        "How many of the last blocks are tuned when 'How to tune' is last_layers.",
        low=1,
        high=200,
        group="model",
        advanced=True,
    ),
    Field(
        "epochs",
        1.0,
        "Epochs",
        "How often the run goes through the data. More than 3 mostly learns it by heart.",
        low=0.01,
        high=100,
    ),
    Field(
        "max_steps",
        0,
        "Step limit",
        "Stops after so many optimiser steps whatever the epochs say. all: no limit.",
        low=0,
        high=10_000_000,
        unit="steps",
        zero="all",
    ),
    Field(
        "learning_rate",
        2e-4,
        "Learning rate",
        "How far each step goes. Too high diverges, too low learns nothing.",
        low=1e-9,
        high=1.0,
    ),
    Field(
        "schedule",
        "cosine",
        "Rate schedule",
        "How the rate falls: cosine and linear end near zero, constant stays.",
        choices=("cosine", "linear", "constant", "constant_with_warmup"),
        advanced=True,
    ),
    Field(
        "warmup",
        0.05,
        "Warm-up",
        "Share of the steps over which the rate rises from zero.",
        low=0.0,
        high=0.9,
        advanced=True,
    ),
    Field(
        "micro_batch",
        1,
        "Micro-batch",
        "Rows through the model at once. Memory grows with it; 1 always fits best.",
        low=1,
        high=1024,
        unit="rows",
    ),
    Field(
        "accumulation",
        16,
        "Accumulation",
        "Micro-batches added up before a step. Micro-batch × accumulation is the batch.",
        low=1,
        high=4096,
    ),
    Field(
        "max_length",
        1024,
        "Longest row",
        "Tokens of prompt and answer together. Longer rows are cut, and the screen says how many.",
        low=16,
        high=131_072,
        unit="tokens",
    ),
    Field(
        "optimizer",
        "auto",
        "Optimiser",
        "auto: paged 8-bit AdamW on a CUDA card, AdamW elsewhere. 8-bit saves 6 bytes a trained weight.",
        choices=("auto", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"),
        advanced=True,
    ),
    Field(
        "weight_decay",
        0.0,
        "Weight decay",
        "Pulls weights towards zero each step. 0 suits adapters.",
        low=0.0,
        high=1.0,
        advanced=True,
    ),
    Field(
        "clip",
        1.0,
        "Gradient clip",
        "Longest gradient a step may take; longer ones are shortened. 0: never.",
        low=0.0,
        high=1000,
        advanced=True,
    ),
    Field(
        "gradient_checkpointing",
        True,
        "Gradient checkpointing",
        "Computes activations twice to hold far fewer of them: about 30 % slower, much less memory. Never with a "
        "prefix, which would be lost on the way.",
        advanced=True,
    ),
    Field(
        "held_out",
        0.05,
        "Held out",
        "Share of the data kept apart to measure on. It never trains.",
        low=0.0,
        high=0.5,
        group="data",
    ),
    Field(
        "eval_every",
        50,
        "Measure every",
        "Steps between measurements on the held-out rows. 0: only before the first step and at the end.",
        low=0,
        high=1_000_000,
        unit="steps",
        group="saving",
    ),
    Field(
        "save_every",
        50,
        "Save every",
        "Steps between checkpoints: what a crash can cost at most. 0: only when you stop the run.",
        low=0,
        high=1_000_000,
        unit="steps",
        group="saving",
    ),
    Field(
        "keep",
        2,
        "Checkpoints kept",
        "Older checkpoints are deleted after a newer one is safely on disk.",
        low=1,
        high=100,
        group="saving",
        advanced=True,
    ),
    Field(
        "watch_every",
        50,
        "Sample every",
        "Steps between answers to a few fixed prompts, so you can read the progress. 0: never.",
        low=0,
        high=1_000_000,
        unit="steps",
        group="saving",
    ),
    Field("seed", 0, "Seed", "The same seed, data and machine give the same run.", low=0, high=2**31 - 1, group="data"),
)

JUDGES = Field(
    "judges",
    "",
    "Whose rankings",
    "Empty: yours, imported ones and rules'; never those of reward models. Or names with commas between: "
    "person, import, rule:demo, reward:0004.",
    group="data",
    advanced=True,
)
"""For methods that train on what was judged: whose word counts."""
