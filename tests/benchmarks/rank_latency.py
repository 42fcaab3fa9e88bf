"""Rank screen, key to paint: votes in a real terminal (a pty) on a project with 100,000 completions.

    python -m tests.benchmarks.rank_latency [VOTES]

Prints the median and the 95th percentile of the time from writing the key to reading the frame that counts the vote:
the guards' silence is waited out before every key, so what is measured is commit, next prompt, layout and drawing.
Beside it, in the same run, stands a bare Textual app whose keys do nothing but put two other answers of the same length
on the screen: what that takes is the machine's and Textual's share, and no vote can take less.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from workbench.bench import Bench
from workbench.events import Completed
from workbench.records import NewPrompt, Origin, Ranking, Turn

PROMPTS, ANSWERS, JUDGED = 25_000, 4, 20_000
BUDGET_MS = 50.0
FRAME_BYTES = 600
SETTLE_SECONDS = 8.0
"""The app counts new pairs and fits the table of sources when it opens: a thread that is busy for a few seconds."""
SIZES = ((80, 24), (200, 50))
TEXT = "It depends on what you want: a short answer fits a line, a long one needs a paragraph. "

RANK = """
import sys
from pathlib import Path
from workbench.bench import Bench
from screens.app import run_app
sys.exit(run_app(Bench.open(Path(sys.argv[1])), 'rank'))
"""
BARE = f"""
from textual.app import App
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

TEXT = {TEXT!r}

class Bare(App):
    CSS = "VerticalScroll {{ width: 1fr; border: round gray; }}"
    at = 0

    def compose(self):
        yield Static("0/25,000", id="count", markup=False)
        with Horizontal():
            for side in "ab":
                with VerticalScroll():
                    yield Static(id=side, markup=False)

    def on_mount(self):
        self.on_key()

    def on_key(self):
        self.at += 1
        self.query_one("#count", Static).update(f"{{self.at}}/25,000")
        for n, side in enumerate("ab"):
            text = f"Answer {{n}} to {{self.at}}. " + TEXT * (3 + (self.at * 7 + n * 11) % 20)
            self.query_one("#" + side, Static).update(text)

Bare().run()
"""


def fill(root: Path) -> None:
    """A project with 100,000 completions of 50 to 400 words, and 20,000 votes."""
    bench = Bench.create(root)
    ids = bench.store.add_prompts(
        NewPrompt((Turn("user", f"Question {n}: what would you do?"),)) for n in range(PROMPTS)
    )
    rows = (
        Completed(prompt_id=i, n=n, text=f"Answer {n} to {i}. " + TEXT * (3 + (i * 7 + n * 11) % 20), tokens=100)
        for i in ids
        for n in range(ANSWERS)
    )
    bench.store.add_completions("0001", Origin("bundled"), rows)
    firsts = [[c.id for c in bench.store.completions(i)[:2]] for i in ids[:JUDGED]]
    bench.store.add_rankings(
        Ranking(0, i, tuple(two), ((two[0],), (two[1],)), "ranked", seconds=3.0)
        for i, two in zip(ids[:JUDGED], firsts, strict=True)
    )
    bench.store.put("rank mode", "ab")
    bench.close()


def measure(code: str, root: Path, size: tuple[int, int], votes: int) -> list[float]:
    """Milliseconds from key to frame, for every vote, least first."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    app = subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
        start_new_session=True,
    )
    os.close(child)
    try:
        _wait_for(parent, 60.0, text=b"/25,000")
        _drain(parent, SETTLE_SECONDS)
        times = []
        for at in range(votes):
            began = time.perf_counter()
            os.write(parent, b"12"[at % 2 : at % 2 + 1])
            _wait_for(parent, 10.0, length=FRAME_BYTES)
            times.append((time.perf_counter() - began) * 1000)
            _drain(parent, 0.4)
        return sorted(times)
    finally:
        app.kill()
        app.wait()
        os.close(parent)


def _wait_for(terminal: int, seconds: float, text: bytes = b"", length: int = 0) -> None:
    """Reads until a text was drawn, or so many bytes: an answer is a kilobyte, a clock in a row a few dozen bytes."""
    seen = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 65_536)
            if (text and text in seen) or (length and len(seen) >= length):
                return
    raise SystemExit(f"nothing was drawn within {seconds:.0f} s")


def _drain(terminal: int, seconds: float) -> None:
    """Reads and forgets: a full pty would stop the app."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            os.read(terminal, 65_536)


def _votes(root: Path) -> int:
    bench = Bench.open(root)
    try:
        return len(bench.store.rankings())
    finally:
        bench.close()


def main() -> None:
    votes = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_HOME"] = str(Path(folder) / "home")
        fill(Path(folder) / "big")
        for size in SIZES:
            bare = measure(BARE, Path(folder), size, votes)
            before = _votes(Path(folder) / "big")
            ours = measure(RANK, Path(folder) / "big", size, votes)
            assert _votes(Path(folder) / "big") == before + votes, "a key was not a vote"
            print(
                f"rank key to paint, {PROMPTS * ANSWERS:,} completions, {size[0]}x{size[1]}: "
                f"median {statistics.median(ours):.1f} ms, p95 {_p95(ours):.1f} ms "
                f"({_p95(ours) / BUDGET_MS:.2f} of the {BUDGET_MS:.0f} ms budget, {len(ours)} votes); "
                f"a bare Textual app's answers {statistics.median(bare):.1f} ms, p95 {_p95(bare):.1f} ms "
                f"({statistics.median(ours) / statistics.median(bare):.2f} times)"
            )


def _p95(times: list[float]) -> float:
    return times[int(0.95 * (len(times) - 1))]


if __name__ == "__main__":
    main()
