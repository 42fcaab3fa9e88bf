"""What a GGUF file says of itself and of its tokens: the keys of llama.cpp's converter, and our lineage beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import workbench
from workbench.errors import ExportError
from workbench.exports import template as templates
from workbench.exports.gguf import vocabulary
from workbench.exports.gguf.family import Keys, Value
from workbench.exports.gguf.vocabulary import Piece, Vocabulary

OURS = "finetune_workbench"
"""The prefix of keys that only we write."""

SAMPLING = {
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "temperature": ("temp", float),
    "repetition_penalty": ("penalty_repeat", float),
}
"""generation_config.json's settings, and llama.cpp's names and types of them under general.sampling."""

_PHI3 = re.compile(r"phi-?3", re.IGNORECASE)


@dataclass(frozen=True)
class TokenFacts:
    """What a model's files say of its tokens."""

    tokenizer: Mapping[str, Any]
    """tokenizer.json."""
    special: Mapping[str, int]
    """bos, eos, eot, eom, pad, unk, sep, cls, mask ids, those that there are."""
    template: str = ""
    pieces: Sequence[Piece] = ()
    """Those of tokenizer.model, if there is one."""
    cleans: bool = False
    """Whether decoding takes out spaces before punctuation."""
    says_no_prefix: bool = False
    """Whether tokenizer_config.json says that no space is put before a text."""


@dataclass(frozen=True)
class Description:
    """What a GGUF file says of itself."""

    name: str
    base: str = ""
    licence: str = ""
    lineage: Sequence[str] = ()
    """The runs that made it, the oldest first."""
    method: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """generation_config.json."""


def add_description(writer: Any, description: Description, file_type: int, size_label: str, *, strips: bool) -> None:
    """The general keys. The author is left blank: it is the person's to fill in."""
    writer.add_type("model")
    for name, value in sampling(description.sampling).items():
        _add(writer, f"general.sampling.{name}", value)
    writer.add_name(safe_name(description.name, strips=strips))
    writer.add_size_label(size_label)
    add_base(writer, description)
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)  # GGML's GGML_QNT_VERSION; llama.cpp refuses quantised files of another one
    add_lineage(writer, description)


def add_base(writer: Any, description: Description) -> None:
    """The base and its licence, which are an adapter's too."""
    if description.licence:
        writer.add_license(description.licence)
    if description.base:
        owner, _, name = description.base.rpartition("/")
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, name)
        if owner:
            writer.add_base_model_organization(0, owner)


def add_lineage(writer: Any, description: Description) -> None:
    """What made it."""
    writer.add_string(f"{OURS}.version", workbench.__version__)
    writer.add_string(f"{OURS}.method", description.method)
    writer.add_array(f"{OURS}.lineage", list(description.lineage))


def safe_name(name: str, *, strips: bool) -> str:
    """The name, made to say phi-3 exactly where its tokens behave like Phi-3's.

    llama.cpp looks for "phi-3" or "phi3" in it: there special tokens swallow the white space after them, and a file
    without Phi-3's tokens is not loaded at all.
    """
    if strips:
        return name if _PHI3.search(name) else f"phi-3 {name}"
    return _PHI3.sub("phi_3", name)


def sampling(settings: Mapping[str, Any]) -> Keys:
    """The settings for sampling that a model recommends, by llama.cpp's names."""
    row: Keys = {}
    for name, (theirs, kind) in SAMPLING.items():
        value = settings.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            row[theirs] = kind(value)
    return row


def add_family(writer: Any, architecture: str, keys: Keys) -> None:
    """The family's keys, under its architecture."""
    for key, value in keys.items():
        _add(writer, f"{architecture}.{key}", value)


def _add(writer: Any, key: str, value: Value) -> None:
    if key == "general.sampling.top_k":
        writer.add_int32(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def words_of(tokens: TokenFacts, size: int) -> Vocabulary:
    """The tokens for a model with `size` rows; an ExportError where llama.cpp would cut texts otherwise."""
    reason = vocabulary.unsupported(tokens.tokenizer, size)
    if reason:
        raise ExportError(f"This model cannot become a GGUF. {reason}", "Export it as merged instead.")
    words = vocabulary.read(tokens.tokenizer, size, tokens.pieces, cleans=tokens.cleans)
    if len(set(words.tokens)) != len(words.tokens):
        twice = next(text for text in words.tokens if words.tokens.count(text) > 1)
        raise ExportError(
            f"This model cannot become a GGUF. Two of its tokens would both be {twice!r}.",
            "Export it as merged instead.",
        )
    return words


def add_vocabulary(writer: Any, tokens: TokenFacts, words: Vocabulary) -> None:
    """The keys of the tokenizer."""
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    if words.scores:
        writer.add_token_scores(words.scores)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    add = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "eot": writer.add_eot_token_id,
        "eom": writer.add_eom_token_id,
        "pad": writer.add_pad_token_id,
        "unk": writer.add_unk_token_id,
        "sep": writer.add_sep_token_id,
        "mask": writer.add_mask_token_id,
    }
    for name, number in tokens.special.items():
        if name in add and number < len(words.tokens):
            add[name](number)
    writer.add_add_bos_token(words.adds_bos)
    writer.add_add_eos_token(words.adds_eos)
    if words.adds_bos:
        writer.add_add_sep_token(False)
    if not words.adds_space and (
        words.model == "llama" or tokens.says_no_prefix
    ):  # llama.cpp's own default is the rest
        writer.add_add_space_prefix(False)
    if tokens.template:
        writer.add_chat_template(templates.for_inference(tokens.template))
