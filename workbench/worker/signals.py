"""SIGTERM and SIGINT ask the run to stop between steps; a second one ends it at once, even inside a long C call.

Python runs signal handlers only between two bytecodes of the main thread, which a quantisation in C may not reach for
minutes. So the signal's number is written into a pipe by the interpreter itself, and a thread acts on it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

ASKING = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Listens for the two signals. `at_once` is called, from a thread, at the second one, and should not return."""

    def __init__(self) -> None:
        self.asked = False
        self.at_once: Callable[[], None] = end_group
        self._reading, self._writing = socket.socketpair()

    def install(self) -> None:
        """Takes over the signals. SIGHUP is ignored: a closed terminal is nobody's wish to stop."""
        self._writing.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in ASKING:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # A forked child (a data loader) shares the pipe: its own SIGTERM would look like ours.
        os.register_at_fork(after_in_child=_as_usual)

    def listen(self) -> None:
        """Starts the thread. After the log's process was forked: a fork does not take threads along."""
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def _listen(self) -> None:
        while numbers := self._reading.recv(16):
            for number in numbers:
                if number in ASKING:
                    if self.asked:
                        self.at_once()
                    self.asked = True


def _as_usual() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_group() -> None:
    """Ends this process at once, with the children in its group if it leads one."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
