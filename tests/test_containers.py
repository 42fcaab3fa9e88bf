"""Files of rows: every kind is read row by row, and every fault is named with its line."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from workbench.containers import files, open_rows
from workbench.errors import FormatError

ROW = b'{"prompt": "Hi", "completion": "Hello"}'
PARSED = {"prompt": "Hi", "completion": "Hello"}


def read(folder: Path, content: bytes, name: str = "data.jsonl") -> list:
    """(line, value or why it is bad) of each row of a file with this content."""
    path = folder / name
    path.write_bytes(content)
    return [(row.line, row.bad or row.value) for row in open_rows(path).rows]


SOUND = {
    "lines": ("d.jsonl", ROW + b"\n" + ROW + b"\n", [(1, PARSED), (2, PARSED)]),
    "no last newline": ("d.jsonl", ROW + b"\n" + ROW, [(1, PARSED), (2, PARSED)]),
    "BOM": ("d.jsonl", b"\xef\xbb\xbf" + ROW, [(1, PARSED)]),
    "CRLF": ("d.jsonl", ROW + b"\r\n" + ROW + b"\r\n", [(1, PARSED), (2, PARSED)]),
    "blank lines": ("d.jsonl", b"\n" + ROW + b"\n  \n\n" + ROW + b"\n", [(2, PARSED), (5, PARSED)]),
    "top-level array in jsonl": ("d.jsonl", b"[" + ROW + b",\n" + ROW + b"]", [(1, PARSED), (2, PARSED)]),
    "array on one line": ("d.json", b"[" + ROW + b", " + ROW + b"]", [(1, PARSED), (1, PARSED)]),
    "pretty array": ("d.json", json.dumps([PARSED, PARSED], indent=1).encode(), [(2, PARSED), (6, PARSED)]),
    "lines in json": ("d.json", ROW + b"\n" + ROW + b"\n", [(1, PARSED), (2, PARSED)]),
    "table in an object": ("d.json", b'{"version": 1, "data": [' + ROW + b"]}", [(1, PARSED)]),
    "columns": ("d.json", b'{"prompt": ["Hi"], "completion": ["Hello"]}', [(1, PARSED)]),
    "one object": ("d.json", json.dumps(PARSED, indent=1).encode(), [(1, PARSED)]),
    "bare turn lists": (
        "d.jsonl",
        b'[{"role": "user"}]\n[{"role": "user"}]',
        [(n, [{"role": "user"}]) for n in (1, 2)],
    ),
    "big whole number": (
        "d.jsonl",
        b'{"id": 123456789012345678901234567890}',
        [(1, {"id": "123456789012345678901234567890"})],
    ),
    "csv": ("d.csv", b"prompt,completion\nHi,Hello\n", [(2, PARSED)]),
    "csv with quotes and lines": (
        "d.csv",
        b'a,b\r\n"x\r\ny","1,2"\r\n3,\r\n',
        [(2, {"a": "x\r\ny", "b": "1,2"}), (4, {"a": "3", "b": None})],
    ),
    "csv with semicolons": ("d.csv", b"prompt;completion\nHi;Hello\n", [(2, PARSED)]),
    "csv with turns": ("d.csv", b'messages\n"[{""role"": ""user""}]"\n', [(2, {"messages": [{"role": "user"}]})]),
    "csv that looks like JSON": ("d.csv", b"a\n[1] see below\n", [(2, {"a": "[1] see below"})]),
    "tsv": ("d.tsv", b"prompt\tcompletion\nHi\tHello\n", [(2, PARSED)]),
    "text": ("d.txt", b"One.\n\n\nTwo.", [(1, {"text": "One.\n\nTwo."})]),
    "gzip": ("d.jsonl.gz", gzip.compress(ROW), [(1, PARSED)]),
    "gzip of csv": ("d.CSV.GZ", gzip.compress(b"prompt,completion\nHi,Hello"), [(2, PARSED)]),
}


@pytest.mark.parametrize(("name", "content", "expected"), SOUND.values(), ids=SOUND)
def test_sound_files_are_read_row_by_row(tmp_path: Path, name: str, content: bytes, expected: list) -> None:
    """Every container gives its rows with the lines they begin on."""
    assert read(tmp_path, content, name) == expected


BAD_ROWS = {
    "latin-1": ('{"a": "café"}'.encode("latin-1"), "not UTF-8 (byte 0xe9)"),
    "NUL": (b'{"a": "x\0y"}', "control character (U+0000)"),
    "NaN": (b'{"a": NaN}', "NaN"),
    "endless number": (b'{"a": 1e999}', "too large"),
    "deep": (b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}", "nested too deeply"),
    "rather deep": (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply"),
    "key twice": (b'{"a": 1, "a": 2}', "the key 'a' stands there twice"),
    "10 MB": (b'{"a": "' + b"x" * 10_000_000 + b'"}', "10 MB long"),
    "cut": (b'{"a": "half a li', "the row was cut"),
    "not JSON": (b"{'a': 1}", "not JSON"),
}


@pytest.mark.parametrize(("row", "why"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_line_is_named_and_its_neighbours_are_intact(tmp_path: Path, row: bytes, why: str) -> None:
    """The faulty line says what is wrong; the rows before and after it are read."""
    before, bad, after = read(tmp_path, ROW + b"\n" + row + b"\n" + ROW)

    assert (before, after) == ((1, PARSED), (3, PARSED))
    assert (bad[0], why in bad[1]) == (2, True)


def test_two_bad_lines_at_the_beginning_do_not_make_it_another_kind_of_file(tmp_path: Path) -> None:
    """A .jsonl whose first lines are damaged is still read line by line."""
    assert [line for line, _ in read(tmp_path, b'{"a": \n{"b": \n' + ROW)] == [1, 2, 3]


def test_a_csv_row_with_too_few_cells_is_named(tmp_path: Path) -> None:
    """Its neighbours are read."""
    rows = read(tmp_path, b"a,b\n1,2\n3\n4,5\n", "d.csv")

    assert rows == [(2, {"a": "1", "b": "2"}), (3, "it has 1 columns and the header has 2"), (4, {"a": "4", "b": "5"})]


BAD_FILES = {
    "empty": ("d.jsonl", b"", "is empty"),
    "blank": ("d.jsonl", b"\n \n", "is empty"),
    "BOM only": ("d.jsonl", b"\xef\xbb\xbf\n", "is empty"),
    "UTF-16": ("d.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
    "unknown kind": ("d.docx", b"PK", "of no kind that can be imported"),
    "no suffix": ("data", ROW, "of no kind that can be imported"),
    "array with a damaged row": ("d.json", b"[" + ROW + b",\n{'a': 1}]", "line 2: it is not JSON"),
    "array cut": ("d.json", b"[" + ROW + b",\n" + ROW, "line 2: the file ends inside the list: it was cut"),
    "array in latin-1": ("d.json", '[{"a":\n"é"}]'.encode("latin-1"), "line 2: it is not UTF-8"),
    "object that is damaged": ("d.json", b'{\n"data": [}', "not JSON"),
    "quote never closed": ("d.csv", b'a,b\n1,2\n"3,4\n5,6\n', "line 3: a quote is opened"),
    "column twice": ("d.csv", b"a,a\n1,2\n", "column 'a' is there twice"),
    "not gzip": ("d.jsonl.gz", ROW, "not sound gzip"),
    "gzip cut": ("d.jsonl.gz", gzip.compress(ROW * 100)[:-20], "not sound gzip"),
    "not parquet": ("d.parquet", b"PAR1 but no more", "not sound parquet"),
}


@pytest.mark.parametrize(("name", "content", "why"), BAD_FILES.values(), ids=BAD_FILES)
def test_an_unsound_file_is_a_sentence(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    """Faults that hide where rows begin and end are the whole file's."""
    with pytest.raises(FormatError, match=why):
        read(tmp_path, content, name)


