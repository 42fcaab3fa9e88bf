"""Files of rows, read one row at a time: JSONL, JSON, CSV, TSV, parquet, plain text, and any of them gzipped.

A row that cannot be read carries why, with its line; a file that cannot be read is a FormatError. It knows no layout
and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.containers.files import MAX_FILE_BYTES, RawRow, decompressed, open_regular
from workbench.containers.json_rows import json_rows
from workbench.containers.tables import csv_rows, parquet_rows, text_rows, tsv_rows
from workbench.errors import FormatError

__all__ = ["KINDS", "DataFile", "RawRow", "open_rows"]

_READERS: dict[str, Callable[[Path, bytes], Iterator[RawRow]]] = {
    ".jsonl": partial(json_rows, rows_are_lines=True),
    ".ndjson": partial(json_rows, rows_are_lines=True),
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
    ".txt": text_rows,
}

KINDS = tuple(_READERS)
"""Suffixes that can be read; each may be followed by .gz."""


@dataclass(frozen=True)
class DataFile:
    """A data file, opened: its rows in order (to be read once) and its content's name."""

    path: Path
    sha256: str
    rows: Iterator[RawRow]


def open_rows(path: Path) -> DataFile:
    """The file's rows, blank lines passed over. A FormatError here or while reading where the file is not sound."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    gzipped = suffixes[-1:] == [".gz"]
    suffix = ([""] + (suffixes[:-1] if gzipped else suffixes))[-1]
    with open_regular(path) as file:
        reader = _READERS.get(suffix)
        if reader is None:
            raise FormatError(
                f"{path.name} is of no kind that can be imported.",
                f"Importable are: {', '.join(KINDS)}, each also .gz.",
            )
        data = file.read(MAX_FILE_BYTES + 1)
    named = hashlib.sha256(data).hexdigest()
    if gzipped:
        data = decompressed(path, data)
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise FormatError(f"{path.name} is empty.", "There is nothing to import.")
    return DataFile(path, named, reader(path, data))
