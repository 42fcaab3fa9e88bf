"""Rows of tables and texts: CSV and TSV, parquet, and the passages of a .txt file."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.containers.files import MAX_FILE_BYTES, MAX_LINE_BYTES, RawRow, too_large, without_bom
from workbench.containers.json_rows import loads
from workbench.errors import FormatError

PASSAGE_CHARACTERS = 1_500
"""Paragraphs of a .txt are gathered into passages of about this length: some 400 tokens."""
PARQUET_BATCH = 1_000
"""Rows of parquet turned into Python at a time."""


def csv_rows(path: Path, data: bytes) -> Iterator[RawRow]:
    """Rows under a header, separated by commas (semicolons where the header has no comma)."""
    header = data.partition(b"\n")[0]
    delimiter = ";" if b";" in header and b"," not in header else ","
    return _delimited_rows(path, data, delimiter)


def tsv_rows(path: Path, data: bytes) -> Iterator[RawRow]:
    """Rows under a header, separated by tabs."""
    return _delimited_rows(path, data, "\t")


def _delimited_rows(path: Path, data: bytes, delimiter: str) -> Iterator[RawRow]:
    csv.field_size_limit(MAX_LINE_BYTES)
    # bytes that are not UTF-8 become lone surrogates, which the layouts refuse with the row's line
    text = io.StringIO(without_bom(path, data).decode("utf-8", "surrogateescape"), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        header = _header(path, next(reader))
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                yield _cells_row(line, header, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        why = "a quote is opened and never closed" if "unexpected end" in str(error) else f"it is not CSV ({error})"
        raise FormatError(f"{why}.", "Nothing was imported. Mend that row.", path=path.name, line=line) from None


def _header(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FormatError(f"the column {twice!r} is there twice.", "Name each column once.", path=path.name, line=1)
    return names


def _cells_row(line: int, header: list[str], cells: list[str]) -> RawRow:
    if len(cells) != len(header):
        return RawRow(line, bad=f"it has {len(cells)} columns and the header has {len(header)}")
    return RawRow(line, {name: _cell(cell) for name, cell in zip(header, cells, strict=True)})


def _cell(cell: str) -> Any:
    """A cell's text; None where it is empty, turns and tables where it holds them as JSON."""
    if not cell:
        return None
    if cell.startswith(("[{", "{")):
        try:
            return loads(cell)
        except ValueError:
            return cell
    return cell


def parquet_rows(path: Path, data: bytes) -> Iterator[RawRow]:
    """Rows of a parquet file, a thousand at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        groups = range(file.metadata.num_row_groups)
        unpacked = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        if unpacked > MAX_FILE_BYTES:
            raise too_large(path, unpacked)
        number = 0
        for batch in file.iter_batches(batch_size=PARQUET_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield RawRow(number, {name: _parquet_cell(cell) for name, cell in row.items()})
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        why = str(error).partition("\n")[0][:120].rstrip(".")
        raise FormatError(f"{path.name} is not sound parquet ({why}).", "Make or download it again.") from None


def _parquet_cell(cell: Any) -> Any:
    """pandas writes a missing text as NaN."""
    if isinstance(cell, float) and math.isnan(cell):
        return None
    return _cell(cell) if isinstance(cell, str) else cell


def text_rows(path: Path, data: bytes) -> Iterator[RawRow]:
    """Passages: whole paragraphs gathered up to about 1,500 characters."""
    text = without_bom(path, data).decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    passage, begins, line = "", 1, 1
    for piece in re.split(r"(\n(?:[ \t]*\n)+)", text):
        if piece.strip():
            if passage and len(passage) + len(piece) > PASSAGE_CHARACTERS:
                yield RawRow(begins, {"text": passage})
                passage = ""
            begins = begins if passage else line
            passage = f"{passage}\n\n{piece.strip()}" if passage else piece.strip()
        line += piece.count("\n")
    if passage:
        yield RawRow(begins, {"text": passage})
