"""Tokenizer folders as models publish them (tokenizer.json, settings, tokenizer.model), made of what a GGUF says."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

from tests.gguf_reading import File
from workbench.exports.gguf import byte_level

CHAT = (
    "{{ bos_token if add_bos is defined }}{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'] }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPLITS = {
    "gpt-2": [],
    "smollm": [{"type": "Digits", "individual_digits": True}],
    "refact": [{"type": "Digits", "individual_digits": True}],
    "qwen2": [byte_level.QWEN2],
    "llama-bpe": [byte_level.LLAMA3],
    "dbrx": [byte_level.LLAMA3],
}
CLASSES = {"qwen2": "Qwen2Tokenizer", "gpt-2": "GPT2Tokenizer"}
"""What tokenizer_config.json calls them. SmolLM2 and Granite say GPT2Tokenizer as well, for which transformers 5 builds
a GPT-2 tokenizer that does not part digits: the converter would then name the wrong rules."""
GEMMA_SYMBOLS = re.compile(r"\n+|▁{2,}|</?(?!0x)[a-z0-9]+>")
PREPEND = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
BYTE = re.compile(r"<0x..>")
PIECE_TYPES = {"normal": 1, "unknown": 2, "control": 3, "user": 4, "unused": 5, "byte": 6}


def fields_of(path: Path) -> dict[str, Any]:
    """What a GGUF file says of its tokens, without the prefix."""
    prefix = "tokenizer.ggml."
    found = File(path).keys
    return {name.removeprefix(prefix): value for name, (_, value) in found.items() if name.startswith(prefix)}


def write_byte_level(folder: Path, fields: dict[str, Any], pre: str, size: int) -> None:
    """A byte-level tokenizer's files, cut by the rules that llama.cpp calls `pre`."""
    vocab, added, seen = {}, [], set()
    last_normal = max(number for number, kind in enumerate(fields["token_type"]) if kind == 1)
    for number, (text, kind) in enumerate(zip(fields["tokens"], fields["token_type"], strict=True)):
        if number >= size or kind == 5 or text.startswith("[PAD") or text in seen:
            continue
        seen.add(text)
        if kind == 1 or number < last_normal:
            vocab[text] = number
        if kind != 1:
            added.append(_added(number, text, special=kind == 3))
    begins = fields.get("bos_token_id") if pre == "llama-bpe" else None
    splits: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}
        if isinstance(step, str)
        else step
        for step in SPLITS[pre]
    ]
    last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": pre not in LATE_REGEX}
    row = {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, last]},
        "post_processor": _post(added, begins),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre == "llama-bpe",
            "vocab": vocab,
            "merges": [merge.split(" ", 1) for merge in fields["merges"]],
        },
    }
    eos = fields.get("eos_token_id")
    named = {"eos_token": next(token["content"] for token in added if token["id"] == eos)}
    if begins is not None:
        named["bos_token"] = next(token["content"] for token in added if token["id"] == begins)
    settings = {**named, "clean_up_tokenization_spaces": pre in ("refact", "llama-bpe"), "chat_template": CHAT}
    settings["tokenizer_class"] = CLASSES.get(pre, "PreTrainedTokenizerFast")
    _write(folder, row, added, settings)


LATE_REGEX = ("qwen2", "llama-bpe", "dbrx")
"""Those whose own split takes the place of ByteLevel's."""


