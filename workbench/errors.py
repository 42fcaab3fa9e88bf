"""The exception tree: every error carries what happened and what to do next.

    WorkbenchError
    ├── InputError            the person's value or file                        exit 2
    │   ├── FormatError         a data file: names the file and the line
    │   └── SettingError        a preset key or a value outside its bounds
    ├── ProjectError          the project folder or its store                   exit 3
    │   ├── NewerStoreError     made by a newer workbench
    │   └── CorruptStoreError   the database cannot be read
    ├── BaseModelError        a base model is missing or cannot be used         exit 4
    ├── RunError              a run that cannot start, go on, or ended badly    exit 5
    │   ├── CheckpointError     no checkpoint verifies
    │   └── StartingPointError  a first loss or KL is not what it must be
    ├── ExportError           an export could not be written                    exit 6
    │   └── VerificationError   written, but it does not answer like the model trained
    └── ResourceError         the machine is too small for it right now         exit 7
        ├── DiskFullError
        ├── MemoryFullError
        └── OutputError         a result that could not be written to stdout

Raise where the value is used; catch `WorkbenchError` at the two edges only: the screen base
and the worker's main (the command line's `main` is the headless screen).
"""

from __future__ import annotations


class WorkbenchError(Exception):
    """Something a person can act on: `message` says what happened, `hint` what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(WorkbenchError):
    """A value or a file that a person gave cannot be used."""

    exit_code = 2


class FormatError(InputError):
    """A data file holds something that its layout does not allow."""

    def __init__(self, message: str, hint: str = "", *, path: str = "", line: int = 0) -> None:
        where = f"{path}, line {line}: " if path and line else f"{path}: " if path else ""
        super().__init__(where + message, hint)
        self.path = path
        self.line = line


class SettingError(InputError):
    """A preset, form or `--set` names an unknown key or a value outside its bounds."""


class ProjectError(WorkbenchError):
    """The project folder or its store cannot be used."""

    exit_code = 3


class NewerStoreError(ProjectError):
    """The store was made by a newer version of the workbench."""


class CorruptStoreError(ProjectError):
    """The store's file is not a readable database."""


class BaseModelError(WorkbenchError):
    """A base model is missing, half downloaded, or of a kind we cannot use."""

    exit_code = 4


class RunError(WorkbenchError):
    """A run cannot start, cannot go on, or has ended badly."""

    exit_code = 5


class CheckpointError(RunError):
    """No checkpoint of the run verifies against its manifest."""


class StartingPointError(RunError):
    """A run does not start from what it was ordered to: a first loss, ratio or KL is not the known one."""


class ExportError(WorkbenchError):
    """An export could not be written."""

    exit_code = 6


class VerificationError(ExportError):
    """An export was written but does not answer like the model that was trained."""


class ResourceError(WorkbenchError):
    """The machine has too little of something right now."""

    exit_code = 7


class DiskFullError(ResourceError):
    """There is not enough room on the disk."""


class MemoryFullError(ResourceError):
    """The card or the machine ran out of memory."""


class OutputError(ResourceError):
    """A result could not be written to where the command line's output goes, such as a file on a full disk."""
