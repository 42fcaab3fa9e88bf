"""Start of the app against a bare Textual app: imports, and seconds to the first paint in a real terminal (a pty).

    python -m tests.benchmarks.app_start [ROUNDS]

Both are started in turns, each in a fresh process, and the medians are compared. Both find compiled bytecode, as an
installed program does: where this shell forbids writing it, only Textual would. It also checks that torch stays out.
"""

from __future__ import annotations

import os
import pty
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUDGET = 1.5
BARE_IMPORT = "import textual.app, textual.widgets"
OUR_IMPORT = "import screens.app, workbench.bench"
BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("first paint")
Bare().run()
"""
OURS = """
import sys
from pathlib import Path
from workbench.bench import Bench
from screens.app import run_app
run_app(Bench.open(Path(sys.argv[1])))
"""


def import_seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def paint_seconds(code: str, text: bytes, project: str) -> float:
    """From the start of the process until `text` is written to its terminal."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    began = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "-c", code, project],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
        start_new_session=True,
    )
    os.close(child)
    seen = b""
    try:
        while text not in seen:
            if not select.select([parent], [], [], 60.0)[0]:
                raise SystemExit(f"{text!r} was not drawn within 60 s")
            seen = seen[-2_000:] + os.read(parent, 65_536)
        return time.perf_counter() - began
    finally:
        app.kill()
        app.wait()
        os.close(parent)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    check = f"{OUR_IMPORT}; import sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        os.environ["WORKBENCH_HOME"] = str(Path(folder) / "home")
        project = str(Path(folder) / "project")
        create = (
            "import sys; from pathlib import Path; from workbench.bench import Bench; Bench.create(Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", create, project], check=True)
        times: dict[str, list[float]] = {"bare import": [], "our import": [], "bare paint": [], "our paint": []}
        for _ in range(rounds + 1):
            times["bare import"].append(import_seconds(BARE_IMPORT))
            times["our import"].append(import_seconds(OUR_IMPORT))
            times["bare paint"].append(paint_seconds(BARE, b"first paint", project))
            times["our paint"].append(paint_seconds(OURS, b"Doctor", project))
    middle = {name: statistics.median(found[1:]) for name, found in times.items()}  # the first round compiles
    for what in ("import", "paint"):
        ours, bare = middle[f"our {what}"], middle[f"bare {what}"]
        print(
            f"app start, {what}: {ours:.2f} s, a bare Textual app {bare:.2f} s: {ours / bare:.2f} times (of {BUDGET})"
        )


if __name__ == "__main__":
    main()
