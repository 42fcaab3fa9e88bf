"""BPE as SentencePiece does it, with byte fallback: Llama 2's, Mistral's, Phi-3's, Gemma's tokenizers for a GGUF.

SentencePiece merges the neighbours whose union has the best score, tokenizers the pair that comes first in its list.
The two agree where every way to make a token is in the list and its ways stand together there: that is checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.exports.gguf import vocabulary
from workbench.exports.gguf.vocabulary import BYTE, NORMAL, UNKNOWN, UNUSED, Departure, Json, Piece, Vocabulary

SPACE = "▁"
"""SentencePiece's letter for a space."""

ADDED_SCORE, UNUSED_SCORE = -1000.0, -10_000.0
"""llama.cpp's converter's: neither ever wins a merge."""

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Spaces:
    """What a tokenizer does about spaces: `prefix` is where it puts one of its own."""

    prefix: str
    """everywhere (before every stretch of text), unless (the same, but not before a space), first, never."""


def unsupported(tokenizer: Json) -> str:
    """Why llama.cpp would cut texts otherwise; "" if it would not."""
    model = tokenizer["model"]
    if spaces(tokenizer) is None:
        return "Its tokenizer treats spaces in a way that llama.cpp has no equal for."
    if model.get("ignore_merges"):
        return "Its tokenizer takes whole words before merges, which llama.cpp does not do with byte fallback."
    missing = sum(f"<0x{byte:02X}>" not in model["vocab"] for byte in range(256))
    if missing:
        return f"Its vocabulary lacks {missing} of the 256 single bytes, without which llama.cpp aborts."
    return _unscorable(model, {token["content"] for token in tokenizer.get("added_tokens") or []})


def _unscorable(model: Json, added: set[str]) -> str:
    """Why the merges cannot be said by scores; "" if they can."""
    pairs = vocabulary.pairs(model["merges"])
    known, vocab = set(pairs), model["vocab"]
    last, made = "", set()
    for left, right in pairs:
        token = left + right
        # Runs of one letter are merged from the left whatever the order of their halves.
        if token != last and token in made and token.strip(token[0]):
            return f"Its merges make {token!r} at two different ranks, which scores cannot say."
        made.add(token)
        last = token
    # llama.cpp begins with single letters, whether or not they are tokens.
    letters = {token[0] for token in vocab} | {token[-1] for token in vocab}
    parts = vocab.keys() | letters
    for token in vocab.keys() - added:
        for cut in range(1, len(token)):
            # Most ways to cut a token give no token: the first look-up settles them, for 262,144 tokens in two seconds.
            if token[:cut] in parts and token[cut:] in parts and (token[:cut], token[cut:]) not in known:
                return f"Its merges never join {token[:cut]!r} and {token[cut:]!r}, which llama.cpp would."
    return ""


def spaces(tokenizer: Json) -> Spaces | None:
    """What is done about spaces; None where llama.cpp has no equal for it."""
    normalizer, pre = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    steps = (normalizer.get("normalizers") or [normalizer]) if normalizer else []
    if not steps:
        return _metaspace(pre or {})
    if pre and not (pre.get("type") == "Split" and (pre.get("pattern") or {}).get("String") == " "):
        return None  # Gemma's split at spaces is idle: there are none left
    kinds = [step.get("type") for step in steps]
    replace = steps[-1]
    fits = kinds[-1] == "Replace" and (replace.get("pattern") or {}).get("String") == " "
    if not fits or replace.get("content") != SPACE:
        return None
    if kinds == ["Replace"]:
        return Spaces("never")
    return Spaces("everywhere") if kinds == ["Prepend", "Replace"] and steps[0].get("prepend") == SPACE else None


def _metaspace(pre: Json) -> Spaces | None:
    if pre.get("type") != "Metaspace" or pre.get("replacement") != SPACE or pre.get("split", True):
        return None
    scheme = pre.get("prepend_scheme") or ("always" if pre.get("add_prefix_space", True) else "never")
    known = {"always": "unless", "first": "first", "never": "never"}
    return Spaces(known[scheme]) if scheme in known else None


def departures(tokenizer: Json) -> tuple[Departure, ...]:
    """What llama.cpp cannot do as this tokenizer does. In a chat, which begins with a special token, both agree."""
    found = spaces(tokenizer)
    if found is not None and found.prefix == "unless":
        return (
            Departure(
                "llama.cpp puts a space before a text that begins with one already; this tokenizer does not.",
                lambda text: text.startswith((" ", SPACE)),
            ),
        )
    if found is not None and found.prefix == "first":
        named = tuple(token["content"] for token in tokenizer.get("added_tokens") or [])
        return (
            Departure(
                "This tokenizer puts a space before the first word of a bare text. llama.cpp would put one after every "
                "special token too, so it is left out: chats come out the same, a bare text lacks its first space.",
                lambda text: bool(text) and not text.startswith((" ", SPACE, *named)),
            ),
        )
    return ()


def read(tokenizer: Json, vocabulary_size: int, pieces: Sequence[Piece]) -> Vocabulary:
    """The vocabulary of a supported tokenizer.json; scores are those of its tokenizer.model if it has one."""
    model = tokenizer["model"]
    tokens = [f"[PAD{n}]" for n in range(vocabulary_size)]
    types, scores = [UNUSED] * vocabulary_size, [UNUSED_SCORE] * vocabulary_size
    usable = pieces if _agree(pieces, tokenizer) else _pieces_from(model)
    for number, piece in enumerate(usable):
        if piece is not None and number < vocabulary_size:
            tokens[number], types[number], scores[number] = piece.text, piece.type, piece.score
    for number in vocabulary.overlay(tokenizer, tokens, types):
        scores[number] = ADDED_SCORE
    begins, ends = vocabulary.added_around(tokenizer.get("post_processor") or {})
    found = spaces(tokenizer)
    prefixed = found is not None and found.prefix in ("everywhere", "unless")
    stripping = vocabulary.strips(tokenizer)
    return Vocabulary("llama", "default", tokens, types, [], scores, begins, ends, prefixed, stripping)


def _agree(pieces: Sequence[Piece], tokenizer: Json) -> bool:
    """Whether a tokenizer.model is this tokenizer's: all its tokens, at their places."""
    if not pieces:
        return False
    vocab = tokenizer["model"]["vocab"]
    added = {int(token["id"]) for token in tokenizer.get("added_tokens") or []}
    others = set(vocab.values()) - added - set(range(len(pieces)))
    return not others and all(vocab.get(piece.text) == n or n in added for n, piece in enumerate(pieces))


def _pieces_from(model: Json) -> list[Piece | None]:
    """Tokens with scores by the rank of the merges that make them; letters and bytes, which none makes, come last."""
    vocab: Mapping[str, int] = model["vocab"]
    order: dict[str, int] = {}
    for left, right in vocabulary.pairs(model["merges"]):
        order.setdefault(left + right, len(order))
    pieces: list[Piece | None] = [None] * (max(vocab.values()) + 1)
    unmade = len(order)
    for text, number in sorted(vocab.items(), key=lambda item: item[1]):
        if text in order:
            pieces[number] = Piece(text, float(-order[text]), NORMAL)
        elif _BYTE.fullmatch(text):
            pieces[number] = Piece(text, 0.0, BYTE)
        else:
            pieces[number] = Piece(text, float(-unmade), UNKNOWN if text == model.get("unk_token") else NORMAL)
            unmade += 1
    return pieces
