"""Which models and tokenizers can become a GGUF, and what of a tokenizer is written: all without torch."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import gguf_vocabularies
from workbench import exports
from workbench.exports.gguf import byte_level, layout, metadata, piece_file, sentence_pieces, vocabulary
from workbench.paths import BUNDLED_BASE

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def tokenizer_json(pre_tokenizer: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:
    """A byte-level tokenizer.json of the 256 bytes and one merge."""
    vocab = {letter: n for n, letter in enumerate([*byte_level.byte_letters().values(), "th"])}
    return {
        "model": {"type": "BPE", "vocab": vocab, "merges": [["t", "h"]], **model},
        "pre_tokenizer": pre_tokenizer or {**BYTE_LEVEL, "use_regex": True},
        "added_tokens": [{"id": 257, "content": "<|end|>", "special": True}],
    }


def split_by(regex: str) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, BYTE_LEVEL]}


def test_the_bundled_base_can_be_exported() -> None:
    """The bundled base is said to be exportable before anything is trained on it."""
    config = json.loads((BUNDLED_BASE / "config.json").read_text())
    tokenizer = json.loads((BUNDLED_BASE / "tokenizer.json").read_text())

    assert exports.exportable(config, tokenizer) == ""


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
        ({"vocab_size": 100}, "only 100"),
    ],
)
def test_a_model_that_cannot_become_a_gguf_is_told_why(change: dict[str, Any], word: str) -> None:
    """A config.json that we cannot write yields a sentence that names the reason."""
    assert word in exports.exportable({**CONFIG, **change}, tokenizer_json())


@pytest.mark.parametrize(
    ("tokenizer", "word"),
    [
        ({}, "tokenizer.json"),
        ({**tokenizer_json(), "normalizer": {"type": "NFKC"}}, "NFKC"),
        (tokenizer_json(byte_fallback=True), "treats spaces"),
        (tokenizer_json(split_by("a+")), "a+"),
        (tokenizer_json({"type": "Whitespace"}), "Whitespace"),
        ({**tokenizer_json(), "added_tokens": [{"id": 3, "content": "<x>", "lstrip": True}]}, "lstrip"),
        (tokenizer_json(vocab={"a": 0}), "single bytes"),
        ({"model": {"type": "BPE", "vocab": None}, "pre_tokenizer": {**BYTE_LEVEL, "use_regex": True}}, "damaged"),
    ],
)
def test_a_tokenizer_that_cannot_become_a_gguf_is_told_why(tokenizer: dict[str, Any], word: str) -> None:
    """A tokenizer.json that llama.cpp has no equal for yields a sentence that names the reason."""
    assert word in exports.exportable(CONFIG, tokenizer)


@pytest.mark.parametrize(
    ("tokenizer", "name"),
    [
        (tokenizer_json(), "gpt-2"),
        (tokenizer_json(split_by(byte_level.LLAMA3), ignore_merges=True), "llama-bpe"),
        (tokenizer_json(split_by(byte_level.LLAMA3)), "dbrx"),
        (tokenizer_json(split_by(byte_level.QWEN2)), "qwen2"),
        (
            tokenizer_json(
                {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**BYTE_LEVEL, "use_regex": True}],
                }
            ),
            "smollm",
        ),
    ],
)
def test_a_pre_tokenizer_is_known_by_its_rules(tokenizer: dict[str, Any], name: str) -> None:
    """The rules in tokenizer.json, not a hash, find llama.cpp's name; so a retrained tokenizer is known too."""
    assert vocabulary.read(tokenizer, 300).pre == name


def test_the_vocabulary_is_filled_to_the_model_s_size() -> None:
    """Ids that the model has and the tokenizer lacks become unused tokens, and special ones become control tokens."""
    words = vocabulary.read(tokenizer_json(), 260)

    assert (len(words.tokens), words.tokens[257], words.types[257]) == (260, "<|end|>", vocabulary.CONTROL)
    assert words.types[258:] == [vocabulary.UNUSED] * 2
    assert words.merges == ["t h"]


def test_what_the_tokenizer_puts_around_a_text_is_read_from_its_template() -> None:
    """A post-processor that begins with a special token sets add_bos, and one that ends with it add_eos."""
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}

    assert vocabulary.added_around(template) == (True, False)
    assert vocabulary.added_around({"type": "Sequence", "processors": [{"type": "ByteLevel"}]}) == (False, False)


def test_a_merge_of_unknown_tokens_is_damage() -> None:
    """A tokenizer.json whose merges do not fit its vocabulary is called damaged, with the merge named."""
    broken = copy.deepcopy(tokenizer_json())
    broken["model"]["merges"].append(["q", "zz"])

    assert vocabulary.damage(tokenizer_json()) == ""
    assert "'zz'" in vocabulary.damage(broken)