def write_pieces(folder: Path, fields: dict[str, Any], size: int, *, own: int = 32_000) -> None:
    """A Llama's or a Phi-3's SentencePiece tokenizer, which puts a space before every stretch of text.

    The first `own` tokens are SentencePiece's, the others were added.
    """
    tokens, scores, kinds = fields["tokens"][:size], fields["scores"], fields["token_type"]
    phi = "<|endoftext|>" in tokens
    special = {0, 1, 2} if not phi else {n for n, text in enumerate(tokens) if kinds[n] == 3 or n in (0, 1)} - {2}
    added = []
    for number in sorted(special | {2}):
        strips = phi and tokens[number] not in ("<unk>", "<s>", "<|endoftext|>")
        added.append({**_added(number, tokens[number], special=number in special), "rstrip": strips})
    vocab = {text: n for n, text in enumerate(tokens) if n < own}
    normalizer = {"type": "Sequence", "normalizers": PREPEND}
    row = _pieces_row(vocab, merges_of(vocab, scores), normalizer, added, 1)
    settings = {"bos_token": "<s>", "eos_token": "<|endoftext|>" if phi else "</s>", "unk_token": "<unk>"}
    settings |= {"chat_template": CHAT, "tokenizer_class": "LlamaTokenizer"}
    _write(folder, row, added, {**settings, "add_bos_token": True, "add_eos_token": False})
    names = {1: "normal", 2: "unknown", 3: "control", 6: "byte"}
    first = {0: "unknown", 1: "control", 2: "control"}
    pieces = [(text, float(scores[n]), first.get(n, names.get(kinds[n], "normal"))) for text, n in vocab.items()]
    (folder / "tokenizer.model").write_bytes(model_bytes(pieces))


def write_gemma(folder: Path, fields: dict[str, Any], size: int) -> None:
    """A Gemma's tokenizer, made of the vocabulary that Gemma 4 has in common with it."""
    tokens = list(fields["tokens"][:size])
    begin, end = (105, 106) if size > 1000 else (6, 7)
    tokens[begin], tokens[end] = "<start_of_turn>", "<end_of_turn>"
    vocab = {text: n for n, text in enumerate(tokens)}
    halves = [(merge[: merge.index(" ", 1)], merge[merge.index(" ", 1) + 1 :]) for merge in fields["merges"]]
    merges = [[a, b] for a, b in halves if a in vocab and b in vocab and a + b in vocab]
    named = [*range(6), *(n for n, text in enumerate(tokens[:200]) if text.startswith("<unused")), begin, end]
    symbols = [n for n, text in enumerate(tokens[:300]) if GEMMA_SYMBOLS.fullmatch(text) and n not in named]
    added = [_added(n, tokens[n], special=n in (0, 1, 2, 3, begin, end)) for n in sorted({*named, *symbols})]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    row = _pieces_row(vocab, merges, replace, added, 2)
    row["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"String": " "},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }
    settings = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings |= {"chat_template": CHAT, "tokenizer_class": "GemmaTokenizer"}
    _write(folder, row, added, {**settings, "add_bos_token": True, "add_eos_token": False})
    order: dict[str, int] = {}
    for left, right in merges:
        order.setdefault(left + right, len(order))
    kinds = {0: "control", 1: "control", 2: "control", 3: "unknown", **dict.fromkeys(symbols, "user")}
    pieces = [
        (text, -float(order.get(text, len(order))), kinds.get(n, "byte" if BYTE.fullmatch(text) else "normal"))
        for n, text in enumerate(tokens)
    ]
    (folder / "tokenizer.model").write_bytes(model_bytes(pieces))


def small_byte_level() -> dict[str, Any]:
    """The fields of a byte-level vocabulary of 256 letters, a few merges and two special tokens."""
    letters = list(byte_level.byte_letters().values())
    merges = ["t h", "h e", "th e", "Ġ the", "i n", "Ġ a", "1 2", "l l", "o w"]
    tokens = [*letters, *(merge.replace(" ", "") for merge in merges), "<|begin|>", "<|endoftext|>"]
    kinds = [1] * (len(tokens) - 2) + [3, 3]
    ids = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1}
    return {"tokens": tokens, "token_type": kinds, "merges": merges, **ids}


