"""Opens GGUF files with llama.cpp, in a worker process only: a bad file can end the process.

Two things are done around every opening. Memory is limited from the file's size, so that a header that claims billions
of rows ends in an error. And llama.cpp's AMX buffers are left unused: on virtual machines that report AMX its int8
product dies of a general protection fault (ggml-org/llama.cpp issue 20824; seen here with 0.3.36 and Q8_0).
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import jinja2

from workbench.errors import InputError, RunError

MAGIC = b"GGUF"
SPARE_BYTES = 6 * 2**30
"""Address space beside the file: Python and its libraries reserve 1-2 GB, caches and buffers of long contexts more."""
FILE_FACTOR = 3
"""A file is mapped once and may be repacked into a second copy."""


def limit_memory(path: Path) -> None:
    """Caps this process's address space by what a file of that size can honestly need, and forbids core dumps."""
    import llama_cpp

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if llama_cpp.llama_supports_gpu_offload():
        return  # CUDA reserves address space by the terabyte: any cap would forbid it
    limit = path.stat().st_size * FILE_FACTOR + SPARE_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))


@contextmanager
def opened(path: Path, **settings: Any) -> Iterator[Any]:
    """llama-cpp-python's `Llama` for a file, closed on leaving; an InputError or a RunError where it cannot load it."""
    import llama_cpp

    _check_magic(path)
    with _without_amx():
        try:
            llama = llama_cpp.Llama(str(path), verbose=False, **settings)
        except (ValueError, RuntimeError, OSError, MemoryError, UnicodeDecodeError, jinja2.TemplateError) as error:
            raise RunError(
                f"llama.cpp cannot load {path.name}: {error or type(error).__name__}",
                "The file is damaged, too large for this machine, or newer than this llama.cpp.",
            ) from None
    with closing(llama):
        yield llama


@contextmanager
def opened_to_chat(path: Path, context: int, **settings: Any) -> Iterator[Any]:
    """The same with a context of so many tokens, or of fewer where llama.cpp would read short texts otherwise then."""
    with ExitStack() as stack:
        llama = stack.enter_context(opened(path, n_ctx=context, **settings))
        short = _short_context(llama.metadata)
        if 0 < short < context:
            stack.close()
            llama = stack.enter_context(opened(path, n_ctx=short, **settings))
        yield llama


def _short_context(metadata: dict[str, str]) -> int:
    """Where a file has rotary factors for short and for long texts (LongRoPE: Phi-3.5), the context of the short ones.

    llama.cpp chooses by the context that it is opened with, not by the text. 0 for every other file.
    """
    prefix = f"{metadata.get('general.architecture', '')}.rope.scaling"
    stated = metadata.get(f"{prefix}.original_context_length", "") if f"{prefix}.attn_factor" in metadata else ""
    return int(stated) if stated.isdecimal() else 0


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise RunError(f"{path.name} cannot be read ({error.strerror}).", "Check the path.") from None
    if magic != MAGIC:
        raise InputError(
            f"{path.name} is not a GGUF file, whatever its name.", "It does not begin as one: get or export it again."
        )


@contextmanager
def _without_amx() -> Iterator[None]:
    """llama-cpp-python has no argument for `use_extra_bufts`, so its default is changed while a model is loaded."""
    from llama_cpp import llama_cpp as binding

    if b"AMX_INT8 = 1" not in binding.llama_print_system_info():
        yield
        return
    original = binding.llama_model_default_params

    def plain() -> Any:
        params = original()
        params.use_extra_bufts = False
        return params

    binding.llama_model_default_params = plain
    try:
        yield
    finally:
        binding.llama_model_default_params = original


def control_tokens(llama: Any) -> dict[str, int]:
    """The file's control tokens by their text."""
    import llama_cpp

    vocab = llama_cpp.llama_model_get_vocab(llama.model)
    found: dict[str, int] = {}
    for number in range(llama.n_vocab()):
        if llama_cpp.llama_vocab_is_control(vocab, number):
            found[llama_cpp.llama_vocab_get_text(vocab, number).decode("utf-8", "replace")] = number
    return found


def ends(llama: Any) -> set[int]:
    """Every token at which llama.cpp would end an answer."""
    import llama_cpp

    vocab = llama_cpp.llama_model_get_vocab(llama.model)
    return {number for number in range(llama.n_vocab()) if llama_cpp.llama_vocab_is_eog(vocab, number)}
