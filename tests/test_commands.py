"""Commands on data and runs: what they report, and what they say where something cannot be done."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.asking import asked, error_of, recorded
from tests.projects import Copies
from workbench.bench import Bench
from workbench.commands.project import _opening
from workbench.errors import DiskFullError
from workbench.events import Evaluated, Failed, Finished, Note, Phase, Planned, Saved, Started, Step
from workbench.paths import PACKAGE_ROOT
from workbench.runs import Runs

HOSTILE = "\x1b]52;c;aGk=\x07\x9b31m"


@pytest.fixture
def project(tmp_path: Path, copied: Copies) -> Path:
    """An empty project."""
    root = tmp_path / "project"
    copied(root).close()
    return root


# -- data


def test_import_reports_what_came_in(capsys, project, tmp_path):
    """An imported file is named with its layout and counts."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Hi?", "completion": "Hello."}\n{"prompt": "Bye?", "completion": "Bye."}\n')
    code, out, _ = asked(capsys, "-C", project, "import", file, "--json")
    report = json.loads(out)

    assert (code, report["layout"], report["rows_ok"]) == (0, "prompt_completion", 2)
    assert report["added"]["demonstrations"] == 2


def test_a_broken_line_is_named(capsys, project, tmp_path):
    """A file with a broken line says which; the good rows are counted."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Hi?", "completion": "Hello."}\n{"prompt": "Bye?", "compl\n')
    _, _, err = asked(capsys, "-C", project, "import", file)

    assert "left out, rows.jsonl, line 2: " in err


def test_a_prompt_that_trains_is_not_held_out_silently(capsys, project, tmp_path):
    """Of two rows to hold out one is trained on already: the command says that it stays so. One prompt is no plural."""
    for name, words in (("train", ["Hi"]), ("held", ["Hi", "Bye"])):
        rows = ({"question": word, "answer": "So."} for word in words)
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked(capsys, "-C", project, "import", tmp_path / "train.jsonl")
    code, out, err = asked(capsys, "-C", project, "import", tmp_path / "held.jsonl", "--held-out")
    again, error = error_of(capsys, "-C", project, "import", tmp_path / "held.jsonl")

    assert (code, "2 rows, 1 prompt," in out) == (0, True)
    assert "1 row gave no new prompt: one that trains already goes on training." in err
    assert (again, error["kind"]) == (2, "InputError")


def test_rows_of_no_known_layout_are_named_with_their_file(capsys, project, tmp_path):
    """The refusal says which file it is, so that it can be read in the log of a loop over many."""
    (tmp_path / "odd.jsonl").write_text('{"colour": "red"}\n')
    code, error = error_of(capsys, "-C", project, "import", tmp_path / "odd.jsonl")

    assert (code, error["message"]) == (2, "odd.jsonl: No known layout fits. Its rows have: 'colour'.")


@pytest.mark.parametrize("name", ["missing.jsonl", "picture.jsonl"])
def test_a_wrong_file_is_refused(capsys, project, tmp_path, name):
    """A missing file and one that is no data are refused with exit code 2, and nothing is added."""
    (tmp_path / "picture.jsonl").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    code, error = error_of(capsys, "-C", project, "import", tmp_path / name)

    assert code == 2
    assert name in error["message"]


def test_pairs_are_trls_rows(capsys, project, tmp_path):
    """Imported preferences come out as JSONL: on stdout, in a file, or inside the one document."""
    file = tmp_path / "prefs.jsonl"
    file.write_text('{"prompt": "Hi?", "chosen": "Hello — \\u001b[31m", "rejected": "What?"}\n')
    asked(capsys, "-C", project, "import", file)
    _, lines, _ = asked(capsys, "-C", project, "pairs")
    _, document, _ = asked(capsys, "-C", project, "pairs", "--json")
    asked(capsys, "-C", project, "pairs", "--out", tmp_path / "out.jsonl")
    row = {
        "prompt": [{"role": "user", "content": "Hi?"}],
        "chosen": [{"role": "assistant", "content": "Hello — \x1b[31m"}],
        "rejected": [{"role": "assistant", "content": "What?"}],
    }

    assert [json.loads(line) for line in lines.splitlines()] == [row]
    assert json.loads(document) == {"count": 1, "pairs": [row]}
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [row]
    assert "\x1b" not in lines + document


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["train", "dpo", "--preset", "cpu"], "beta", 0.1),
        (["sample"], "top_p", 1.0),
        (["judge", "last"], "margin", 0.0),
    ],
)
def test_the_settings_of_a_command_can_be_looked_up(capsys, project, arguments, name, value):
    """`--set list` tells each setting with its value, its bounds and its help, and makes no run."""
    _, out, _ = asked(capsys, "-C", project, *arguments, "--set", "list")
    code, document, _ = asked(capsys, "-C", project, *arguments, "--set", "list", "--json")
    found = {row["name"]: row for row in json.loads(document)["settings"]}

    assert f"{name} = {value:g}   (a number from " in out
    assert (code, found[name]["value"], found[name]["help"] in out) == (0, value, True)
    assert not list((project / "runs").iterdir())


def test_pairs_of_a_judge_who_is_not_there_name_those_who_are(capsys, project, tmp_path):
    """A mistyped judge is told from a project without rankings."""
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "Hi?", "chosen": "Hello.", "rejected": "Go."}\n')
    asked(capsys, "-C", project, "import", file)
    code, error = error_of(capsys, "-C", project, "pairs", "--judge", "persn")

    assert (code, error["hint"]) == (2, "Judges here: import 1.")


def test_pairs_into_a_missing_folder_is_a_sentence(capsys, project, tmp_path):
    """A place that cannot be written is named, with exit code 2."""
    file = tmp_path / "prefs.jsonl"
    file.write_text('{"prompt": "Hi?", "chosen": "Hello.", "rejected": "What?"}\n')
    asked(capsys, "-C", project, "import", file)
    code, error = error_of(capsys, "-C", project, "pairs", "--out", tmp_path / "no" / "out.jsonl")

    assert (code, "--out" in error["hint"]) == (2, True)


def test_a_reader_that_leaves_early_is_no_error(capsys, project, tmp_path):
    """`workbench pairs | head -1` ends quietly, with exit code 0: 1 would be a fault of the workbench."""
    file = tmp_path / "prefs.jsonl"
    rows = [{"prompt": f"Hi {n}?", "chosen": "Hello. " * 100, "rejected": "What?"} for n in range(400)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked(capsys, "-C", project, "import", file)
    command = f'set -o pipefail; "{sys.executable}" -m workbench.cli -C "{project}" pairs | head -1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=PACKAGE_ROOT, check=False)

    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


# -- orders that cannot be carried out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "sft"], 2, "no demonstrations"),
        (["train", "dpo"], 2, "no preference pairs"),
        (["train", "spt"], 2, "sft"),
        (["train", "sft", "--preset", "8gbb"], 2, "8gb"),
        (["train", "sft", "--set", "learning_rat=1"], 2, "learning_rate"),
        (["train", "sft", "--set", "learning_rate"], 2, "key=value"),
        (["train", "sft", "--set", "epochs=many"], 2, "a number"),
        (["train", "sft", "--from", "last"], 5, "Nothing has been trained"),
        (["sample"], 2, "no prompts"),
        (["pairs"], 2, "no preference pairs"),
        (["judge", "3", "--queue", "--detach"], 2, "--queue does not go with --detach"),
        (["export", "3", "--to", "gguf", "--quant", "Q8_0", "--quant", "list"], 5, "no runs"),
        (["watch", "3"], 5, "no runs"),
        (["stop", "3"], 5, "no runs"),
        (["resume", "last"], 5, "no runs"),
        (["export", "3", "--to", "merged"], 5, "no runs"),
        (["export", "3", "--to", "merged", "--quant", "Q8_0"], 2, "--quant"),
        (["export", "3", "--to", "ggfu"], 2, "gguf"),
        (["export", "no/such/folder", "--to", "gguf"], 2, "no folder"),
        (["export", "3", "--to", "gguf", "--quant", "MXFP4_MOE"], 2, "mixtures of experts"),
        (["chat", "3", "--prompt", "Hi"], 5, "no runs"),
        (["chat", "no.gguf", "--prompt", "Hi"], 2, "no.gguf"),
        (["chat", "someone/some-model", "--prompt", "Hi"], 4, "models --get"),
        (["models", "--use", "nowhere"], 4, "models --get"),
        (["models", "--add", "."], 4, "no model"),
    ],
)
def test_what_cannot_be_done_says_why_and_what_instead(capsys, project, monkeypatch, arguments, code, said):
    """Every refusal has its exit code, a sentence that names the trouble and a hint, as one JSON document."""
    monkeypatch.chdir(project)
    got, error = error_of(capsys, *arguments)

    assert got == code
    assert said in error["message"] + " " + error["hint"]
    assert error["hint"]


def test_the_projects_base_is_listed_while_it_is_there(capsys, project, tmp_path):
    """A folder chosen without --add is listed and marked; once it is gone the list says that, and marks nothing."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in (PACKAGE_ROOT / "assets" / "base").iterdir():
        (folder / file.name).symlink_to(file)
    _, there, _ = asked(capsys, "-C", project, "models", "--use", folder)
    folder.rename(tmp_path / "elsewhere")
    _, gone, _ = asked(capsys, "-C", project, "models")

    assert "\n*  mine" in there
    assert f"{folder}, is not on this machine" in gone
    assert "*" not in gone


