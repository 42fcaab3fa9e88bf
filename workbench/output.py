"""What the command line prints, and where: results on stdout, everything else on stderr.

With `--json` stdout carries exactly one JSON document. Text from outside goes through `clean()`; escape sequences are
written only by the progress bar, and only when stderr is a terminal.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from workbench.errors import OutputError, WorkbenchError
from workbench.text import clean, one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_BAR_SECONDS = 15.0
"""How often a bar that is not on a terminal says where it is: seldom enough for a log file."""

WIDEST_CELL = 60
"""Characters a table's cell may take on a terminal; a pipe gets them all."""


class ReaderLeft(Exception):  # noqa: N818  # it is no error: `workbench pairs | head` has seen enough
    """Whoever read the output has closed the pipe. Not an OSError, of which typer would make exit code 1."""


class Bar(Protocol):
    """Progress of one long job."""

    def advance(self, done: int, total: int, detail: str = "") -> None: ...

    def say(self, text: str) -> None: ...


class Output:
    """One command's output. `as_json` is the person's `--json`."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str) -> None:
        """A line of narration, on stderr."""
        _write(sys.stderr, clean(text) + "\n")

    def show(self, text: str, *, end: str = "\n") -> None:
        """A result in words, on stdout; nothing with `--json`."""
        if not self.as_json:
            _write(sys.stdout, clean(text) + end)

    def raw_line(self, text: str) -> None:
        """A line for another program, on stdout as it is (the caller made it ASCII); nothing with `--json`."""
        if not self.as_json:
            _write(sys.stdout, text + "\n")

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under headings in aligned columns; nothing with `--json`."""
        widest = WIDEST_CELL if sys.stdout.isatty() else 10_000
        cells = [[one_line("" if cell is None else str(cell), widest) for cell in row] for row in (headings, *rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
        for row in cells:
            self.show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def document(self, value: Any) -> None:
        """The one JSON document of a `--json` command; nothing without `--json`."""
        if self.as_json:
            _write(sys.stdout, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")

    def error(self, message: str, hint: str = "", kind: str = "Error") -> None:
        """What went wrong and what to do next: words on stderr, with `--json` the document instead."""
        if self.as_json:
            self.document({"error": {"message": message, "hint": hint, "kind": kind}})
            return
        self.say(f"Error: {message}")
        if hint:
            self.say(f"  {hint}")

    def refuse(self, error: WorkbenchError) -> int:
        """Prints the error; the exit code that goes with it."""
        self.error(error.message, error.hint, type(error).__name__)
        return error.exit_code

    @contextlib.contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        """A progress bar on stderr: drawn on a terminal, a line now and then elsewhere."""
        if not sys.stderr.isatty() or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
            yield PlainBar(self, title)
            return
        with _rich_progress() as progress:
            yield DrawnBar(progress, progress.add_task(one_line(title, 60), total=None, detail=""))


class PlainBar:
    """Progress as lines of text."""

    def __init__(self, output: Output, title: str) -> None:
        self._output = output
        self._title = title
        self._said_at = 0.0
        self._said: tuple[int, int] = (-1, -1)
        self._found: int | None = None
        """How much was done when it was first looked at."""
        self._began: tuple[float, int] | None = None
        """When the first progress was seen, and how much it was; what comes before is loading and tells no pace."""

    def advance(self, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        self._found = done if self._found is None else self._found
        if self._began is None and done > self._found:
            self._began = now, done
        last = done == total and total > 0
        if not (done or total) or (done, total) == self._said:
            return
        if now - self._said_at < PLAIN_BAR_SECONDS and not last:
            return
        self._said_at, self._said = now, (done, total)
        of = f"{done} of {total}" if total else str(done)
        since, before = self._began or (now, done)
        told = [f"{self._title}: {of}", detail, self._left(now - since, done - before, total - done)]
        self._output.say(" · ".join(part for part in told if part))

    @staticmethod
    def _left(seconds: float, made: int, missing: int) -> str:
        """The time left at the pace until now; "" while there is none."""
        return f"{seconds_in_words(seconds * missing / made)} left" if made > 0 and missing > 0 else ""

    def say(self, text: str) -> None:
        self._output.say(text)


class DrawnBar:
    """Progress as a bar that Rich draws."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, done: int, total: int, detail: str = "") -> None:
        self._progress.update(self._task, completed=done, total=total or None, detail=one_line(detail, 60))

    def say(self, text: str) -> None:
        from rich.text import Text

        self._progress.console.print(Text(clean(text)))


def _rich_progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=Console(file=sys.stderr, highlight=False),
        refresh_per_second=4,
    )


def plain(value: Any) -> Any:
    """`value` as JSON allows it: paths as text, tuples as lists, a number that is not finite as null."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def seconds_in_words(seconds: float | None) -> str:
    """A duration as a person reads it: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _write(stream: TextIO, text: str) -> None:
    """Writes and flushes, so that lines of both streams keep their order in a shared log.

    Narration that nobody can take is dropped; a result that could not be written is an OutputError.
    """
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _let_go(stream)
        raise ReaderLeft from None
    except OSError as error:
        _let_go(stream)
        if stream is not sys.stderr:
            raise OutputError(
                f"The result could not be written to stdout ({error.strerror}).",
                "The command itself may have done its work: look before you repeat it.",
            ) from None


def _let_go(stream: TextIO) -> None:
    """Sends the rest, and what Python flushes at exit, nowhere: a second failure would hide the first."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def with_streams() -> None:
    """Gives every stream that the shell closed (`>&-`) a place that takes and says nothing.

    Otherwise the store's file could get the number of stdout, and what a library prints would go into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # as long as we run
