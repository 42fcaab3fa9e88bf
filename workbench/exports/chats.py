"""A chat template rendered both ways: by transformers from the model's folder, by llama.cpp's binding from the GGUF."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.exports.modelfile import CHATS
from workbench.tokens import Turns

TEMPLATE_KEY = "tokenizer.chat_template"


def by_transformers(folder: Path, chats: Sequence[Turns] = CHATS) -> dict[int, str]:
    """The text of each chat, with the answer's opening, by its number; a chat that the template refuses is left out."""
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    found: dict[int, str] = {}
    for number, chat in enumerate(chats):
        try:
            found[number] = tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError):  # no system turns, or turns that have to alternate
            continue
    return found


def by_llama_cpp(llama: Any, chats: Sequence[Turns] = CHATS) -> dict[int, str]:
    """The same from the GGUF's own template and tokens, as a program that reads the file renders it."""
    from jinja2 import TemplateError
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    template = llama.metadata.get(TEMPLATE_KEY)
    if not template:
        return {}
    words = {name: _text(llama, number) for name, number in (("bos", llama.token_bos()), ("eos", llama.token_eos()))}
    formatter = Jinja2ChatFormatter(template=template, eos_token=words["eos"], bos_token=words["bos"])
    found: dict[int, str] = {}
    for number, chat in enumerate(chats):
        try:
            found[number] = formatter(messages=[dict(turn) for turn in chat]).prompt
        except (TemplateError, TypeError, ValueError):
            continue
    return found


def by_name(llama: Any, chats: Sequence[Turns] = CHATS) -> dict[int, str]:
    """The same from llama.cpp's own list of known templates, which programs without Jinja use; empty if not in it."""
    import llama_cpp

    template = str(llama.metadata.get(TEMPLATE_KEY) or "").encode()
    found: dict[int, str] = {}
    for number, chat in enumerate(chats):
        turns = (llama_cpp.llama_chat_message * len(chat))()
        kept = [(turn["role"].encode(), turn["content"].encode()) for turn in chat]
        for place, (role, content) in enumerate(kept):
            turns[place].role, turns[place].content = role, content
        size = 4096 + 4 * sum(len(content) for _, content in kept)
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_chat_apply_template(template, turns, len(chat), True, buffer, size)
        if 0 < length <= size:
            found[number] = buffer.raw[:length].decode("utf-8", "replace")
    return found


def _text(llama: Any, token: int) -> str:
    import llama_cpp

    if token < 0:
        return ""
    vocab = llama_cpp.llama_model_get_vocab(llama.model)
    return str(llama_cpp.llama_vocab_get_text(vocab, token).decode("utf-8", "replace"))
