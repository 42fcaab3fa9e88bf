"""Writes `events.jsonl`: one line at once, in order, exactly one ending.

A full disk delays what tells of the work, and ends a run whose work is itself the events.
"""

from __future__ import annotations

import os
import threading

from workbench import events
from workbench.events import TERMINAL, Completed, Event, Failed, Note, Saved, Scored
from workbench.paths import RunPaths
from workbench.runs import claim
from workbench.worker.log import say

LONGEST_WAIT_BYTES = 8 << 20
"""Lines kept in memory while the disk is full: hours of steps."""
LOCK_SECONDS = 1.0
"""An end at once waits no longer than this for the event that is being written."""


class Journal:
    """The event log of this worker's life. Safe to call from any thread."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._lock = threading.RLock()
        self._waiting = b""
        self._lost = 0
        self._trouble = ""
        self.ended = False
        self._handle = self._open()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        handle = os.open(self._paths.events, flags, 0o600)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            self._waiting = b"\n" + self._waiting  # ends the line that a killed worker tore
        return handle

    def append(self, event: Event, *, at_once: bool = False) -> bool:
        """Writes the event and flushes it; also to the disk where losing it would mislead. False: it was not taken.

        A completion or score that cannot be written is an OSError: there is no use in going on.
        """
        if not self._lock.acquire(timeout=LOCK_SECONDS if at_once else -1):
            return False
        try:
            if self.ended:
                say(f"after the run's ending: {event}")
                return False
            self.ended = isinstance(event, TERMINAL)
            error = self._write(events.encode(event), durable=self.ended or isinstance(event, Saved))
            if error is not None and isinstance(event, Completed | Scored):
                raise OSError(error.errno, error.strerror, str(self._paths.events))
            if self.ended and self._waiting:
                self._leave_last_words(event)
            return True
        finally:
            self._lock.release()

    def _write(self, line: bytes, *, durable: bool) -> OSError | None:
        """Writes what waits and the line; the error where the disk refuses."""
        try:
            if os.fstat(self._handle).st_nlink == 0:
                self._start_over()
            if self._lost and not self._waiting:
                line = events.encode(Note(f"{self._lost} events were lost while the disk was full.", "warning")) + line
                self._lost = 0
            self._queue(line)
            # What is written leaves the queue at once, so a half written line is continued, never repeated.
            while self._waiting:
                self._waiting = self._waiting[os.write(self._handle, self._waiting) :]
            if durable:
                os.fsync(self._handle)
        except OSError as error:
            self._complain(error)
            return error
        if self._trouble:
            self._trouble = ""
            claim.add(self._paths, trouble="")
        return None

    def _queue(self, line: bytes) -> None:
        if len(self._waiting) + len(line) > LONGEST_WAIT_BYTES:
            self._lost += 1
            return
        self._waiting += line

    def _start_over(self) -> None:
        """The log was deleted or replaced under us: what comes next goes where readers look."""
        os.close(self._handle)
        self._handle = self._open()
        self._waiting += events.encode(Note("The event log was removed while the run wrote it.", "warning"))

    def _complain(self, error: OSError) -> None:
        """Says once, where it still can, that events are not being written."""
        if not self._trouble:
            self._trouble = f"{error.strerror or error}."
            say(f"events.jsonl cannot be written: {self._trouble}")
            claim.add(self._paths, trouble=self._trouble)

    def _leave_last_words(self, event: Event) -> None:
        """The ending did not fit on the disk: `process.json` has room set aside for it."""
        if isinstance(event, Failed):
            kind, words = event.kind, event.message
        else:
            kind, words = "disk_full", f"It {type(event).__name__.lower()}, but the disk was too full to write so."
        say(words)
        claim.add(self._paths, ending_kind=kind, ending=words)
