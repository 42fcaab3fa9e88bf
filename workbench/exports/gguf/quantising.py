"""Quantises a GGUF file through llama.cpp, in a child process: it can be stopped, and its death is not ours."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import ExportError
from workbench.exports.folder import full_disk
from workbench.exports.quants import FILE_TYPES
from workbench.hardware import disk_free
from workbench.paths import PACKAGE_ROOT

__all__ = ["FILE_TYPES", "in_child", "quantise"]

SPARE_BYTES = 4_000_000
"""Less than this left on the disk after a failed quantisation means that the disk was the reason."""

BUFFER_BYTES = 1 << 28
"""What llama.cpp may hold of a tensor at once; its default is the whole."""

LOOK_SECONDS = 0.2
MODULE = "workbench.worker.quantise"


def quantise(source: Path, target: Path, quant: str, importance: Path | None = None) -> int:
    """Makes a quantised GGUF of an exact one with llama.cpp, in this process; llama.cpp's code, 0 where it could."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[quant]
    params.max_buf_size = BUFFER_BYTES
    matrix = _matrix(importance) if importance is not None else None
    if matrix is not None:
        params.imatrix = matrix[0]
    return int(llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params)))


def _matrix(path: Path) -> tuple[Any, list[Any]]:
    """llama.cpp's array of importances, ended by an empty entry, and what it points to, which has to stay."""
    import llama_cpp
    import numpy as np

    with np.load(path) as found:
        rows = [(name.encode(), np.ascontiguousarray(found[name], dtype=np.float32)) for name in found.files]
    array = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))()
    for entry, (name, values) in zip(array, rows, strict=False):
        entry.name, entry.size = name, len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return array, rows


def in_child(
    source: Path,
    target: Path,
    quant: str,
    importance: Path | None = None,
    on_bytes: Callable[[int], None] = lambda size: None,
) -> None:
    """The same in a process of its own; `on_bytes` hears of what was written, and may raise to end it.

    An ExportError where it cannot be made, a DiskFullError where the disk was the reason.
    """
    command = [sys.executable, "-P", "-X", "utf8", "-m", MODULE, str(source), str(target), quant]
    command += [str(importance)] if importance is not None else []
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    with tempfile.TemporaryFile() as words:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=environment, cwd=target.parent
        )
        try:
            _follow(child, target, on_bytes)
        finally:
            child.kill()
            child.wait()
        if child.returncode != 0:
            words.seek(max(0, words.tell() - 4000))
            sys.stderr.write(words.read().decode("utf-8", "replace"))
            raise _failure(child.returncode, target, quant)


def _follow(child: subprocess.Popen[bytes], target: Path, on_bytes: Callable[[int], None]) -> None:
    told, running = 0, True
    while running:
        try:
            child.wait(LOOK_SECONDS)
            running = False
        except subprocess.TimeoutExpired:
            pass
        size = target.stat().st_size if target.exists() else 0
        on_bytes(max(0, size - told))
        told = max(told, size)


def _failure(code: int, target: Path, quant: str) -> Exception:
    if disk_free(target.parent) < SPARE_BYTES:
        return full_disk(target.parent, target.name)
    how = f"was ended by signal {-code}" if code < 0 else "could not make it"
    return ExportError(
        f"llama.cpp {how}: no {quant} of this model.",
        f"The worker's log holds llama.cpp's own words. Ask for {'f16' if quant == 'Q8_0' else 'Q8_0 or f16'}.",
    )
