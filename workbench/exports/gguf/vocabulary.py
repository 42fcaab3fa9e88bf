"""A Hugging Face tokenizer.json as a GGUF vocabulary, or a sentence why llama.cpp would cut texts otherwise.

Two kinds are known: byte-level BPE (`byte_level`) and BPE as SentencePiece does it (`sentence_pieces`). What is read is
the tokenizer's rules, never a hash of what it makes of some text, so a retrained tokenizer is as good as a known one.
No torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""llama.cpp's token types."""

LOOKS_SPECIAL = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
SPECIAL_WORDS = ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
"""Added tokens that llama.cpp takes for control tokens though their tokenizers do not say so (its converter's list)."""

KEEPS_BLANKS = ("<unk>", "<s>", "<|endoftext|>")
"""The tokens after which a Phi-3 in llama.cpp does not swallow white space; `</s>` has to be there as well."""


@dataclass(frozen=True)
class Piece:
    """A token of a SentencePiece model."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class Departure:
    """Where llama.cpp cannot do what the tokenizer does."""

    sentence: str
    concerns: Callable[[str], bool]
    """Whether a text becomes other tokens for this reason."""


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of its tokens."""

    model: str
    """llama.cpp's name of the algorithm: gpt2 or llama."""
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    adds_bos: bool
    adds_eos: bool
    adds_space: bool = False
    """Whether a space is put before a text, and after each special token."""
    strips: bool = False
    """Whether special tokens swallow the white space after them: llama.cpp does that for models called phi-3."""


def damage(tokenizer: Json) -> str:
    """What is wrong with a tokenizer.json in itself; "" if nothing. Other kinds than BPE are not looked into."""
    try:
        model = tokenizer["model"]
        if model.get("type") != "BPE":
            return ""
        vocab = model["vocab"]
        if not vocab or not all(isinstance(number, int) and number >= 0 for number in vocab.values()):
            return "its vocabulary is empty or has ids that are no numbers."
        for left, right in pairs(model["merges"]):
            if left not in vocab or right not in vocab or left + right not in vocab:
                return f"it merges {left!r} and {right!r}, which are not all in its vocabulary."
        for token in tokenizer.get("added_tokens") or []:
            if not isinstance(token["content"], str) or not isinstance(token["id"], int):
                return "an added token has no text or no id."
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return f"its tokenizer.json lacks a part ({type(error).__name__}: {error})."
    return ""


def unsupported(tokenizer: Json, vocabulary_size: int = 0) -> str:
    """Why this tokenizer.json cannot be written to a GGUF; "" if it can."""
    from workbench.exports.gguf import byte_level, sentence_pieces

    try:
        model = tokenizer.get("model") or {}
        if not model:
            return "It has no tokenizer.json, which the GGUF vocabulary is made from."
        if model.get("type") != "BPE":
            return f"Its tokenizer is of the kind {model.get('type')}; llama.cpp has BPE for language models."
        if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or model.get("dropout"):
            return "Its BPE marks sub-words or drops merges at random, which llama.cpp cannot do."
        kind = sentence_pieces if model.get("byte_fallback") else byte_level
        return kind.unsupported(tokenizer) or _unsupported_tokens(tokenizer, vocabulary_size)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return f"Its tokenizer.json is damaged ({type(error).__name__}: {error})."


def _unsupported_tokens(tokenizer: Json, vocabulary_size: int) -> str:
    added = tokenizer.get("added_tokens") or []
    for token in added:
        for flag in ("lstrip", "single_word"):
            if token.get(flag):
                return f"Its token {token['content']!r} is matched with {flag}, which llama.cpp does not do."
    stripping = {token["content"] for token in added if token.get("rstrip")}
    others = {token["content"] for token in added} - stripping
    if stripping and not ("</s>" in stripping and others == set(KEEPS_BLANKS)):
        return f"Its token {min(stripping)!r} is matched with rstrip, which llama.cpp does for Phi-3's tokens only."
    ids = token_ids(tokenizer)
    if len(set(ids.values())) != len(ids):
        return "Two of its tokens share an id."
    own = max(tokenizer["model"]["vocab"].values())
    if vocabulary_size and own >= vocabulary_size and not _is_added(tokenizer, own):
        return f"Its tokenizer has {own + 1} tokens, the model only {vocabulary_size}."
    needed = max((token["id"] for token in added if not token.get("special")), default=0)
    if vocabulary_size and needed >= vocabulary_size:
        return f"Its tokenizer has {needed + 1} tokens, the model only {vocabulary_size}."
    return ""


def _is_added(tokenizer: Json, number: int) -> bool:
    return any(token["id"] == number for token in tokenizer.get("added_tokens") or [])


def departures(tokenizer: Json) -> tuple[Departure, ...]:
    """What llama.cpp cannot do as this supported tokenizer does, though most texts come out the same."""
    from workbench.exports.gguf import byte_level, sentence_pieces

    kind = sentence_pieces if tokenizer["model"].get("byte_fallback") else byte_level
    return kind.departures(tokenizer)


def read(tokenizer: Json, vocabulary_size: int, pieces: Sequence[Piece] = (), *, cleans: bool = False) -> Vocabulary:
    """The vocabulary of a supported tokenizer.json; ids the model has but the tokenizer lacks become unused tokens.

    `pieces` are those of a tokenizer.model, if there is one; `cleans`: whether decoding takes out spaces before
    punctuation (`clean_up_tokenization_spaces`), which parts pre-tokenizers that cut alike.
    """
    from workbench.exports.gguf import byte_level, sentence_pieces

    if tokenizer["model"].get("byte_fallback"):
        return sentence_pieces.read(tokenizer, vocabulary_size, pieces)
    return byte_level.read(tokenizer, vocabulary_size, cleans)


def token_ids(tokenizer: Json) -> dict[str, int]:
    """Every token and its id; tokens added after training included."""
    added = {token["content"]: int(token["id"]) for token in tokenizer.get("added_tokens") or []}
    return {**tokenizer["model"]["vocab"], **added}


def pairs(merges: Sequence[Any]) -> list[tuple[str, str]]:
    """The merges as (left, right), whichever way tokenizer.json spells them."""
    halves = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in merges)
    return [(left, right) for left, right in halves]


def overlay(tokenizer: Json, tokens: list[str], types: list[int]) -> list[int]:
    """Puts the added tokens over the others and returns their ids; those beyond the model's last row are left out."""
    placed = []
    for added in tokenizer.get("added_tokens") or []:
        number, text = int(added["id"]), str(added["content"])
        if number >= len(tokens):
            continue
        control = bool(added.get("special")) or looks_special(text)
        types[number] = CONTROL if control else USER_DEFINED
        tokens[number] = text if control else text.replace("▁", " ")  # llama.cpp looks for them in the plain text
        placed.append(number)
    return placed


def looks_special(text: str) -> bool:
    """Whether llama.cpp's converter takes an added token for a control token by its looks."""
    return text in SPECIAL_WORDS or any(text.startswith(a) and text.endswith(b) for a, b in LOOKS_SPECIAL)


def added_around(post_processor: Json) -> tuple[bool, bool]:
    """Whether the tokenizer puts a special token before, and after, a text."""
    steps = post_processor.get("processors") or [post_processor]
    for step in steps:
        if step.get("type") == "TemplateProcessing":
            single = step.get("single") or []
            return bool(single and "SpecialToken" in single[0]), bool(single and "SpecialToken" in single[-1])
    return False, False


def strips(tokenizer: Json) -> bool:
    """Whether special tokens swallow the white space after them."""
    return any(token.get("rstrip") for token in tokenizer.get("added_tokens") or [])
