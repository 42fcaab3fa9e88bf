"""Projects that are made once and then copied: making one waits for the disk a dozen times, as it should."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from workbench.bench import Bench


class Copies:
    """Gives each test its own copy of a project; the first who asks for a kind has it made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, root: Path, fill: Callable[[Bench], object] | None = None) -> Bench:
        """A project at `root` as `fill` makes it, opened; empty without."""
        made = self._folder / (fill.__name__ if fill else "empty")
        if not made.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WORKBENCH_HOME", str(self._folder / "home"))  # not among this test's recent projects
                with closing(Bench.create(made)) as bench:
                    if fill:
                        fill(bench)
        shutil.copytree(made, root)
        return Bench.open(root)
