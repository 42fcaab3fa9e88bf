"""Byte-level BPE for a GGUF: the pre-tokenizer recognised by its rules, named as llama.cpp names the same rules."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from workbench.exports.gguf import vocabulary
from workbench.exports.gguf.vocabulary import NORMAL, UNUSED, Departure, Json, Vocabulary

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's split, which `ByteLevel` with use_regex applies (openai/gpt-2, encoder.py)."""
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST

NAMES: dict[tuple[tuple[str, ...], bool], str] = {
    ((GPT2,), False): "gpt-2",
    ((r"\p{N}", GPT2), False): "smollm",
    ((LLAMA3,), True): "llama-bpe",
    ((LLAMA3,), False): "dbrx",
    ((QWEN2,), False): "qwen2",
}
"""(splits in order, whole words before merges) -> llama.cpp's name for exactly that (src/llama-vocab.cpp)."""

CLEANING = {"smollm": "refact"}
"""Names for the same splits where decoding takes out spaces before punctuation: Granite's and StarCoder's."""

RARE = {*range(0x20)} - {*b"\t\n\r"} | {0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100)}
"""Bytes of no ordinary text (controls, no UTF-8, planes without letters): StarCoder's and Granite's lack some."""

NFC = Departure(
    "This tokenizer composes accents (NFC) and llama.cpp does not: text typed with them apart becomes other tokens.",
    lambda text: unicodedata.normalize("NFC", text) != text,
)


def unsupported(tokenizer: Json) -> str:
    """Why llama.cpp would cut texts otherwise; "" if it would not."""
    normalizer = tokenizer.get("normalizer")
    if normalizer and normalizer.get("type") != "NFC":
        return f"Its tokenizer normalises text ({normalizer.get('type')}), which llama.cpp does not."
    rules = splits(tokenizer.get("pre_tokenizer") or {})
    if rules is None:
        return f"Its pre-tokenizer ({_outline(tokenizer.get('pre_tokenizer'))}) has a step llama.cpp has no name for."
    if (rules, bool(tokenizer["model"].get("ignore_merges"))) not in NAMES:
        return f"Its pre-tokenizer splits by rules that llama.cpp has no name for: {' then '.join(rules)[:120]}"
    missing = [byte for byte, letter in byte_letters().items() if letter not in tokenizer["model"]["vocab"]]
    if set(missing) - RARE:
        return f"Its vocabulary lacks {len(missing)} of the 256 single bytes, which older llama.cpp does not survive."
    return ""


def departures(tokenizer: Json) -> tuple[Departure, ...]:
    """What llama.cpp cannot do as this tokenizer does."""
    return (NFC,) if tokenizer.get("normalizer") else ()


def splits(pre_tokenizer: Json) -> tuple[str, ...] | None:
    """The regular expressions by which a text is cut before merging, in order; None for a step we cannot name."""
    steps = pre_tokenizer.get("pretokenizers") if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    rules: list[str] = []
    for step in steps[:-1]:
        rule = _split_rule(step)
        if rule is None:
            return None
        rules.append(rule)
    return tuple([*rules, GPT2] if steps[-1].get("use_regex", True) else rules)


def _split_rule(step: Json) -> str | None:
    if step.get("type") == "Digits" and step.get("individual_digits"):
        return r"\p{N}"
    # The rules that have a name leave no letter out, so keeping only what they match keeps everything.
    kept = (step.get("behavior"), bool(step.get("invert"))) in (("Isolated", False), ("Removed", True))
    if step.get("type") == "Split" and kept:
        pattern = (step.get("pattern") or {}).get("Regex")
        return str(pattern) if pattern else None
    return None


def _outline(pre_tokenizer: Any) -> str:
    if not isinstance(pre_tokenizer, Mapping):
        return "none"
    steps = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    return ", ".join(str(step.get("type")) for step in steps)[:120]


def byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in a byte-level vocabulary (GPT-2's bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def read(tokenizer: Json, vocabulary_size: int, cleans: bool) -> Vocabulary:
    """The vocabulary of a supported byte-level tokenizer.json."""
    rules = splits(tokenizer["pre_tokenizer"])
    name = NAMES[(rules or (), bool(tokenizer["model"].get("ignore_merges")))]
    tokens = [f"[PAD{n}]" for n in range(vocabulary_size)]
    types = [UNUSED] * vocabulary_size
    for text, number in tokenizer["model"]["vocab"].items():
        if number < vocabulary_size:
            tokens[number], types[number] = text, NORMAL
    vocabulary.overlay(tokenizer, tokens, types)
    # A space in a merge is a byte-level letter that an old file spelt as itself.
    merges = [
        " ".join(part.replace(" ", chr(ord(" ") + 256)) for part in pair)
        for pair in vocabulary.pairs(tokenizer["model"]["merges"])
    ]
    begins, ends = vocabulary.added_around(tokenizer.get("post_processor") or {})
    pre = CLEANING.get(name, name) if cleans else name
    return Vocabulary("gpt2", pre, tokens, types, merges, [], begins, ends, strips=vocabulary.strips(tokenizer))
