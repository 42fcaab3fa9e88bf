"""The chart's share of a core: 100,000 points at 4 Hz on 200x50 in a real terminal (a pty), against an empty app.

    python -m tests.benchmarks.chart [SECONDS]

The share is the whole app's processor time, from `/proc`, over the seconds after its start has settled. Every frame is
another one: a thousand new points scroll in at the right. What the machine takes for one waking after a rest is printed
beside it: some virtual machines take a hundred times what others do, and an app that draws at 4 Hz pays it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

POINTS, SIZE, BUDGET = 100_000, (200, 50), 0.05
SETTLE_SECONDS = 3.0

APP = """
import sys
import numpy as np
from textual.app import App
from screens import theme
from screens.widgets.chart import LineChart
from workbench.charts.plot import Line

POINTS, MODE = int(sys.argv[1]), sys.argv[2]

class Bench(App):
    def __init__(self):
        super().__init__()
        self.register_theme(theme.DARK)
        self.theme = theme.DARK.name
        noise = np.random.default_rng(0).normal(size=POINTS * 2)
        self.y = 2 * np.exp(-np.arange(POINTS * 2) / POINTS) + 0.2 * noise
        self.x = np.arange(POINTS * 2, dtype=float)
        self.at = 0

    def get_theme_variable_defaults(self):
        return theme.extra_names(self.current_theme.to_color_system().generate())

    def compose(self):
        if MODE == "chart":
            yield LineChart("loss")

    def on_mount(self):
        if MODE == "chart":
            self.set_interval(0.25, self.more)

    def more(self):
        self.at += 1000
        end = POINTS + self.at
        line = Line("loss", self.x[self.at:end], self.y[self.at:end], smooth=True)
        self.query_one(LineChart).show([line])

Bench().run()
"""


def share(mode: str, seconds: float) -> tuple[float, float]:
    """(share of a core, kilobytes a second written) of the app in that mode."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    app = subprocess.Popen(
        [sys.executable, "-c", APP, str(POINTS), mode],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
        start_new_session=True,
    )
    os.close(child)
    try:
        _read(parent, SETTLE_SECONDS, until_output=True)
        _read(parent, SETTLE_SECONDS)
        before, began = _processor_seconds(app.pid), time.monotonic()
        written = _read(parent, seconds)
        return (_processor_seconds(app.pid) - before) / (time.monotonic() - began), written / seconds / 1000
    finally:
        app.kill()
        app.wait()
        os.close(parent)


def waking(times: int = 40) -> float:
    """Microseconds of processor time that one waking after 100 ms of rest takes, in an otherwise empty loop."""
    before = time.process_time()
    for _ in range(times):
        select.select([], [], [], 0.1)
    return (time.process_time() - before) / times * 1e6


def _read(terminal: int, seconds: float, until_output: bool = False) -> int:
    """Reads for so long (or from the first output on, however late); how many bytes came."""
    total = 0
    deadline = time.monotonic() + (60.0 if until_output else seconds)
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            total += len(os.read(terminal, 1 << 20))
            if until_output:
                return total
    return total


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    empty, _ = share("empty", seconds)
    chart, kilobytes = share("chart", seconds)
    print(
        f"chart, {POINTS:,} points at 4 Hz on {SIZE[0]}x{SIZE[1]}: {chart:.1%} of a core "
        f"({chart / BUDGET:.2f} of the {BUDGET:.0%} budget), an empty app {empty:.1%}, {kilobytes:.0f} KB/s; "
        f"one waking here takes {waking():,.0f} us"
    )


if __name__ == "__main__":
    main()
