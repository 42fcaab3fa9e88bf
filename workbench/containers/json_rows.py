"""JSON rows: one a line, one array, or a table inside one object; told apart by their looks.

Stricter than `json.loads`: no key twice, no NaN, no endless nesting, and whole numbers past 2^63 stay text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.containers.files import MAX_LINE_BYTES, RawRow, without_bom
from workbench.errors import FormatError

MAX_DEPTH = 64
"""Rows nest four or five deep."""


def json_rows(path: Path, data: bytes, *, rows_are_lines: bool = False) -> Iterator[RawRow]:
    """JSON by its looks: one array or object, or a row a line. `rows_are_lines` is what the file's name promises."""
    data = without_bom(path, data)
    if _is_one_document(data, rows_are_lines):
        return _document_rows(path, _decoded(path, data))
    return _line_rows(data)


def _is_one_document(data: bytes, rows_are_lines: bool) -> bool:
    """Whether the file is a single JSON value over several lines, or a single line that holds a table."""
    lines = (line for line in data.split(b"\n", 64) if line.strip())
    first = next(lines).strip()
    if first in (b"[", b"{"):
        return True
    if not first.startswith(b"[" if rows_are_lines else (b"[", b"{")):
        return False
    try:
        value = loads(first.decode("utf-8", "replace"))
    except ValueError:
        return True
    return next(lines, None) is None and _is_table(value)


def _is_table(value: Any) -> bool:
    if isinstance(value, dict):
        return _table_in(value) is not None
    return isinstance(value, list) and all(
        isinstance(row, dict) and "role" not in row and "from" not in row for row in value
    )


def _lines(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        yield data[start:end]
        start = end + 1


def _line_rows(data: bytes) -> Iterator[RawRow]:
    for number, line in enumerate(_lines(data), 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            yield RawRow(
                number, bad=f"it is {len(line) / 1e6:.0f} MB long, and no row is longer than {MAX_LINE_BYTES / 1e6:.0f}"
            )
            continue
        try:
            yield RawRow(number, loads(line.decode()))
        except UnicodeDecodeError as error:
            yield RawRow(number, bad=f"it is not UTF-8 (byte 0x{line[error.start]:02x}): save the file as UTF-8")
        except ValueError as error:
            yield RawRow(number, bad=str(error))


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(
            f"it is not UTF-8 (byte 0x{data[error.start]:02x}).", "Save the file as UTF-8.", path=path.name, line=line
        ) from None


def _document_rows(path: Path, text: str) -> Iterator[RawRow]:
    """The rows of one array with the lines they begin on, or of a table inside one object."""
    start = len(text) - len(text.lstrip())
    if text[start] == "[":
        yield from _array_rows(path, text, start + 1)
        return
    try:
        document = loads(text)
    except ValueError as error:
        raise FormatError(f"{path.name} is not JSON: {error}.", "Mend it, or give one row a line (.jsonl).") from None
    rows = _table_in(document)
    if rows is None:
        rows = [document]
    for number, row in enumerate(rows, 1):
        yield RawRow(number, row)


def _array_rows(path: Path, text: str, place: int) -> Iterator[RawRow]:
    """Reads element by element: a damaged one hides where the next begins, so it is the whole file's error."""
    line, counted = 1, 0
    while True:
        place = _skip(text, place, " \t\r\n,")
        line += text.count("\n", counted, place)
        counted = place
        if text[place : place + 1] == "]":
            return
        try:
            value, place = _DECODER.raw_decode(text, place)
            _check_depth(value)
        except RecursionError:
            raise FormatError("it is nested too deeply.", path=path.name, line=line) from None
        except ValueError as error:
            why = "the file ends inside the list: it was cut" if place >= len(text) else _reason(error)
            raise FormatError(f"{why}.", "Nothing was imported. Mend that row.", path=path.name, line=line) from None
        yield RawRow(line, value)


def _skip(text: str, place: int, characters: str) -> int:
    while place < len(text) and text[place] in characters:
        place += 1
    return place


def _table_in(document: Any) -> list[Any] | None:
    """The rows in `{"data": [...]}` or in columns `{"prompt": [...], "answer": [...]}`."""
    if not isinstance(document, dict):
        return None
    for key in ("data", "rows", "train", "examples", "instances"):
        rows = document.get(key)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            return rows
    columns = list(document.values())
    lengths = {len(column) for column in columns if isinstance(column, list)}
    plain = all(isinstance(column, list) and not any(isinstance(cell, dict) for cell in column) for column in columns)
    if len(columns) > 1 and plain and len(lengths) == 1:
        return [dict(zip(document, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return None


def loads(text: str) -> Any:
    """One JSON value, strictly: no key twice, no NaN, no endless nesting; whole numbers past 2^63 stay text."""
    try:
        value = _DECODER.decode(text)
        _check_depth(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(_reason(error)) from None
    return value


def _reason(error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
        return "it ends in the middle: the row was cut"
    if error.msg.startswith("Invalid control character"):
        return f"it holds a bare control character (U+{ord(error.doc[error.pos]):04X}) at column {error.colno}"
    return f"it is not JSON ({error.msg} at column {error.colno})"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands there twice")
    return row


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is not a number")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= 18 else digits


def _finite_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, dict | list)]
    return [inner for inner in value if isinstance(inner, dict | list)] if isinstance(value, list) else []


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite_number
)
