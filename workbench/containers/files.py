"""Opening a data file safely: regular files only, up to a size that memory holds, unpacked where it is gzipped."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from workbench.errors import FormatError

MAX_FILE_BYTES = 512 * 2**20
"""A file is read into memory, at about three times its size; half a gigabyte of text is a hundred million tokens."""
MAX_LINE_BYTES = 5_000_000
"""A longer row is a million tokens: more than any model here reads."""


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it, or why it could not be read."""

    line: int
    """The line it begins on; for parquet and for a table inside a JSON object, the row's number."""
    value: Any = None
    bad: str = ""


def open_regular(path: Path) -> BinaryIO:
    """The file, open for reading; a FormatError for anything but a regular file of a sensible size. Never waits on a
    pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise too_large(path, status.st_size)
    what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
    raise FormatError(f"{path} is {what}.", "Give the path of one data file, such as data.jsonl.")


def too_large(path: Path, size: int) -> FormatError:
    return FormatError(
        f"{path.name} is too large to import at once ({size / 2**20:,.0f} MB; the limit is {MAX_FILE_BYTES >> 20}).",
        "Split it, for example with: split -l 100000",
    )


def decompressed(path: Path, data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise FormatError(
            f"{path.name} is not sound gzip: it is cut or damaged.", "Make or download it again."
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise too_large(path, len(text))
    return text


def without_bom(path: Path, data: bytes) -> bytes:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FormatError(f"{path.name} is UTF-16, not UTF-8.", "Save it as UTF-8: iconv -f UTF-16 -t UTF-8")
    return data.removeprefix(b"\xef\xbb\xbf")