def test_q_and_k_are_permuted_as_llama_cpp_wants() -> None:
    """Two heads of four rows: rotary halves (0 1 | 2 3) become 0 2 1 3, head by head."""
    rows: Any = np.arange(8)[:, None] * np.ones((1, 3), dtype=int)
    heads = {"hidden_size": 8, "num_attention_heads": 2}

    permuted: Any = layout.interleaved("model.layers.0.self_attn.q_proj.weight", rows, heads)

    assert permuted[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


# -- SentencePiece


@pytest.fixture
def llama(tmp_path: Path) -> dict[str, Any]:
    """A small Llama 2's tokenizer.json, with its tokenizer.model beside it."""
    fields = gguf_vocabularies.small_pieces()
    gguf_vocabularies.write_pieces(tmp_path, fields, len(fields["tokens"]), own=fields["own"])
    found: dict[str, Any] = json.loads((tmp_path / "tokenizer.json").read_text())
    return found


def test_scores_from_tokenizer_json_alone_are_those_of_its_model_file(llama: dict[str, Any], tmp_path: Path) -> None:
    """The ranks of the merges give every merged token the score that SentencePiece's own file has, and its type."""
    pieces = piece_file.read(tmp_path / "tokenizer.model")
    size = len(llama["model"]["vocab"])

    alone, both = vocabulary.read(llama, size), vocabulary.read(llama, size, pieces)

    merged = [llama["model"]["vocab"][a + b] for a, b in llama["model"]["merges"]]
    assert [alone.scores[n] for n in merged] == [both.scores[n] for n in merged]
    assert (alone.tokens, alone.types) == (both.tokens, both.types)
    assert alone.types[:4] == [vocabulary.CONTROL] * 3 + [vocabulary.BYTE]
    assert (both.model, both.pre, both.merges, both.adds_bos, both.adds_space) == ("llama", "default", [], True, True)


def test_a_model_file_of_another_tokenizer_is_left_alone(llama: dict[str, Any], tmp_path: Path) -> None:
    """Where tokenizer.model has other tokens than tokenizer.json, the scores come from the merges."""
    pieces = piece_file.read(tmp_path / "tokenizer.model")
    stale = [*pieces[:-1], vocabulary.Piece("another", -1.0, vocabulary.NORMAL)]
    size = len(llama["model"]["vocab"])

    assert vocabulary.read(llama, size, stale) == vocabulary.read(llama, size)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\x05ab"]
)
def test_a_damaged_model_file_holds_no_pieces(data: bytes, tmp_path: Path) -> None:
    """A tokenizer.model that is none, or is cut, is as good as missing: tokenizer.json says it all."""
    (tmp_path / "tokenizer.model").write_bytes(data)

    assert piece_file.read(tmp_path / "tokenizer.model") == []


def test_pieces_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Texts of one and of many bytes, scores and types come back from SentencePiece's protocol buffer."""
    long = "▁" * 60
    rows = [("<unk>", 0.0, "unknown"), ("▁the", -1.5, "normal"), (long, -2.0, "user"), ("<0x0A>", 0.0, "byte")]
    (tmp_path / "tokenizer.model").write_bytes(gguf_vocabularies.model_bytes(rows))

    pieces = piece_file.read(tmp_path / "tokenizer.model")

    assert [(piece.text, piece.score) for piece in pieces] == [(text, score) for text, score, _ in rows]
    kinds = [vocabulary.UNKNOWN, vocabulary.NORMAL, vocabulary.NORMAL, vocabulary.BYTE]
    assert [piece.type for piece in pieces] == kinds


def _metaspace(scheme: str, **more: Any) -> dict[str, Any]:
    steps = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    return {"normalizer": None, "pre_tokenizer": {**steps, **more}}


@pytest.mark.parametrize(
    ("change", "prefix", "concerned"),
    [
        ({}, "everywhere", []),
        (_metaspace("always"), "unless", [" a"]),
        (_metaspace("first"), "first", ["a"]),
        (_metaspace("never"), "never", []),
        ({"normalizer": gguf_vocabularies.PREPEND[1]}, "never", []),
    ],
    ids=["Llama 2", "always", "first", "never", "Gemma"],
)
def test_what_is_done_about_spaces_is_read_from_the_rules(
    llama: dict[str, Any], change: dict[str, Any], prefix: str, concerned: list[str]
) -> None:
    """A space before everything, before the first word or nowhere; what llama.cpp then cuts otherwise is known."""
    tokenizer = {**llama, **change}
    found = sentence_pieces.spaces(tokenizer)
    texts = ["a", " a", "<s>a", "<s> a", ""]

    assert vocabulary.unsupported(tokenizer) == ""
    assert found is not None
    assert found.prefix == prefix
    assert [text for text in texts if any(d.concerns(text) for d in vocabulary.departures(tokenizer))] == concerned
    assert vocabulary.read(tokenizer, 400).adds_space is (prefix in ("everywhere", "unless"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_metaspace("first", split=True), "treats spaces"),
        ({"normalizer": {"type": "NFKC"}}, "treats spaces"),
        ({"drop": "<0x41>"}, "256 single bytes"),
        ({"merges": lambda rows: rows[:2] + rows[3:]}, "never join"),
        ({"token": "€a"}, "never join '€' and 'a'"),
        ({"merges": lambda rows: [rows[1], *rows[2:], rows[1]]}, "two different ranks"),
    ],
    ids=[
        "words apart",
        "another normalizer",
        "a byte lacks",
        "a merge lacks",
        "a letter that is no token",
        "merges interleaved",
    ],
)
def test_pieces_that_scores_cannot_say_are_refused(llama: dict[str, Any], change: dict[str, Any], word: str) -> None:
    """Where llama.cpp's scores would merge otherwise than the list of merges, a sentence says so."""
    if "drop" in change:
        del llama["model"]["vocab"][change["drop"]]
    elif "token" in change:
        llama["model"]["vocab"][change["token"]] = len(llama["model"]["vocab"])
    elif "merges" in change:
        llama["model"]["merges"] = change["merges"](llama["model"]["merges"])
    else:
        llama |= change

    assert word in vocabulary.unsupported(llama)


