"""Results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from workbench.errors import FormatError, RunError
from workbench.output import Output, plain, seconds_in_words


def test_words_and_results_go_to_different_streams(capsys):
    """Narration never mixes with what a pipe reads."""
    output = Output()
    output.say("working")
    output.show("42")

    assert tuple(capsys.readouterr()) == ("42\n", "working\n")


def test_json_is_the_only_thing_on_stdout(capsys):
    """With --json results in words are silent and the document stands alone."""
    output = Output(as_json=True)
    output.show("42")
    output.raw_line("{}")
    output.table(("a",), [("1",)])
    output.document({"answer": 42})

    assert json.loads(capsys.readouterr().out) == {"answer": 42}


def test_without_json_there_is_no_document(capsys):
    """A person reading words is not shown JSON."""
    Output().document({"answer": 42})

    assert capsys.readouterr().out == ""


def test_a_documents_values_are_json(capsys):
    """Paths become text, and a number that is not finite null, which every JSON reader takes."""
    Output(as_json=True).document({"path": Path("a") / "b", "loss": math.nan, "sizes": (1, 2)})

    assert json.loads(capsys.readouterr().out) == {"path": "a/b", "loss": None, "sizes": [1, 2]}


def test_hostile_text_reaches_no_stream_raw(capsys):
    """Escape sequences of a model or a file come out as symbols, in words and in JSON."""
    hostile = "\x1b]0;title\x07\x9b2J"
    for as_json in (False, True):
        output = Output(as_json)
        output.say(hostile)
        output.show(hostile)
        output.table(("name",), [(hostile,)])
        output.document({"text": hostile})
    streams = capsys.readouterr()

    assert not set("\x1b\x07\x9b") & set(streams.out + streams.err)


def test_an_error_is_a_sentence_a_hint_and_a_code(capsys):
    """A refused command says what happened and what to do next on stderr."""
    code = Output().refuse(RunError("Run 0003 has no model.", "Watch it."))
    streams = capsys.readouterr()

    assert (code, streams.out, streams.err) == (5, "", "Error: Run 0003 has no model.\n  Watch it.\n")


def test_an_error_with_json_is_a_document(capsys):
    """A program reads the error where it would read the result."""
    Output(as_json=True).refuse(FormatError("no prompt", "Add one.", path="a.jsonl", line=7))

    assert json.loads(capsys.readouterr().out) == {
        "error": {"message": "a.jsonl, line 7: no prompt", "hint": "Add one.", "kind": "FormatError"}
    }


def test_a_table_is_aligned(capsys):
    """Columns are as wide as their widest cell, and rows end without spaces."""
    Output().table(("run", "state"), [("0001", "finished"), ("0002", None)])

    assert capsys.readouterr().out == "run   state\n0001  finished\n0002\n"


def test_progress_in_a_pipe_is_lines_without_escapes(capsys):
    """Where nobody watches a terminal, progress is a line now and then and one at the end."""
    with Output().bar("0001 sft") as bar:
        for step in range(1, 101):
            bar.advance(step, 100, "loss 1.5")
        bar.say("saved")
    lines = capsys.readouterr().err.splitlines()

    assert lines == ["0001 sft: 1 of 100 · loss 1.5", "0001 sft: 100 of 100 · loss 1.5", "saved"]


def test_progress_in_a_pipe_tells_the_time_left(capsys, monkeypatch):
    """20 seconds for 10 steps, so 160 for the other 80; the minutes of loading before the first step are no pace."""
    now = [100.0]
    monkeypatch.setattr("workbench.output.time.monotonic", lambda: now[0])
    with Output().bar("0002 export merged") as bar:
        for now[0], done in ((100.0, 0), (400.0, 10), (420.0, 20)):
            bar.advance(done, 100, "9 MB/s" if done else "")
    lines = capsys.readouterr().err.splitlines()

    assert lines[:2] == ["0002 export merged: 0 of 100", "0002 export merged: 10 of 100 · 9 MB/s"]
    assert lines[2] == "0002 export merged: 20 of 100 · 9 MB/s · 2 min 40 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "unknown"), (41.6, "42 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (-3, "0 s")]
)
def test_durations_in_words(seconds, words):
    """A duration has at most two units, and is never negative."""
    assert words == seconds_in_words(seconds)


def test_plain_leaves_flags_and_numbers():
    """True stays true: JSON's kinds are kept."""
    assert plain({"ok": True, "n": 3, "none": None}) == {"ok": True, "n": 3, "none": None}