def test_a_model_added_and_chosen_is_the_projects_base(capsys, project, tmp_path):
    """A folder added with --add is listed, and --use makes it what runs start from."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in (PACKAGE_ROOT / "assets" / "base").iterdir():
        (folder / file.name).symlink_to(file)
    code, out, _ = asked(capsys, "-C", project, "models", "--add", folder, "--use", folder, "--json")
    listed = json.loads(out)

    assert (code, listed["base"]) == (0, str(folder))
    assert str(folder) in [base["spec"] for base in listed["models"]]


# -- runs


def test_a_finished_run_is_watched_from_its_first_step(capsys, project):
    """watch tells the notes and measurements of a run that is long over, and ends with its figures."""
    recorded(
        project,
        Started(device="cpu", dtype="float32"),
        Phase(name="training"),
        Planned(total_steps=2, examples=8),
        Step(step=1, metrics={"loss": 2.0}, seconds=0.5, tokens=50),
        Note(text="2 rows were cut.", level="warning"),
        Step(step=2, metrics={"loss": None}, seconds=0.5, tokens=50),
        Evaluated(step=2, metrics={"loss": 1.25}),
        Saved(step=2, final=True, seconds=0.1),
        Finished(step=2, summary={"loss": 1.5}),
    )
    code, out, err = asked(capsys, "-C", project, "watch", "last", "--json")
    told = json.loads(out)

    assert (code, told["state"], told["step"], told["total_steps"]) == (0, "finished", 2, 2)
    assert (told["metrics"], told["held_out"], told["summary"]) == ({"loss": None}, {"loss": 1.25}, {"loss": 1.5})
    assert [said for said in ("Warning: 2 rows were cut.", "loss 1.25", "saved the model") if said not in err] == []


@pytest.mark.parametrize(
    ("kind", "code", "named"),
    [
        ("disk_full", 7, "DiskFullError"),
        ("out_of_memory", 7, "MemoryFullError"),
        ("VerificationError", 6, "VerificationError"),
        ("StartingPointError", 5, "StartingPointError"),
        ("ZeroDivisionError", 5, "RunError"),
    ],
)
def test_a_failed_run_ends_the_command_as_what_it_is(capsys, project, kind, code, named):
    """A run's failure becomes the command's: its sentence, its hint, and the exit code of its kind."""
    recorded(project, Started(), Failed(kind=kind, message="It went wrong.", hint="Mend it."))
    got, error = error_of(capsys, "-C", project, "watch", "1")

    assert (got, error) == (code, {"message": "Run 0001 failed: It went wrong.", "hint": "Mend it.", "kind": named})


def test_a_run_that_never_ended_is_an_error_with_the_way_on(capsys, project):
    """A run without a worker and without an ending is not waited for."""
    recorded(project, Started(), Planned(total_steps=9), Step(step=3, seconds=0.1))
    code, error = error_of(capsys, "-C", project, "watch", "1")

    assert code == 5
    assert "workbench resume 0001" in error["hint"]


def test_runs_are_listed_in_words_and_as_json(capsys, project):
    """A run is one line for a person and one object for a program, its name made harmless."""
    recorded(project, Started(), Planned(total_steps=4), Finished(step=4), name=f"first{HOSTILE}")
    _, words, _ = asked(capsys, "-C", project, "runs")
    _, out, _ = asked(capsys, "-C", project, "runs", "--json")
    listed = json.loads(out)["runs"]

    assert "0001" in words
    assert "✓ finished" in words
    assert not set("\x1b\x07\x9b") & set(words + out)
    assert [(run["run"], run["state"], run["name"]) for run in listed] == [("0001", "finished", f"first{HOSTILE}")]


def test_a_run_with_a_damaged_order_is_not_left_out_silently(capsys, project):
    """`runs` says which run it cannot list, and lists the others."""
    recorded(project, Finished(step=1)).paths.job.write_text("{")
    recorded(project, Finished(step=1))
    code, out, err = asked(capsys, "-C", project, "runs", "--json")

    assert (code, [run["run"] for run in json.loads(out)["runs"]]) == (0, ["0002"])
    assert "0001" in err


def test_a_finished_run_is_not_resumed(capsys, project):
    """resume of a finished run says there is nothing left to do."""
    recorded(project, Started(), Finished(step=4))
    code, error = error_of(capsys, "-C", project, "resume", "1")

    assert (code, "nothing left to do" in error["message"]) == (5, True)


def test_doctor_reports_every_check(capsys):
    """doctor's document has a name, a status and what was found for each check."""
    _, out, _ = asked(capsys, "doctor", "--json")
    report = json.loads(out)

    assert {"Python", "torch", "Disk", "Memory", "Terminal"} <= {check["name"] for check in report["checks"]}
    assert {check["status"] for check in report["checks"]} <= {"ok", "warning", "problem"}


