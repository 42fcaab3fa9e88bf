"""One card, one worker: tickets in a folder of the person's home, served in the order they were drawn.

The holder is the lowest ticket whose process lives, so a dead holder frees the card by being dead. The file lock only
covers drawing a number; it is never the lease, because a forked child keeps a lock after its parent was killed.
Tickets of one group hold the card together: the models of one chat, side by side.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import RunError
from workbench.paths import lease_folder
from workbench.runs import process
from workbench.runs.process import Identity

LOOK_SECONDS = 0.2
"""How often a waiting worker looks whether it is its turn: soon enough for a person, nothing for the processor."""


@dataclass(frozen=True)
class Ticket:
    """A place in the queue."""

    number: int
    title: str
    identity: Identity
    path: Path
    group: str = ""

    def is_beside(self, other: Ticket) -> bool:
        """Whether both may hold the card at once."""
        return self.number == other.number or (bool(self.group) and self.group == other.group)


def queue() -> list[Ticket]:
    """The living tickets, holder first; those of dead processes are removed."""
    found = []
    for path in sorted(lease_folder().glob("*.ticket")):
        ticket = _read(path)
        if ticket is not None and process.is_alive(ticket.identity):
            found.append(ticket)
        else:
            path.unlink(missing_ok=True)
    return found


def holder() -> Ticket | None:
    """Who holds the card now."""
    return next(iter(queue()), None)


def waiting_for(ticket: Ticket) -> Ticket | None:
    """The first who waits for the card that this ticket holds, if anybody does."""
    return next((t for t in queue() if t.number > ticket.number and not t.is_beside(ticket)), None)


@contextlib.contextmanager
def hold(
    title: str,
    *,
    group: str = "",
    on_wait: Callable[[str], None] = lambda title: None,
    look: Callable[[], None] = lambda: None,
) -> Iterator[Ticket]:
    """Waits for the card, holds it for the body, gives it back.

    `on_wait` is called with the title of whoever is ahead, whenever that changes; `look` at every look, and may raise
    to give up waiting.
    """
    ticket = _draw(title, group)
    try:
        ahead = ""
        while (first := _ahead_of(ticket)) is not None:
            look()
            if first.title != ahead:
                ahead = first.title
                on_wait(ahead)
            time.sleep(LOOK_SECONDS)
        yield ticket
    finally:
        ticket.path.unlink(missing_ok=True)


def _ahead_of(ticket: Ticket) -> Ticket | None:
    """Who is served before this ticket."""
    return next((t for t in queue() if t.number < ticket.number and not t.is_beside(ticket)), None)


def _draw(title: str, group: str = "") -> Ticket:
    """Takes the next number. The mutex makes it unique; the rename makes the ticket whole."""
    folder = lease_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mutex = os.open(folder / "mutex", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunError(
            f"The folder {folder}, where runs queue for the card, cannot be written ({error.strerror}).",
            "Set WORKBENCH_HOME to a folder that you may write to.",
        ) from None
    try:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        number = _next_number(folder)
        identity = process.identify()
        if identity is None:
            raise RuntimeError("this process cannot see itself in the process table")
        path = folder / f"{number:012d}.ticket"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"title": title, "group": group, **identity.to_row()}), encoding="utf-8")
        partial.chmod(0o600)
        partial.rename(path)
        return Ticket(number, title, identity, path, group)
    finally:
        os.close(mutex)


def _next_number(folder: Path) -> int:
    """One more than the last number drawn, which a file remembers: a freed number must not jump the queue."""
    last = folder / "last"
    numbers = [int(path.stem) for path in folder.glob("*.ticket") if path.stem.isdecimal()]
    with contextlib.suppress(OSError, ValueError):  # the first ticket ever, or a damaged file
        numbers.append(int(last.read_text(encoding="ascii")))
    number = max(numbers, default=0) + 1
    last.write_text(str(number), encoding="ascii")
    return number


def _read(path: Path) -> Ticket | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        identity = process.from_row(row)
        if identity is None:
            return None
        return Ticket(int(path.stem), str(row["title"]), identity, path, str(row.get("group", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