def small_pieces(*added: str) -> dict[str, Any]:
    """The fields of a SentencePiece vocabulary: three special tokens, 256 bytes, some words and the letters of them."""
    words = ["▁▁", "th", "he", "the", "▁the", "in", "▁a", "ll", "ow", "12"]
    letters = sorted({letter for word in words for letter in word} | set("bcdfgjkmnpqrsuvxyz.,!?ABC34567890"))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), *words, *letters]
    scores = [0.0] * 259 + [-float(n) for n in range(len(words) + len(letters))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(words) + len(letters))
    return {
        "tokens": [*tokens, *added],
        "scores": [*scores, *[-1000.0] * len(added)],
        "token_type": [*kinds, *[3] * len(added)],
        "own": len(tokens),
    }


def small_gemma() -> dict[str, Any]:
    """The fields of a Gemma's vocabulary with a few of its tokens."""
    named = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "[multimodal]", "<turn>", "</turn>", "<unused0>"]
    runs = ["\n\n", "▁▁", "▁▁▁", "<table>"]
    words = ["th", "he", "the", "▁the", "in", "▁a", "ll", "ow", "12"]
    letters = sorted({letter for word in [*words, *runs] for letter in word} | set("bcdfgjkmnpqrsuvxyz.,!?ABC34567890"))
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    merges = ["\n \n", "▁▁ ▁", "▁ ▁▁", "▁ ▁", "t h", "h e", "th e", "t he", "▁ the", "i n", "▁ a", "l l", "o w", "1 2"]
    return {"tokens": [*named, *runs, *bytes_, *words, *letters], "merges": merges}


def merges_of(vocab: dict[str, int], scores: list[float]) -> list[list[str]]:
    """Every way to make a token of two others, best scores first, as transformers turns SentencePiece into merges."""
    found = []
    for token, number in vocab.items():
        ways = [(token[:n], token[n:]) for n in range(1, len(token)) if token[:n] in vocab and token[n:] in vocab]
        ways.sort(key=lambda way: (vocab[way[0]], vocab[way[1]]))
        found += [(scores[number], left, right) for left, right in ways]
    found.sort(key=lambda way: (way[0], len(way[1]), len(way[2])), reverse=True)
    return [[left, right] for _, left, right in found]


def _pieces_row(
    vocab: dict[str, int], merges: list[list[str]], normalizer: dict[str, Any], added: list[Any], bos: int
) -> dict[str, Any]:
    return {
        "normalizer": normalizer,
        "pre_tokenizer": None,
        "post_processor": _post(added, bos, byte_level_too=False),
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def _added(number: int, text: str, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": text, **flags, "special": special}


def _post(added: list[dict[str, Any]], bos: int | None, *, byte_level_too: bool = True) -> dict[str, Any]:
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if bos is None:
        return level
    text = next(token["content"] for token in added if token["id"] == bos)
    begin = {"SpecialToken": {"id": text, "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            begin,
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": text, "type_id": 1}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {text: {"id": text, "ids": [bos], "tokens": [text]}},
    }
    return {"type": "Sequence", "processors": [level, template]} if byte_level_too else template


def _write(folder: Path, row: dict[str, Any], added: list[dict[str, Any]], settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **row}
    (folder / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    decoder = {str(t["id"]): {name: value for name, value in t.items() if name != "id"} for t in added}
    text = json.dumps({"added_tokens_decoder": decoder, **settings}, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def model_bytes(pieces: list[tuple[str, float, str]]) -> bytes:
    """A tokenizer.model of (text, score, type): SentencePiece's protocol buffer, of the kind BPE with byte fallback."""
    out = bytearray()
    for text, score, kind in pieces:
        raw = text.encode()
        piece = b"\x0a" + _varint(len(raw)) + raw + b"\x15" + struct.pack("<f", score)
        piece += b"\x18" + _varint(PIECE_TYPES[kind])
        out += b"\x0a" + _varint(len(piece)) + piece
    trainer = b"\x18\x02" + _varint(35 << 3) + b"\x01"  # model_type = BPE, byte_fallback = true
    out += b"\x12" + _varint(len(trainer)) + trainer
    normalizer = b"\x0a\x08identity"
    return bytes(out + b"\x1a" + _varint(len(normalizer)) + normalizer)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
