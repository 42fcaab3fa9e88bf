"""Caps `worker.log`: whatever is written to stdout and stderr, by C code too, goes through a pipe to a small process.

A process and not a thread: C code that fills the pipe while it holds the interpreter's lock would wait for ever for a
thread that needs the same lock. It keeps the beginning and the end of the log, drops the middle, and never stops
reading, even on a full disk, so the worker never waits for its own log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

CAP_BYTES = 8 << 20
HEAD_BYTES = 1 << 20
TAIL_BYTES = 1 << 20
PIECE_BYTES = 1 << 16


def cap_output(path: Path) -> None:
    """Sends this process's file descriptors 1 and 2 through the cap. Call it before any thread exists."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.close(writing)
            os.setpgid(0, 0)  # ending the worker's group must not cut off its last words
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            drain(reading, path)
        finally:
            os._exit(0)
    os.close(reading)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)


def quiet_loggers() -> None:
    """Only errors of the training libraries are logged. Before their import: bitsandbytes gives advice on its own."""
    for library in ("trl", "peft", "accelerate", "bitsandbytes"):
        logging.getLogger(library).setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries off: the log is for what went wrong."""
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # heard when it is imported, which not every run does
    from transformers.utils import logging as advice

    advice.disable_progress_bar()
    advice.set_verbosity_error()


def say(text: str) -> None:
    """One line into the log. A log that cannot be written is nobody's problem."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def drain(reading: int, path: Path) -> None:
    """Copies a pipe into the file at `path` until it closes, keeping the file under the cap."""
    dropped = 0
    log = _open(path)
    while piece := os.read(reading, PIECE_BYTES):
        try:
            written = os.write(log, piece)
            dropped += len(piece) - written
            if os.fstat(log).st_size > CAP_BYTES:
                dropped += _compact(log, path, dropped)
                os.close(log)
                log = _open(path)
        except OSError:
            dropped += len(piece)  # a full disk: the words are lost, the worker is not


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _compact(log: int, path: Path, dropped: int) -> int:
    """Replaces the log by its beginning and its end; how many bytes that left out."""
    size = os.fstat(log).st_size
    head = os.pread(log, HEAD_BYTES, 0)
    tail = os.pread(log, TAIL_BYTES, size - TAIL_BYTES)
    left_out = size - len(head) - len(tail)
    partial = path.with_name(path.name + ".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        gap = f"\n[… {dropped + left_out} bytes left out …]\n".encode()
        for piece in (head, gap, tail):
            os.write(handle, piece)
        os.rename(partial, path)  # noqa: PTH104  # beside the file descriptors that the rest works with
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        os.ftruncate(log, HEAD_BYTES)  # no room for a second copy: the beginning alone stays
    finally:
        os.close(handle)
    return left_out