def test_parquet_rows_keep_their_lists_and_lose_their_nans(tmp_path: Path) -> None:
    """Turns stay lists of tables; a missing text, which pandas writes as NaN, is None."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"messages": [[{"role": "user", "content": "Hi"}], None], "score": [float("nan"), 1.0]})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")

    assert [row.value for row in open_rows(tmp_path / "d.parquet").rows] == [
        {"messages": [{"role": "user", "content": "Hi"}], "score": None},
        {"messages": None, "score": 1.0},
    ]


def test_long_texts_become_passages_of_whole_paragraphs(tmp_path: Path) -> None:
    """Ten paragraphs of 400 characters make passages of three, each with the line it begins on."""
    rows = read(tmp_path, b"\n\n".join([b"word " * 80] * 10), "book.txt")

    assert [line for line, _ in rows] == [1, 7, 13, 19]
    assert all(len(row["text"]) <= 1_500 for _, row in rows)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "sparse", "missing", "link to a device"])
def test_only_regular_files_of_a_sensible_size_are_opened(tmp_path: Path, kind: str) -> None:
    """A pipe, /dev/zero, a folder and 50 GB of nothing are refused at once."""
    path = tmp_path / "data.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(50 * 2**30)
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    with pytest.raises(FormatError, match=r"not a file|a folder|too large|cannot be read"):
        open_rows(path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """The hub's cache is made of links."""
    (tmp_path / "blob").write_bytes(ROW)
    (tmp_path / "data.jsonl").symlink_to(tmp_path / "blob")

    assert [row.value for row in open_rows(tmp_path / "data.jsonl").rows] == [PARSED]


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than the limit is not unpacked further."""
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1_000_000)
    with pytest.raises(FormatError, match="too large"):
        read(tmp_path, gzip.compress(bytes(5_000_000)), "bomb.jsonl.gz")
