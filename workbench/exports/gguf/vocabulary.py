"""A Hugging Face tokenizer as a GGUF vocabulary: byte-level BPE, its pre-tokenizer recognised by its rules.

llama.cpp's own converter knows tokenizers by a hash of what they make of one text, and refuses every retrained one.
We read the rules in tokenizer.json and name the llama.cpp pre-tokenizer that follows the same ones. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

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
    ((LLAMA3,), False): "smaug-bpe",
    ((QWEN2,), False): "qwen2",
}
"""(splits in order, whole words before merges) -> llama.cpp's name for exactly that (src/llama-vocab.cpp)."""

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's token types that a byte-level vocabulary uses."""


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of its tokens."""

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    adds_bos: bool
    adds_eos: bool


def unsupported(tokenizer: Json, vocabulary_size: int = 0) -> str:
    """Why this tokenizer.json cannot be written to a GGUF yet; "" if it can."""
    try:
        return _unsupported(tokenizer, vocabulary_size)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return f"Its tokenizer.json is damaged ({type(error).__name__}: {error})."


def damage(tokenizer: Json) -> str:
    """What is wrong with a tokenizer.json in itself; "" if nothing. Other kinds than BPE are not looked into."""
    try:
        model = tokenizer["model"]
        if model.get("type") != "BPE":
            return ""
        vocab = model["vocab"]
        if not vocab or not all(isinstance(number, int) and number >= 0 for number in vocab.values()):
            return "its vocabulary is empty or has ids that are no numbers."
        for pair in model["merges"]:
            left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
            if left not in vocab or right not in vocab or left + right not in vocab:
                return f"it merges {left!r} and {right!r}, which are not all in its vocabulary."
        for token in tokenizer.get("added_tokens") or []:
            if not isinstance(token["content"], str) or not isinstance(token["id"], int):
                return "an added token has no text or no id."
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return f"its tokenizer.json lacks a part ({type(error).__name__}: {error})."
    return ""


def _unsupported(tokenizer: Json, vocabulary_size: int) -> str:
    model = tokenizer.get("model") or {}
    if not model:
        return "It has no tokenizer.json, which the GGUF vocabulary is made from."
    kind = model.get("type")
    if kind != "BPE" or model.get("byte_fallback"):
        named = "SentencePiece-style BPE with byte fallback" if model.get("byte_fallback") else kind
        return f"Its tokenizer is of the kind {named}; only byte-level BPE is supported so far."
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or model.get("dropout"):
        return "Its BPE marks sub-words or drops merges at random, which llama.cpp cannot do."
    if tokenizer.get("normalizer"):
        return f"Its tokenizer normalises text ({tokenizer['normalizer'].get('type')}), which llama.cpp does not."
    return _unsupported_rules(tokenizer) or _unsupported_tokens(tokenizer, vocabulary_size)


def _unsupported_rules(tokenizer: Json) -> str:
    rules = splits(tokenizer.get("pre_tokenizer") or {})
    if rules is None:
        return f"Its pre-tokenizer ({_outline(tokenizer.get('pre_tokenizer'))}) has a step llama.cpp has no name for."
    if (rules, bool(tokenizer["model"].get("ignore_merges"))) not in NAMES:
        return f"Its pre-tokenizer splits by rules that llama.cpp has no name for: {' then '.join(rules)[:120]}"
    return ""


def _unsupported_tokens(tokenizer: Json, vocabulary_size: int) -> str:
    vocab: dict[str, int] = tokenizer["model"]["vocab"]
    missing = [letter for letter in byte_letters() if letter not in vocab]
    if missing:
        return f"Its vocabulary lacks {len(missing)} of the 256 single bytes, without which llama.cpp aborts."
    for token in tokenizer.get("added_tokens") or []:
        for flag in ("lstrip", "rstrip", "single_word"):
            if token.get(flag):
                return f"Its token {token['content']!r} is matched with {flag}, which llama.cpp does not do."
    ids = token_ids(tokenizer)
    if len(set(ids.values())) != len(ids):
        return "Two of its tokens share an id."
    if vocabulary_size and max(ids.values()) >= vocabulary_size:
        return f"Its tokenizer has {max(ids.values()) + 1} tokens, the model only {vocabulary_size}."
    return ""


def token_ids(tokenizer: Json) -> dict[str, int]:
    """Every token and its id; tokens added after training included."""
    added = {token["content"]: int(token["id"]) for token in tokenizer.get("added_tokens") or []}
    return {**tokenizer["model"]["vocab"], **added}


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
    if step.get("type") == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
        pattern = (step.get("pattern") or {}).get("Regex")
        return str(pattern) if pattern else None
    return None


def _outline(pre_tokenizer: Any) -> str:
    if not isinstance(pre_tokenizer, Mapping):
        return "none"
    steps = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    return ", ".join(str(step.get("type")) for step in steps)[:120]


def byte_letters() -> list[str]:
    """The 256 printable letters that stand for bytes in a byte-level vocabulary (GPT-2's bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]


def read(tokenizer: Json, vocabulary_size: int) -> Vocabulary:
    """The vocabulary of a supported tokenizer.json; ids the model has but the tokenizer lacks become unused tokens."""
    rules = splits(tokenizer["pre_tokenizer"])
    pre = NAMES[(rules or (), bool(tokenizer["model"].get("ignore_merges")))]
    tokens = [f"[UNUSED{n}]" for n in range(vocabulary_size)]
    types = [UNUSED] * vocabulary_size
    for text, number in tokenizer["model"]["vocab"].items():
        tokens[number], types[number] = text, NORMAL
    for added in tokenizer.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    begins, ends = added_around(tokenizer.get("post_processor") or {})
    return Vocabulary(pre, tokens, types, merges, begins, ends)


def added_around(post_processor: Json) -> tuple[bool, bool]:
    """Whether the tokenizer puts a special token before, and after, a text."""
    steps = post_processor.get("processors") or [post_processor]
    for step in steps:
        if step.get("type") == "TemplateProcessing":
            single = step.get("single") or []
            return bool(single and "SpecialToken" in single[0]), bool(single and "SpecialToken" in single[-1])
    return False, False