# -- added tokens


def added(number: int, text: str, **flags: Any) -> dict[str, Any]:
    return {"id": number, "content": text, "special": False, **flags}


def test_added_tokens_are_control_tokens_by_their_flag_or_their_looks() -> None:
    """A special token and one that looks like one are control tokens; others are the user's, with plain spaces."""
    rows = [added(257, "<|a|>"), added(258, "<b>", special=True), added(259, "▁▁"), added(260, "<unused7>")]
    words = vocabulary.read({**tokenizer_json(), "added_tokens": rows}, 262)

    assert words.tokens[257:] == ["<|a|>", "<b>", "  ", "<unused7>", "[PAD261]"]
    control, user = vocabulary.CONTROL, vocabulary.USER_DEFINED
    assert words.types[257:] == [control, control, user, control, vocabulary.UNUSED]


def test_a_special_token_beyond_the_last_row_is_left_out() -> None:
    """Gemma 3 1B's tokenizer has one more token, for pictures, than its embedding has rows: the model still exports."""
    tokenizer = {**tokenizer_json(), "added_tokens": [added(257, "<image>", special=True)]}

    assert vocabulary.unsupported(tokenizer, 257) == ""
    assert len(vocabulary.read(tokenizer, 257).tokens) == 257
    assert "only 257" in vocabulary.unsupported({**tokenizer, "added_tokens": [added(257, "<word>")]}, 257)


def test_tokens_that_swallow_white_space_need_phi_3_s_and_its_name() -> None:
    """llama.cpp strips after special tokens in models called phi-3 only, and then after all but three."""
    kept = [added(257 + n, text, special=True) for n, text in enumerate(vocabulary.KEEPS_BLANKS)]
    phi = {
        **tokenizer_json(),
        "added_tokens": [*kept, added(260, "</s>", rstrip=True), added(261, "<|u|>", rstrip=True)],
    }
    other = {**tokenizer_json(), "added_tokens": [added(257, "<|u|>", rstrip=True)]}

    assert vocabulary.unsupported(phi, 262) == ""
    assert vocabulary.read(phi, 262).strips
    assert "rstrip" in vocabulary.unsupported(other, 262)
    assert metadata.safe_name("my tune", strips=True) == "phi-3 my tune"
    assert metadata.safe_name("Phi-3.5 tune", strips=True) == "Phi-3.5 tune"
    assert metadata.safe_name("better than phi3", strips=False) == "better than phi_3"


def test_composed_accents_are_told_of_and_not_refused() -> None:
    """Qwen's tokenizers compose accents: the model exports, and which texts come out otherwise is known."""
    tokenizer = {**tokenizer_json(split_by(byte_level.QWEN2)), "normalizer": {"type": "NFC"}}
    (departure,) = vocabulary.departures(tokenizer)

    assert vocabulary.unsupported(tokenizer) == ""
    assert (departure.concerns("cafe\u0301"), departure.concerns("caf\u00e9")) == (True, False)


def test_what_is_kept_of_a_split_may_be_said_either_way() -> None:
    """Isolating what a rule matches, and removing what it does not, are the same for rules that match everything."""
    pre = split_by(byte_level.LLAMA3)
    pre["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}

    assert byte_level.splits(pre) == (byte_level.LLAMA3,)
    assert vocabulary.read(tokenizer_json(pre), 300).pre == "dbrx"


def test_whether_decoding_cleans_parts_granite_from_smollm() -> None:
    """Both part digits and cut as GPT-2 does; llama.cpp's two names differ in what decoding does with spaces."""
    digits = {"type": "Digits", "individual_digits": True}
    tokenizer = tokenizer_json({"type": "Sequence", "pretokenizers": [digits, {**BYTE_LEVEL, "use_regex": True}]})

    assert [vocabulary.read(tokenizer, 300, cleans=cleans).pre for cleans in (False, True)] == ["smollm", "refact"]


def test_bytes_of_no_ordinary_text_may_lack() -> None:
    """StarCoder's vocabulary, and so Granite's, has no token for some bytes that no text holds."""
    letters = byte_level.byte_letters()
    rare = tokenizer_json()
    del rare["model"]["vocab"][letters[0xF5]]
    common = tokenizer_json()
    del common["model"]["vocab"][letters[0x41]]

    assert byte_level.unsupported(rare) == ""
    assert "single bytes" in byte_level.unsupported(common)
