"""How transformers and llama.cpp read one model: tokens for tokens, and log-probabilities over some random text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Reading:
    """One text, cut by both."""

    what: str
    text: str
    expected: list[int]
    got: list[int]


def readings(model: Path, path: Path) -> list[Reading]:
    """The verification's texts: bare, with begin and end, special tokens read as such or as text, and a chat."""
    from workbench.exports import verify
    from workbench.tokens import ChatTokens
    from workbench.worker import gguf_file

    tokens = ChatTokens(model)
    tokenizer = tokens.tokenizer
    special = [text for text in tokens.special.values() if text]
    mixed = [f"{token}{text}" for token in special for text in verify.TEXTS] + [f"a {t} b{t}\n c" for t in special]
    chat = [{"role": "user", "content": "Où est\n  la 12345e 😀?"}, {"role": "assistant", "content": "Là. 你好"}]
    mixed.append(tokens.render([*chat, *chat]))
    found = []

    def plain(text: str, *, as_text: bool = False) -> list[int]:
        tokenizer.encode_special_tokens = as_text
        try:
            return list(tokenizer.encode(text, add_special_tokens=False).ids)
        finally:
            tokenizer.encode_special_tokens = False

    with gguf_file.opened(path, vocab_only=True) as llama:

        def cut(text: str, bos: bool, special: bool) -> list[int]:
            return list(llama.tokenize(text.encode(), add_bos=bos, special=special))

        for text in [*verify.TEXTS, *mixed]:
            found.append(Reading("text", text, plain(text), cut(text, False, True)))
        for text in verify.TEXTS:
            found.append(Reading("with begin", text, list(tokenizer.encode(text).ids), cut(text, True, True)))
        for text in mixed:
            found.append(Reading("as text", text, plain(text, as_text=True), cut(text, False, False)))
    return found


def told_of(model: Path, reading: Reading) -> str:
    """The sentence that says beforehand why a text becomes other tokens; "" where none does."""
    from workbench.exports.gguf import vocabulary
    from workbench.exports.source import read_json

    apart = vocabulary.departures(read_json(model / "tokenizer.json"))
    return next((departure.sentence for departure in apart if departure.concerns(reading.text)), "")


def random_ids(model: Path, count: int) -> list[int]:
    """Some token ids that the model has rows for."""
    import numpy as np

    from workbench.exports.source import read_json

    size = int(read_json(model / "config.json")["vocab_size"])
    return [int(number) for number in np.random.RandomState(1).randint(5, min(size, 32_000), count)]


def of_transformers(model: Path, ids: list[int]) -> np.ndarray[Any, Any]:
    """ln p of every token after each of the ids but the last, (T - 1, V), in float32."""
    import torch

    from workbench.exports import answers

    with answers.whole(model, "cpu", torch.float32) as loaded:
        return answers.log_probs(loaded, ids[:1], ids[1:])


def of_llama_cpp(path: Path, ids: list[int], context: int = 128) -> np.ndarray[Any, Any]:
    """The same from a GGUF file."""
    from workbench.exports import answers

    with answers.LlamaCpp(path, context) as llama:
        return llama.log_probs(ids[:1], ids[1:])
