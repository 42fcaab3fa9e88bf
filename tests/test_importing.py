"""Importing: the layout is guessed and shown, bad rows are named, and nothing is half imported."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.test_containers import BAD_ROWS
from workbench import formats, importing, paths, thumbs
from workbench.errors import FormatError, InputError
from workbench.examples import all_pairs, dpo_rows, row_digest
from workbench.records import Counts
from workbench.store import Store

GOOD = {"prompt": "Hi", "completion": "Hello"}


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "workbench.db")
    yield opened
    opened.close()


def written(folder: Path, *rows: object, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def different(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(count)]


# -- detection


DETECTED = {
    "preference before messages": ({"prompt": "a", "chosen": "b", "rejected": "c", "messages": []}, "preference", None),
    "messages before alpaca": (
        {
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "instruction": "a",
            "output": "b",
        },
        "messages",
        "alpaca",
    ),
    "prompt and completion": ({"prompt": "a", "completion": "b"}, "prompt_completion", "question_answer"),
    "prompt with a known answer": ({"prompt": "a", "answer": "b", "kind": "c"}, "prompts", "question_answer"),
    "question and answer": ({"question": "a", "answer": "b"}, "question_answer", None),
    "alpaca": ({"instruction": "a", "input": "", "output": "b"}, "alpaca", "question_answer"),
    "text": ({"text": "a b c d"}, "text", None),
    "bare turn list": ([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "sharegpt", None),
}


@pytest.mark.parametrize(("row", "layout", "runner_up"), DETECTED.values(), ids=DETECTED)
def test_the_guess_follows_the_precedence_and_names_the_runner_up(
    row: object, layout: str, runner_up: str | None
) -> None:
    """Where a row fits several layouts the more telling one wins, and the next is offered."""
    guess = importing.detect([row] * 3)

    assert (guess.layout.name, guess.runner_up.name if guess.runner_up else None) == (layout, runner_up)
    assert guess.why.startswith("all 3 sampled rows have ")


def test_a_layout_whose_rows_cannot_be_read_gives_way() -> None:
    """Rows with the right keys and unusable values lose to a later layout whose values are sound."""
    guess = importing.detect([{"conversations": [{"from": "x", "value": "y"}], "question": "a", "answer": "b"}] * 4)

    assert guess.layout.name == "question_answer"


def test_a_few_odd_rows_do_not_change_the_guess() -> None:
    """Nine of ten rows decide, and the sentence says so."""
    guess = importing.detect([GOOD] * 9 + [{"other": 1}])

    assert (guess.layout.name, guess.why[:7]) == ("prompt_completion", "9 of 10")


def test_unknown_rows_are_refused_with_their_keys_and_the_known_layouts() -> None:
    """The sentence names what the rows have and what `--as` takes."""
    with pytest.raises(FormatError, match=r"'colour', 'size'.*Known layouts \(--as\): preference"):
        importing.detect([{"colour": "red", "size": 3}] * 5)


# -- importing


def test_good_rows_are_stored_and_bad_ones_named(store: Store, tmp_path: Path) -> None:
    """Two bad rows of five: three demonstrations, and the report has the lines and reasons, also after reopening."""
    rows = different(3)
    report = importing.import_file(store, written(tmp_path, rows[0], {"prompt": "x"}, rows[1], "{cut", rows[2]))

    assert (report.rows_ok, report.added) == (3, {"prompts": 3, "demonstrations": 3})
    assert [line for line, _ in report.rejected] == [2, 4]
    assert "'completion' is missing" in report.rejected[0][1]
    assert store.imports()[0].rejected == report.rejected


def test_mostly_bad_files_import_nothing(store: Store, tmp_path: Path) -> None:
    """Three bad rows of five: a FormatError that names the file, the first bad line and how many."""
    bad = {"prompt": "x", "completion": ""}
    with pytest.raises(FormatError, match=r"data.jsonl, line 2: 'completion' is empty \(line 3.*3 of 5 rows") as caught:
        importing.import_file(store, written(tmp_path, GOOD, bad, bad, bad, GOOD))

    assert (caught.value.line, store.counts(), store.imports()) == (2, Counts(), [])


def test_every_kind_of_bad_line_is_named_beside_its_good_neighbours(store: Store, tmp_path: Path) -> None:
    """Latin-1, NUL, NaN, surrogates, endless nesting, a 10 MB line and the rest, each between two good rows."""
    bad = [row for row, _ in BAD_ROWS.values()]
    bad += [rb'{"prompt": "\ud800", "completion": "x"}', b"null", b"17", b'"text"']
    lines = [line for n, row in enumerate(bad) for line in (json.dumps(different(20)[n]).encode(), row)]
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    report = importing.import_file(store, path)

    assert [line for line, _ in report.rejected] == list(range(2, 2 * len(bad) + 1, 2))
    assert (report.rows_ok, store.counts().demonstrations) == (len(bad), len(bad))


def test_a_csv_in_latin_1_names_the_lines_that_need_saving_anew(store: Store, tmp_path: Path) -> None:
    """One accented row of three is left out with its byte."""
    path = tmp_path / "data.csv"
    path.write_bytes("prompt,completion\ncafé,x\na,b\nc,d\n".encode("latin-1"))
    report = importing.import_file(store, path)

    assert report.rejected == ((2, "'prompt' is not UTF-8 (byte 0xe9): save the file as UTF-8"),)


def test_a_row_bad_past_the_sample_is_still_named(store: Store, tmp_path: Path) -> None:
    """The whole file is read, not just the rows that the guess was made from."""
    report = importing.import_file(store, written(tmp_path, *different(300), {"prompt": "x"}))

    assert (report.rows_ok, [line for line, _ in report.rejected]) == (300, [301])


def test_a_fault_in_the_container_imports_nothing(store: Store, tmp_path: Path) -> None:
    """A CSV whose 300th row opens a quote for ever is refused whole."""
    path = tmp_path / "data.csv"
    path.write_text("prompt,completion\n" + "Hi,Hello\n" * 300 + '"never closed,x\n')
    with pytest.raises(FormatError, match="line 302"):
        importing.import_file(store, path)

    assert store.counts() == Counts()


def test_the_same_file_twice_is_a_sentence(store: Store, tmp_path: Path) -> None:
    """Also under another name: content names a file."""
    path = written(tmp_path, *different(3))
    importing.import_file(store, path)
    with pytest.raises(InputError, match="imported already"):
        importing.import_file(store, path.rename(tmp_path / "renamed.jsonl"))

    assert store.counts().demonstrations == 3


def test_a_layout_can_be_forced(store: Store, tmp_path: Path) -> None:
    """Rows of prompt and answer are prompts by the guess, and demonstrations where the person says so."""
    path = written(tmp_path, {"prompt": "1+1?", "answer": "2"})
    guessed = importing.preview(path)
    report = importing.import_file(store, path, layout="question_answer")

    assert (guessed.layout and guessed.layout.name, guessed.runner_up and guessed.runner_up.name) == (
        "prompts",
        "question_answer",
    )
    assert report.added == {"prompts": 1, "demonstrations": 1}


def test_an_unknown_layout_reads_no_file(store: Store, tmp_path: Path) -> None:
    """A wrong `--as` is said before the file is opened."""
    with pytest.raises(InputError, match="no layout called"):
        importing.import_file(store, tmp_path / "not there.jsonl", layout="xyz")


def test_held_out_rows_never_train(store: Store, tmp_path: Path) -> None:
    """A file imported as held out gives held-out prompts, and a prompt that trains already stays where it is."""
    importing.import_file(store, written(tmp_path, different(1)[0]))
    path = written(tmp_path, *({"prompt": f"question {n}", "answer": "a"} for n in range(2)), name="held.jsonl")
    importing.import_file(store, path, split="held_out")

    assert [prompt.text for prompt in store.prompts("held_out")] == ["question 1"]
    assert (store.counts().prompts, store.counts().held_out) == (1, 1)


def test_doubled_rows_are_kept_once_and_counted(store: Store, tmp_path: Path) -> None:
    """Two equal rows make one demonstration; the preview says that there are two."""
    path = written(tmp_path, GOOD, GOOD)
    warned = importing.preview(path).warnings
    report = importing.import_file(store, path)

    assert warned == ("1 example is there more than once; each is kept once.",)
    assert (report.added["demonstrations"], report.rows_ok) == (1, 2)


def test_preferences_come_out_as_pairs_and_go_in_again_unchanged(store: Store, tmp_path: Path) -> None:
    """Pairs exported as TRL's rows and imported into an empty project are the same pairs."""
    rows = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(3)]
    importing.import_file(store, written(tmp_path, *rows))
    exported = dpo_rows(all_pairs(store))
    other = Store(tmp_path / "other.db")
    importing.import_file(other, written(tmp_path, *exported, name="pairs.jsonl"))
    again = dpo_rows(all_pairs(other))
    other.close()

    assert len(exported) == 3
    assert {row_digest(row) for row in exported} == {row_digest(row) for row in again}


