"""The real app in a terminal of its own, which a test can type into, read, close, and kill."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0


class Terminal:
    """A child process on the other side of a pseudo-terminal of 80 by 24; `shown` is all that it has written."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.shown = b""
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24")
            os.execv(sys.executable, [sys.executable, "-c", code, *map(str, arguments)])

    def read(self, seconds: float = 0.05) -> bool:
        """Takes in what has been written; False once the other side has closed."""
        if not select.select([self.file], [], [], seconds)[0]:
            return True
        try:
            part = os.read(self.file, 65_536)
        except OSError:  # how Linux says that the other side has closed
            return False
        self.shown += part
        return bool(part)

    def until(self, wanted: bytes, count: int = 1) -> None:
        """Reads until that has been shown so many times."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.shown.count(wanted) < count:
            assert self.read(), f"the app left before it showed {wanted!r}: {self.shown[-2_000:]!r}"
            assert time.monotonic() < deadline, f"{wanted!r} was never shown: {self.shown[-2_000:]!r}"

    def type(self, keys: str) -> None:
        os.write(self.file, keys.encode())

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Closes the terminal: what runs in it gets SIGHUP."""
        os.close(self.file)
        self.file = -1

    def wait(self) -> int:
        """Reads to the end and gives the exit code, negative for a signal."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            assert time.monotonic() < deadline, f"the app never left: {self.shown[-2_000:]!r}"
            if self.file < 0 or not self.read(0.01):
                time.sleep(0.005)
        status = ended[1]
        while self.file >= 0 and select.select([self.file], [], [], 0)[0] and self.read(0.0):
            pass
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def terminal(code: str, *arguments: object) -> Iterator[Terminal]:
    """The terminal; nothing that ran in it is left behind."""
    made = Terminal(code, *arguments)
    try:
        yield made
    finally:
        if made.pid:
            made.kill(signal.SIGKILL)
            os.waitpid(made.pid, 0)
        if made.file >= 0:
            os.close(made.file)
