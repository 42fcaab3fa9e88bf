"""Limits around code that somebody else wrote: a chat template may loop for ever or build a text of gigabytes."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from workbench.errors import InputError

SECONDS = 5.0
SPARE_BYTES = 2**30
_HINT = "Use a model with another chat template; this one is not fit for use."


class _TooSlow(Exception):  # noqa: N818  # never leaves this module
    """The alarm went off."""


@contextmanager
def bounded(what: str, seconds: float = SECONDS, spare_bytes: int = SPARE_BYTES) -> Iterator[None]:
    """Ends what runs inside after `seconds`, or when it asks for `spare_bytes` more memory. Main thread only."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    room = _address_space() + spare_bytes
    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (room if soft < 0 else min(room, soft), hard))
        yield
    except _TooSlow:
        raise InputError(f"{what} did not finish within {seconds:g} seconds.", _HINT) from None
    except MemoryError:
        raise InputError(f"{what} asked for more than {spare_bytes >> 20} MB of memory.", _HINT) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of address space this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