def test_single_answers_come_out_as_thumbs_and_bad_ones_are_never_imitated(store: Store, tmp_path: Path) -> None:
    """LLaMA-Factory's KTO rows: the guess knows them, both train KTO, only the good one is a demonstration."""
    rows = [{"instruction": f"q{n}", "output": f"a{n}", "kto_tag": n == 1} for n in (1, 2)]
    report = importing.import_file(store, written(tmp_path, *rows))

    assert (report.layout, report.runner_up) == ("unpaired", "alpaca")
    assert {thumb.answer: thumb.up for thumb in thumbs.all_thumbs(store)} == {"a1": True, "a2": False}
    assert [demonstration.text for demonstration in store.demonstrations()] == ["a1"]


def test_a_gzipped_csv_imports_like_its_rows(store: Store, tmp_path: Path) -> None:
    """Container and layout are independent of each other."""
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(b"instruction,input,output\nAdd,1 and 2,3\nGreet,,Hello\n"))
    report = importing.import_file(store, path)

    assert report.layout == "alpaca"
    assert [prompt.text for prompt in store.prompts()] == ["Add\n\n1 and 2", "Greet"]


def test_real_grade_school_maths_imports_whole(store: Store, shared_data: Path) -> None:
    """All 2,000 rows of GSM8K are demonstrations, with the answer as it stands in the file."""
    path = shared_data / "gsm8k_train_2000.jsonl"
    report = importing.import_file(store, path)
    first = json.loads(path.read_text().partition("\n")[0])
    demonstration = store.demonstrations(limit=1)[0]

    assert (report.layout, report.rows_ok, report.rejected) == ("question_answer", 2000, ())
    assert (demonstration.prompt.text, demonstration.text) == (first["question"], first["answer"])


