"""Runs as folders: made whole, named once, never changed, deleted only alone."""

from __future__ import annotations

import dataclasses
import errno
import json
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_worker import FakeWorker, make_job, make_run
from workbench.errors import DiskFullError, ProjectError, RunError
from workbench.events import Finished, Started
from workbench.paths import ProjectPaths
from workbench.runs import Run, Runs, check_unchanged, process, worker_environment


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(ProjectPaths(tmp_path / "project"))


def test_a_run_is_made_whole(runs: Runs, tmp_path: Path) -> None:
    """Order, frozen data with its hash and the starting adapter are there, private, with the next id."""
    adapter = tmp_path / "adapter"
    (adapter / "deep").mkdir(parents=True)
    (adapter / "deep" / "weights").write_text("w")
    (adapter / "link").symlink_to("/etc/passwd")
    data = {"train": [{"prompt": "größe"}, {"prompt": "\ud800"}], "watch.jsonl": []}
    run = runs.create(make_job(name="first"), data, start=adapter)

    assert (run.id, run.job.run, run.title) == ("0001", "0001", "0001 sft · first")
    assert set(run.job.data) == {"train.jsonl", "watch.jsonl"}
    rows = [json.loads(line) for line in (run.paths.data / "train.jsonl").read_text().splitlines()]
    assert rows == data["train"]
    assert (run.paths.start / "deep" / "weights").read_text() == "w"
    assert not (run.paths.start / "link").exists()
    for path in (run.paths.root, *run.paths.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert check_unchanged(run.paths) == run.job


def test_data_that_fails_leaves_nothing(runs: Runs) -> None:
    """When the data cannot be read to its end there is no run, and no rest of one."""

    def rows() -> object:
        yield {"n": 1}
        raise RuntimeError("the store went away")

    with pytest.raises(RuntimeError):
        runs.create(make_job(), {"train": rows()})  # type: ignore[dict-item]
    assert list(runs.project.runs.iterdir()) == []
    assert runs.ids() == []


def test_two_at_once_get_two_ids(runs: Runs) -> None:
    """Runs made at the same moment never share an id, and each order says its own."""
    made: list[Run] = []
    threads = [threading.Thread(target=lambda: made.append(runs.create(make_job(), {"d": []}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(run.id for run in made) == [f"{n:04d}" for n in range(1, 9)]
    assert all(run.job.run == run.id for run in made)
    assert runs.ids() == sorted(run.id for run in made)


def test_a_run_is_found_by_its_number(runs: Runs) -> None:
    """'2', '0002' and 'last' name the same run; others are named in the error."""
    with pytest.raises(RunError, match="no runs yet"):
        runs.get("last")
    for _ in range(2):
        runs.create(make_job(), {})

    assert {runs.get(name).id for name in ("2", "0002", "last")} == {"0002"}
    for name in ("3", "x", "../0001", ""):
        with pytest.raises(RunError, match="There is no run") as caught:
            runs.get(name)
        assert "0001, 0002" in caught.value.hint


def test_runs_are_listed_by_kind(runs: Runs) -> None:
    """A kind can be asked for, and a damaged folder hides no other."""
    runs.create(make_job(kind="train"), {})
    runs.create(make_job(kind="sample", action="transformers"), {})
    runs.create(make_job(), {}).paths.job.write_text("{")

    assert [run.id for run in runs.all()] == ["0001", "0002"]
    assert [run.id for run in runs.all("sample")] == ["0002"]
    with pytest.raises(RunError, match="cannot be read"):
        runs.get("3")


def test_a_changed_order_is_not_resumed(runs: Runs) -> None:
    """A new learning rate in job.json is refused: that would be another run."""
    run = runs.create(make_job(), {})
    changed = dataclasses.replace(run.job, settings={"micro_batch": 2})
    run.paths.job.write_text(changed.to_json())

    with pytest.raises(RunError, match="was changed after it was made"):
        runs.resume(Run(run.paths))


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_changed_data_is_not_resumed(how: str, runs: Runs) -> None:
    """Frozen data that is not what the run was made with is refused by name."""
    run = runs.create(make_job(), {"train": [{"n": 1}]})
    if how == "changed":
        (run.paths.data / "train.jsonl").write_text('{"n": 2}\n')
    else:
        (run.paths.data / "train.jsonl").unlink()

    with pytest.raises(RunError, match=r"train\.jsonl of run 0001 is"):
        runs.resume(run)


def test_a_finished_run_has_nothing_left_to_do(runs: Runs) -> None:
    """Resuming a finished run says so and touches nothing."""
    run = runs.create(make_job(), {})
    FakeWorker(run).sign_in().write(Started()).leave(Finished(step=1))
    before = run.paths.events.read_bytes()

    with pytest.raises(RunError, match="nothing left to do"):
        runs.resume(run)
    assert run.paths.events.read_bytes() == before


def test_a_running_run_is_left_alone(runs: Runs) -> None:
    """Neither launched twice, nor resumed, nor deleted."""
    run = runs.create(make_job(), {})
    FakeWorker(run).sign_in().write(Started())

    for refused in (runs.launch, runs.resume, runs.delete):
        with pytest.raises(RunError, match="running"):
            refused(run)


def test_stopping_what_does_not_run_says_so(runs: Runs) -> None:
    """A run that was never launched, or is gone, cannot be stopped."""
    run = runs.create(make_job(), {})
    with pytest.raises(RunError, match="not running"):
        runs.stop(run)

    FakeWorker(run).sign_in().write(Started()).die()
    with pytest.raises(RunError, match="not running"):
        runs.stop(run)
    assert not run.paths.stop_request.exists()


def test_stop_leaves_a_request(runs: Runs) -> None:
    """A stop is a request that the worker finds between its steps; the status says that it is on its way."""
    run = runs.create(make_job(), {})
    FakeWorker(run).sign_in().write(Started())
    runs.stop(run)

    assert run.paths.stop_request.exists()
    assert run.status().state == "stopping"


def test_a_run_with_children_is_kept(runs: Runs) -> None:
    """What others came from can only be deleted after them."""
    runs.create(make_job(), {})
    runs.create(make_job(parent="0001", lineage=("0001",)), {})
    with pytest.raises(RunError, match="0002 came from"):
        runs.delete(runs.get("1"))

    runs.delete(runs.get("2"))
    runs.delete(runs.get("1"))
    assert runs.ids() == []


def test_a_deleted_id_is_not_given_again(runs: Runs) -> None:
    """Completions in the store are named by their run, so a new run never takes an old name."""
    runs.create(make_job(), {})
    runs.delete(runs.create(make_job(), {}))

    assert runs.create(make_job(), {}).id == "0003"


def test_a_full_disk_does_not_keep_a_run_from_being_deleted(runs: Runs) -> None:
    """Deleting is how one gets room: it needs none, and the ids deleted before and now are still not given again."""
    kept, doomed = runs.create(make_job(), {}), [runs.create(make_job(), {}) for _ in range(3)]
    runs.delete(doomed[2])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        runs.delete(doomed[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    assert runs.ids() == [kept.id, doomed[1].id]
    assert runs.create(make_job(), {}).id == "0005"
    runs.delete(runs.get("0005"))
    assert runs.create(make_job(), {}).id == "0006"


def test_a_deletion_that_was_killed_keeps_its_id(runs: Runs) -> None:
    """A worker's folder that was put aside and not yet forgotten counts as given."""
    runs.create(make_job(), {}).paths.root.rename(runs.project.runs / ".gone-0001.partial")

    assert runs.create(make_job(), {}).id == "0002"


def test_a_full_disk_makes_no_half_run(runs: Runs) -> None:
    """When the folder cannot be written to there is an error, not half a run."""
    runs.project.runs.mkdir(parents=True)
    runs.project.runs.rmdir()
    runs.project.runs.write_text("a file where the folder should be")

    with pytest.raises(ProjectError, match=r"cannot be written .*exists"):
        runs.create(make_job(), {"train": [{"n": 1}]})


def test_a_full_disk_is_said_where_the_data_is_frozen(runs: Runs) -> None:
    """A disk that fills up while the data is written is a DiskFullError, and nothing is left of the run."""

    def rows() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match="is full"):
        runs.create(make_job(), {"train": rows()})
    assert list(runs.project.runs.iterdir()) == []


def test_a_folder_that_cannot_be_named_is_an_error_not_a_loop(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the finished folder cannot be given its name, create() says why instead of trying for ever."""
    tries = []

    def refused(self: Path, target: Path) -> None:
        tries.append(target)
        if len(tries) > 3:
            pytest.fail("it tries for ever")
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(ProjectError, match="Permission denied"):
        runs.create(make_job(), {})


@pytest.mark.parametrize("name", ["worker.log", "stop"])
def test_a_run_that_cannot_be_written_to_is_not_started(runs: Runs, name: str) -> None:
    """A log that cannot be opened, or an old request to stop that cannot be taken away, is a sentence."""
    run = runs.create(make_job(), {})
    blocked = run.paths.log if name == "worker.log" else run.paths.stop_request
    blocked.mkdir(parents=True)

    with pytest.raises(ProjectError, match="cannot be written"):
        runs.launch(run)


def test_a_full_disk_does_not_keep_a_run_from_being_stopped(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the request to stop cannot be written, the worker is asked by a signal."""
    run = runs.create(make_job(), {})
    FakeWorker(run).sign_in().write(Started())
    sent: list[int] = []

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    monkeypatch.setattr(process, "send", lambda _, number: sent.append(number))
    runs.stop(run)
    assert sent == [signal.SIGTERM]


def test_a_run_made_in_a_fixture_project_can_be_read_back(tmp_path: Path) -> None:
    """The job that is read is the job that was written, to the last field."""
    job = make_job(name="größe", counts={"demonstrations": 3}, lineage=("0001",), parent="0001", created=5.0)
    run = make_run(tmp_path, job)

    assert Run(run.paths).job == dataclasses.replace(job, run="0001", data=run.job.data)


def test_a_workers_log_is_not_for_the_makers_of_libraries() -> None:
    """Warnings of what is deprecated are off in a worker, others are not."""
    seen = subprocess.run(
        [sys.executable, "-c", "import warnings\nfor c in FutureWarning, DeprecationWarning, UserWarning:\n"
         " warnings.warn(c.__name__, c)"],
        env=worker_environment(), capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert "FutureWarning" not in seen
    assert "DeprecationWarning" not in seen
    assert "UserWarning: UserWarning" in seen