# -- a full disk, and what is refused before a run exists


def test_runs_are_listed_on_a_full_disk(capsys, project, monkeypatch):
    """Where new completions cannot be stored, runs are listed all the same, with a warning and valid JSON."""

    def full(_):
        raise DiskFullError("Not saved: the disk is full.", "Free some space.")

    monkeypatch.setattr(Bench, "ingest", full)
    code, out, err = asked(capsys, "-C", project, "runs", "--json")

    assert (code, json.loads(out)) == (0, {"runs": []})
    assert "Warning" in err
    assert "the disk is full" in err


def test_a_wrong_gguf_type_makes_no_run(capsys, project):
    """A mistyped --quant is refused by the command, not by a run that is started and fails."""
    recorded(project, Finished(step=1)).paths.model.mkdir()
    code, error = error_of(capsys, "-C", project, "export", "1", "--to", "gguf", "--quant", "Q9")

    assert (code, error["kind"]) == (2, "SettingError")
    assert "Q8_0" in error["hint"]
    with contextlib.closing(Bench.open(project)) as bench:
        assert bench.runs.ids() == ["0001"]


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ({"README.md": "mine"}, "holds other files"),
        ({"export.json": '{"run": "0007", "parts": {}}'}, "holds an export of another model"),
        ({}, ""),
        ({"export.json": '{"run": "0001", "parts": {}}', "more": ""}, ""),
    ],
)
def test_an_export_into_another_s_folder_makes_no_run(capsys, project, tmp_path, monkeypatch, held, why):
    """A folder with other files, or another run's export, is refused by the command; an empty or own one is taken."""
    recorded(project, Finished(step=1)).paths.model.mkdir()
    folder = tmp_path / "out"
    folder.mkdir()
    for name, text in held.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(Runs, "launch", lambda self, run: None)
    code, out, _ = asked(capsys, "-C", project, "export", "1", "--to", "merged", "--out", folder, "--detach", "--json")

    assert code == (2 if why else 0)
    assert why in json.loads(out).get("error", {}).get("message", "")
    with contextlib.closing(Bench.open(project)) as bench:
        assert bench.runs.ids() == (["0001"] if why else ["0001", "0002"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(held)


@pytest.mark.parametrize(
    ("folder", "command"),
    [("demo", "workbench ./demo"), ("my project", "workbench './my project'"), ("/a/demo", "workbench /a/demo")],
)
def test_the_command_that_opens_a_project_is_not_another_command(folder: str, command: str) -> None:
    """`workbench demo` would run the demo: a bare name is given as a path."""
    assert _opening(Path(folder)) == command


def test_a_new_project_says_how_to_open_it(capsys, tmp_path, monkeypatch):
    """In a folder called demo, which is a command's name too."""
    monkeypatch.chdir(tmp_path)
    assert "Open it: workbench ./demo\n" in asked(capsys, "new", "demo")[1]
