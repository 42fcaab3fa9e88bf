"""What a model's files say of its tokens beyond tokenizer.json: named ids, every stop token, template, pieces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import ExportError
from workbench.exports.gguf import piece_file
from workbench.exports.gguf.metadata import TokenFacts
from workbench.tokens import ChatTokens

NAMED = ("bos", "eos", "unk", "sep", "pad", "mask")

KNOWN_ENDS = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "<|end_of_text|>",
    "<eos>",
)
"""Texts at which llama.cpp ends an answer whatever a file says (src/llama-vocab.cpp, special_eog_ids)."""


def read(tokens: ChatTokens, tokenizer: Mapping[str, Any], places: Sequence[Path]) -> TokenFacts:
    """The facts of a tokenizer whose files lie in the first of `places`; what lacks is looked for in the others."""
    _check_ids(tokens, tokenizer)
    special = _named(tokens, tokenizer, places)
    special |= _ends(tokens, special.get("eos"))
    files = (place / "tokenizer.model" for place in places)
    return TokenFacts(
        tokenizer=tokenizer,
        special=special,
        template=tokens.template if tokens.has_own_template else "",
        pieces=next((pieces for file in files if (pieces := piece_file.read(file))), ()),
        cleans=bool(tokens.config.get("clean_up_tokenization_spaces")),
        says_no_prefix=tokens.config.get("add_prefix_space") is False,
    )


def _check_ids(tokens: ChatTokens, tokenizer: Mapping[str, Any]) -> None:
    """An ExportError where an added token gets another id than the file says: one without a place in the vocabulary."""
    for token in tokenizer.get("added_tokens") or []:
        number = tokens.tokenizer.token_to_id(token["content"])
        if number != token["id"]:
            raise ExportError(
                f"The token {token['content']!r} has the id {token['id']} in tokenizer.json and is read as {number}.",
                "The tokenizer is damaged: get the base's tokenizer.json again.",
            )


def _named(tokens: ChatTokens, tokenizer: Mapping[str, Any], places: Sequence[Path]) -> dict[str, int]:
    """Ids of the tokens that tokenizer_config.json names, else those that config.json does."""
    added = {token["content"]: int(token["id"]) for token in tokenizer.get("added_tokens") or []}
    configs = [_settings(place / "config.json") for place in places]
    found: dict[str, int] = {}
    for name in NAMED:
        text = tokens.special.get(f"{name}_token", "")
        number = added.get(text, tokens.tokenizer.token_to_id(text) if text else None)
        stated = [config[f"{name}_token_id"] for config in configs if type(config.get(f"{name}_token_id")) is int]
        if number is not None or stated:
            found[name] = number if number is not None else stated[0]
    return found


def _ends(tokens: ChatTokens, eos: int | None) -> dict[str, int]:
    """What ends an answer beside eos: the template's end of turn, and one more that llama.cpp would not know."""
    found: dict[str, int] = {}
    if tokens.end_of_turn is not None and tokens.end_of_turn != eos:
        found["eot"] = tokens.end_of_turn
    others = unknown_ends(tokens, {eos, *found.values()})
    return {**found, **({"eom": others[0]} if others else {})}


def unknown_ends(tokens: ChatTokens, known: set[int | None]) -> list[int]:
    """End tokens of the model that are not among `known` and that llama.cpp does not end at by their text."""
    return [n for n in tokens.end_ids if n not in known and tokens.tokenizer.id_to_token(n) not in KNOWN_ENDS]


def sampling(places: Sequence[Path]) -> dict[str, Any]:
    """The settings for sampling that the model recommends."""
    return next((row for place in places if (row := _settings(place / "generation_config.json"))), {})


def _settings(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}
