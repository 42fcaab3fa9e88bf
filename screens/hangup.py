"""Leaving when the terminal has gone: not every terminal says so by SIGHUP, and without one Textual cannot leave.

Its keyboard thread reads the end of a closed terminal for ever, and its writing thread dies of it, after which the app
waits for ever to write. So a thread of ours looks; nothing is lost, since all that a person saw saved is on disk.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

KEYBOARD = 0
"""The file descriptor that keys come from."""

LOOK_SECONDS, GRACE_SECONDS = 1.0, 3.0


def watch(leave: Callable[[], object]) -> None:
    """Calls `leave` from a thread of its own once the terminal has gone, and ends the process if that does not."""
    if os.isatty(KEYBOARD):
        threading.Thread(target=_watch, args=(leave,), name="hangup", daemon=True).start()


def _watch(leave: Callable[[], object]) -> None:
    while os.isatty(KEYBOARD):
        time.sleep(LOOK_SECONDS)
    leave()
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGHUP)