def test_model_solutions_import_as_labelled_answers_beside_the_true_one(store: Store, shared_data: Path) -> None:
    """Right attempts stand above wrong ones, and the file's ground truth is what is imitated, never an attempt."""
    report = importing.import_file(store, shared_data / "gsm8k_model_solutions_400.jsonl")
    rankings = store.rankings()

    assert (report.layout, report.rows_ok) == ("ranked", 400)
    assert report.added == {"prompts": 400, "demonstrations": 400, "rankings": 400}
    assert store.demonstrations(limit=1)[0].text.endswith("A: 18")
    assert {len(ranking.shown) for ranking in rankings} == {4}
    assert Counter(ranking.verdict for ranking in rankings)["ranked"] == 208  # the other questions' are alike
    assert len(rankings[0].tiers[0]) == 1
    assert rankings[0].unacceptable == rankings[0].tiers[1]


def test_the_bundled_demo_is_recognised(store: Store) -> None:
    """Demonstrations, prompts and held-out questions are what they are without being told."""
    names = ("demonstrations.jsonl", "prompts.jsonl", "held_out.jsonl")
    layouts = [importing.import_file(store, paths.DEMO_DATA / name).layout for name in names]

    assert layouts == ["prompt_completion", "prompts", "prompts"]


# -- preview and survey


def test_a_preview_shows_rows_and_faults_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    """The first rows parsed, bad ones named, and whether there is more than was looked at."""
    preview = importing.preview(written(tmp_path, *different(250), name="long.jsonl"))
    short = importing.preview(written(tmp_path, GOOD, "{cut"))

    assert (len(preview.rows), preview.complete, short.complete) == (200, False, True)
    assert (short.rows[0][0], short.rejected[0][0]) == (1, 2)
    assert store.counts() == Counts()


def test_a_preview_of_an_unknown_layout_says_so(tmp_path: Path) -> None:
    """The Data screen gets a sentence in place of a layout, and can still be told to try one."""
    path = written(tmp_path, {"colour": "red"})
    unknown, forced = importing.preview(path), importing.preview(path, "text")

    assert (unknown.layout, "No known layout fits" in unknown.why) == (None, True)
    assert "--as" not in unknown.why
    assert forced.rejected == ((1, "'text' is missing"),)


def test_a_preview_knows_what_the_import_would_refuse(store: Store, tmp_path: Path) -> None:
    """Two bad rows of three: refused for sure, and the refusal names the caller's own way to another layout."""
    bad = {"prompt": "x", "completion": ""}
    path = written(tmp_path, GOOD, bad, bad)
    long = importing.preview(written(tmp_path, GOOD, *[bad] * 250, name="long.jsonl"))

    assert importing.preview(path).refused
    assert (long.mostly_bad, long.refused) == (True, False)
    assert not importing.preview(written(tmp_path, GOOD, bad, name="half.jsonl")).mostly_bad
    with pytest.raises(FormatError) as caught:
        importing.import_file(store, path, other_layout="press s")
    assert caught.value.hint == "Mend the file, or press s."


def test_length_bias_is_warned_of_either_way() -> None:
    """20 pairs whose longer side always wins are a warning, as are 20 whose shorter does; fewer, or a mix, are none."""
    layout = formats.get("preference")

    def of(longer: int, shorter: int) -> str:
        sides = [("word " * 10, "no way")] * longer + [("no way", "word " * 10)] * shorter
        rows = [{"prompt": f"q{n}", "chosen": one, "rejected": other} for n, (one, other) in enumerate(sides)]
        return " ".join(importing.warnings(map(layout.parse, rows)))

    assert "longer answer wins in 100%" in of(20, 0)
    assert "shorter answer wins in 100%" in of(0, 20)
    assert of(19, 0) == of(10, 10) == ""
