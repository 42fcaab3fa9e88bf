"""bitsandbytes, imported without the compiler that it asks for. A worker imports it first: peft would, too.

Its fallback kernels are wrapped in `torch.compile` where they are defined, and that alone loads Inductor: 42 MB and a
second of every worker's start. CPUs and cards have kernels of their own, and where they lack one the plain function
gives the same numbers; `bitsandbytes` itself falls back to it where compiling fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    compiled = torch.compile

    def plain(function: Callable[..., Any], **_: object) -> Callable[..., Any]:
        return function

    torch.compile = plain  # type: ignore[assignment]  # for as long as one import takes
    try:
        yield
    finally:
        torch.compile = compiled


with _uncompiled():
    from bitsandbytes.nn import Linear4bit
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit, PagedAdamW32bit

__all__ = ["AdamW8bit", "Linear4bit", "PagedAdamW8bit", "PagedAdamW32bit"]
