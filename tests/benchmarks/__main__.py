"""Runs every benchmark in this folder, one after the other, each in a process of its own: `make bench`.

`python -m tests.benchmarks NAME …` runs one, with what follows as its arguments.

Each prints what it measured as a ratio, with the budget it should keep. Nothing here is a test: a noisy machine would
make it fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """0 where every benchmark ran; what it measured is for reading."""
    named, arguments = sys.argv[1:2], sys.argv[2:]
    names = named or sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    codes = []
    for name in names:
        print(f"== {name}", flush=True)
        codes.append(subprocess.call([sys.executable, "-W", "ignore", "-m", f"{__package__}.{name}", *arguments]))
    return max(codes, default=0)


if __name__ == "__main__":
    raise SystemExit(main())
