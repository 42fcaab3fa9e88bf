"""The command line: help, one JSON document, exit codes, projects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.asking import asked, error_of
from tests.fake_worker import FakeWorker, make_job
from tests.projects import Copies
from workbench import cli
from workbench.paths import PACKAGE_ROOT

COMMANDS = (
    "open new models import train sample rank judge pairs runs watch stop resume export chat doctor demo".split()  # noqa: SIM905  # a sentence of words reads better than a list
)


@pytest.fixture
def project(tmp_path: Path, copied: Copies) -> Path:
    """An empty project."""
    root = tmp_path / "project"
    copied(root).close()
    return root


def in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as a person does, its output in pipes."""
    return subprocess.run(
        [sys.executable, "-m", "workbench.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=PACKAGE_ROOT,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


# -- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    """--help of every command has a sentence and an example that begins with the command itself."""
    code, out, _ = asked(capsys, command, "--help")

    assert code == 0
    assert f"Usage: workbench {command}" in out
    assert "workbench " in out.partition("Example")[2]


@pytest.mark.parametrize(("command", "words"), [("train", ("sft", "rule:brevity")), ("import", ("unpaired", "alpaca"))])
def test_help_lists_the_words_that_a_command_takes(capsys, command, words):
    """Methods, rules and layouts come from their folders."""
    _, out, _ = asked(capsys, command, "--help")

    assert [word for word in words if f"\n  {word} " not in out] == []


def test_help_names_every_command_and_exit_code(capsys):
    """The front page lists the commands and what their exit codes mean."""
    _, out, _ = asked(capsys, "--help")

    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []
    assert [code for code in ("0 done", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "130 ") if code not in out] == []


def test_help_loads_nothing_heavy():
    """--help answers at once: neither torch nor the app nor numpy is imported for it."""
    script = (
        "import sys; from workbench import cli; cli.main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'textual', 'numpy', 'rich', 'sqlite3')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=PACKAGE_ROOT, check=False)

    assert done.returncode == 0


def test_a_forced_colour_terminal_gets_no_escapes_in_a_pipe(project):
    """Even where the environment asks for colours, nothing written to a pipe carries an escape sequence."""
    loud = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor", "GITHUB_ACTIONS": "true"}
    helped = in_a_process("--help", **loud)
    listed = in_a_process("-C", str(project), "models", **loud)

    assert "\x1b" not in helped.stdout + helped.stderr + listed.stdout + listed.stderr
    assert (helped.returncode, listed.returncode) == (0, 0)


def test_the_version_is_said(capsys):
    """--version prints the version and nothing else."""
    code, out, _ = asked(capsys, "--version")

    assert code == 0
    assert out.startswith("workbench 0.")


# -- words before and after the command


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ([], ["open"]),
        (["runs"], ["runs"]),
        (["-C", "dir", "runs", "--json"], ["runs", "-C", "dir", "--json"]),
        (["--json", "--project=dir", "watch", "3"], ["watch", "--json", "--project=dir", "3"]),
        (["-C", "dir"], ["open", "-C", "dir"]),
        (["some/folder"], ["open", "some/folder"]),
        (["--help"], ["--help"]),
        (["rnus"], ["rnus"]),
    ],
)
def test_a_project_or_options_may_come_first(given, understood):
    """`workbench DIR` opens it, and options may stand before the command; a mistyped command stays one."""
    assert cli.with_command(given, COMMANDS) == understood


def test_a_mistyped_command_is_a_usage_error_with_the_nearest(capsys):
    """What is neither a command nor a folder ends with exit code 2 and the nearest command."""
    code, error = error_of(capsys, "trian")

    assert code == 2
    assert "train" in error["message"]


def test_usage_errors_with_json_are_documents(capsys):
    """A program that asked for JSON gets JSON, also when it asked wrongly."""
    code, error = error_of(capsys, "watch")

    assert (code, error["kind"]) == (2, "UsageError")
    assert error["hint"] == "See: workbench watch --help"


def test_an_interrupted_command_leaves_a_document_too(capsys, monkeypatch):
    """Ctrl-C with --json: exit code 130, and what reads the document finds one."""

    def interrupt(place: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.disk_usage", interrupt)
    code, error = error_of(capsys, "doctor")

    assert (code, error["kind"]) == (130, "Interrupted")


# -- where the output goes


def in_a_shell(line: str) -> subprocess.CompletedProcess[str]:
    """Runs `line` in a shell, in which $W is the command."""
    script = f'W="{sys.executable} -m workbench.cli"; {line}'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=PACKAGE_ROOT, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_result_that_cannot_be_written_is_a_sentence(project, form):
    """`workbench runs > FILE` on a full disk: exit code 7 and words on stderr, never success and no traceback."""
    done = in_a_shell(f'$W -C "{project}" runs {form} > /dev/full')

    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.startswith("Error: The result could not be written to stdout (No space left on device).\n")


def test_a_closed_stream_swallows_what_it_is_told(project):
    """`>&-` and `2>&-` as a cron job may have them: the command works, and the other stream is as always."""
    without_out = in_a_shell(f'$W -C "{project}" runs >&-')
    without_err = in_a_shell(f'$W -C "{project}" watch 3 --json 2>&- <&-')

    assert (without_out.returncode, without_out.stderr) == (0, "")
    assert (without_err.returncode, json.loads(without_err.stdout)["error"]["kind"]) == (5, "RunError")


# -- projects


def test_outside_a_project_the_hint_makes_one(capsys, tmp_path, monkeypatch):
    """Without a project the command says how to get one, in words on stderr and with exit code 3."""
    monkeypatch.chdir(tmp_path)
    code, out, err = asked(capsys, "runs")

    assert (code, out) == (3, "")
    assert "workbench new" in err


def test_a_folder_that_is_no_project_is_refused(capsys, tmp_path):
    """-C on a folder without a store is a ProjectError."""
    code, error = error_of(capsys, "-C", tmp_path, "runs")

    assert (code, error["kind"]) == (3, "ProjectError")
    assert "workbench new" in error["hint"]


def test_the_hint_never_makes_a_project_of_what_is_there(capsys, tmp_path):
    """`new` would refuse a file and a folder in use, so the hint does not name them; a free name it does."""
    (tmp_path / "notes.txt").write_text("mine")
    hints = [error_of(capsys, "-C", place, "runs")[1]["hint"] for place in (tmp_path, tmp_path / "notes.txt")]
    free = error_of(capsys, "-C", tmp_path / "a project", "runs")[1]["hint"]

    assert [str(tmp_path) in hint for hint in hints] == [False, False]
    assert f"workbench new '{tmp_path}/a project'" in free


def test_the_project_is_found_from_a_folder_inside_it(capsys, project, monkeypatch):
    """A command works from anywhere below the project's folder."""
    monkeypatch.chdir(project / "runs")
    code, out, _ = asked(capsys, "runs", "--json")

    assert (code, json.loads(out)) == (0, {"runs": []})


def test_new_makes_a_project_with_the_demo_data(capsys, tmp_path):
    """new --demo holds demonstrations, prompts and held-out prompts, and names the bundled base."""
    code, out, _ = asked(capsys, "new", tmp_path / "demo", "--demo", "--json")
    made = json.loads(out)

    assert (code, made["base"]) == (0, "bundled")
    assert made["counts"]["demonstrations"] >= 500
    assert made["counts"]["held_out"] > 0


def test_new_never_touches_a_folder_in_use(capsys, tmp_path):
    """A folder that holds something is refused and stays as it is."""
    (tmp_path / "letter.txt").write_text("dear")
    code, _, err = asked(capsys, "new", tmp_path)

    assert code == 3
    assert "not empty" in err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "arguments", [["new", ""], ["demo", "--keep", " "], ["export", "1", "--to", "merged", "--out", ""]]
)
def test_a_folder_without_a_name_is_not_the_current_one(capsys, tmp_path, monkeypatch, arguments):
    """An empty folder name, as an unset shell variable leaves it, is refused, and nothing is made where one stands."""
    monkeypatch.chdir(tmp_path)
    code, error = error_of(capsys, *arguments)

    assert (code, error["kind"]) == (2, "InputError")
    assert "has no name" in error["message"]
    assert list(tmp_path.iterdir()) == []


def test_new_with_a_missing_base_makes_nothing(capsys, tmp_path):
    """A base that is not there is refused before the folder exists, with the command that gets it."""
    code, error = error_of(capsys, "new", tmp_path / "new", "--base", "someone/some-model")

    assert (code, error["kind"]) == (4, "BaseModelError")
    assert "models --get someone/some-model" in error["hint"]
    assert not (tmp_path / "new").exists()


def test_a_damaged_store_is_refused_and_left_as_it_is(capsys, project):
    """A store that is not a database ends with exit code 3 and is not written to."""
    store = project / "workbench.db"
    store.write_bytes(b"this was once a database" * 100)
    before = store.read_bytes()
    code, error = error_of(capsys, "-C", project, "runs")

    assert (code, error["kind"]) == (3, "CorruptStoreError")
    assert store.read_bytes() == before


def test_the_app_without_a_terminal_is_refused(capsys, project):
    """Opening the app in a pipe is an error with the way round it, not a screenful of escapes."""
    for command in (("open",), ("rank",)):
        code, out, err = asked(capsys, "-C", project, *command)

        assert (code, out) == (2, "")
        assert "needs a terminal" in err


@pytest.mark.parametrize(("inside", "command"), [(True, "workbench"), (False, "workbench -C '{}'")])
def test_what_is_told_of_a_run_when_the_app_is_left_can_be_typed_as_it_is(
    tmp_path: Path, copied: Copies, capsys: Any, monkeypatch: Any, inside: bool, command: str
) -> None:
    """Outside the project's folder the commands to follow and to stop a run name the folder."""
    root = tmp_path / "my project"
    bench = copied(root)
    run = bench.runs.create(make_job(), {"train": []})
    FakeWorker(run).sign_in()
    monkeypatch.chdir(root if inside else tmp_path)
    cli._say_what_goes_on(bench)
    bench.close()

    said = command.format(root)
    assert f"{said} watch 0001; {said} stop 0001" in capsys.readouterr().err
