"""Follows a growing `events.jsonl`: bytes in, events out, each line once. Never writes, never waits."""

from __future__ import annotations

import os
from pathlib import Path

from workbench import events
from workbench.blocks import StepBlock, decode_all
from workbench.events import MAX_LINE_BYTES, Event

PIECE_BYTES = 1 << 20
"""Read at once: enough lines to pay for the quick path, little enough to keep memory flat."""
FINGERPRINT_BYTES = 256


class Tail:
    """The new events of a file since the last call.

    `restarted` tells whether the last call found the file cut, replaced or gone and began again at its start;
    `missing` whether there is no file now; `behind` whether a limited call left something to read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self.missing = False
        self.behind = False
        self.offset = 0
        """Bytes read so far, a torn last line included."""
        self._torn = b""
        self._overlong = False
        self._file_id: tuple[int, int] | None = None
        self._head = b""

    def read(self) -> list[Event]:
        """The events that were added since the last call."""
        found: list[Event] = []
        for item in self.read_blocks():
            found += item.events() if isinstance(item, StepBlock) else [item]
        return found

    def read_blocks(self, limit_bytes: int | None = None) -> list[Event | StepBlock]:
        """The same with long stretches of steps as columns; at most about `limit_bytes` of the file."""
        self.restarted = self.behind = False
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            self._gone()
            return []
        try:
            return self._read_from(handle, limit_bytes)
        finally:
            os.close(handle)

    def _gone(self) -> None:
        if self._file_id is not None:
            self._begin_again()
            self._file_id = None
        self.missing = True

    def _read_from(self, handle: int, limit_bytes: int | None) -> list[Event | StepBlock]:
        self.missing = False
        stat = os.fstat(handle)
        file_id = (stat.st_dev, stat.st_ino)
        replaced = self._file_id is not None and file_id != self._file_id
        # A rewritten file may have grown past our place already; its first bytes give it away.
        if replaced or stat.st_size < self.offset or os.pread(handle, len(self._head), 0) != self._head:
            self._begin_again()
        self._file_id = file_id
        found: list[Event | StepBlock] = []
        end = stat.st_size if limit_bytes is None else min(stat.st_size, self.offset + limit_bytes)
        while self.offset < end:
            data = os.pread(handle, min(PIECE_BYTES, end - self.offset), self.offset)
            if not data:
                break
            if self.offset < FINGERPRINT_BYTES:
                self._head = os.pread(handle, min(FINGERPRINT_BYTES, self.offset + len(data)), 0)
            self.offset += len(data)
            found += self._lines(data)
        self.behind = self.offset < stat.st_size
        return found

    def _begin_again(self) -> None:
        self.restarted = True
        self.offset = 0
        self._torn = self._head = b""
        self._overlong = False

    def _lines(self, data: bytes) -> list[Event | StepBlock]:
        """The events of the lines that `data` completes; the torn rest is kept for the next call."""
        last = data.rfind(b"\n")
        if last < 0:
            self._keep(data)
            return []
        found: list[Event | StepBlock] = []
        first = data.index(b"\n")
        if self._torn or self._overlong:
            line = self._torn + data[:first]
            # What was dropped of an overlong line stays dropped: its length alone makes it unreadable.
            found.append(events.decode(line.ljust(MAX_LINE_BYTES + 1) if self._overlong else line))
            data, last = data[first + 1 :], last - first - 1
            self._torn, self._overlong = b"", False
        if last >= 0:
            found += decode_all(data[: last + 1])
        self._keep(data[last + 1 :])
        return found

    def _keep(self, torn: bytes) -> None:
        self._torn += torn
        if len(self._torn) > MAX_LINE_BYTES:
            self._torn, self._overlong = self._torn[:FINGERPRINT_BYTES], True
