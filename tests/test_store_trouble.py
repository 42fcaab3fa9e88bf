"""The project's file in trouble: killed writers, damaged pages, full disks. A sentence each, and nothing lost."""

from __future__ import annotations

import hashlib
import os
import resource
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_worker import FakeWorker, make_job
from tests.votes import answered, ask, queued, vote
from workbench.bench import Bench
from workbench.errors import CorruptStoreError, DiskFullError, NewerStoreError, ProjectError, WorkbenchError
from workbench.events import Completed
from workbench.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "workbench.db"


@pytest.fixture
def store(path: Path):
    opened = Store(path)
    opened._db.execute("PRAGMA synchronous = OFF")  # this process does not lose power; the crash tests open their own
    yield opened
    opened.close()


def in_child(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process; its exit status: 0 where it returned, 70 where it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  # the child must never come back into pytest
            print(repr(error), file=sys.__stderr__)
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- two processes, crashes


def test_two_processes_write_at_once_and_lose_nothing(store: Store, path: Path) -> None:
    """Two writers of 20 votes each leave 40 votes and a sound file."""
    entry = answered(store, "q")

    def twenty_votes() -> None:
        mine = Store(path)
        for _ in range(20):
            mine.add_ranking(vote(*entry))
        mine.close()

    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                twenty_votes()
                os._exit(0)
            finally:
                os._exit(70)
        children.append(pid)
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

    assert (ends, len(store.rankings())) == ([0, 0], 40)
    assert store._rows("PRAGMA integrity_check") == [("ok",)]


def test_every_vote_that_returned_survives_a_kill(store: Store, path: Path) -> None:
    """A process killed with SIGKILL in the middle of voting: each vote it was told is saved is in the file."""
    entry = answered(store, "q")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            mine = Store(path)
            while True:
                os.write(writer, b"%d\n" % mine.add_ranking(vote(*entry)))
        finally:
            os._exit(70)
    os.close(writer)
    told = b""
    while told.count(b"\n") < 15:
        told += os.read(reader, 4096)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    while more := os.read(reader, 4096):
        told += more
    os.close(reader)
    saved = {ranking.id for ranking in store.rankings()}

    assert {int(line) for line in told.split(b"\n")[:-1]} <= saved
    assert len(saved) - told.count(b"\n") in (0, 1)
    assert store._rows("PRAGMA integrity_check") == [("ok",)]


def test_a_backup_taken_while_open_is_a_sound_private_copy(store: Store, tmp_path: Path) -> None:
    """The copy passes the integrity check, holds everything, and only its owner may read it."""
    store.add_ranking(vote(*answered(store, "q")))
    store.backup(tmp_path / "copy.db")
    copy = Store(tmp_path / "copy.db")
    found = (copy.counts(), copy._rows("PRAGMA integrity_check"))
    copy.close()

    assert (store.counts(), [("ok",)]) == found
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


# -- trouble with the file


def grown(path: Path) -> None:
    """A closed store of some forty pages."""
    store = Store(path)
    for number in range(150):
        entry = answered(store, f"question {number} " + "word " * 60)
        if number % 3 == 0:
            store.add_ranking(vote(*entry))
    store.close()


@pytest.fixture(scope="module")
def grown_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grown") / "workbench.db"
    synchronous, Store._open = Store._open, lambda self: (synchronous(self), self._db.execute("PRAGMA synchronous=OFF"))
    try:
        grown(path)
    finally:
        Store._open = synchronous
    return path


def read_everything(path: Path) -> None:
    store = Store(path)
    try:
        for prompt in store.prompts():
            store.completions(prompt.id)
        list(store.judged())
        store.counts()
        queued(store)
    finally:
        store.close()


def test_a_zeroed_page_is_named_and_never_written_to(grown_file: Path, path: Path) -> None:
    """Whichever page was zeroed: reading raises CorruptStoreError or finds nothing wrong, and the file stays."""
    pristine = grown_file.read_bytes()
    outcomes = []
    for page in range(len(pristine) // 4096):
        path.write_bytes(pristine[: page * 4096] + bytes(4096) + pristine[(page + 1) * 4096 :])
        before = content(path)
        try:
            read_everything(path)
            outcomes.append("")
        except CorruptStoreError as error:
            outcomes.append(error.hint)
        assert before == content(path)

    assert outcomes[0]
    assert sum(map(bool, outcomes)) > len(outcomes) / 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"\x89PNG\r\n\x1a\n" + data[8:],
        lambda data: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 40,
        lambda data: b"not a database, but text\n" * 50,
    ],
    ids=["half", "png header", "png", "text"],
)
def test_a_damaged_file_is_named_and_left_alone(grown_file: Path, path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Half a file, a picture, a text: a CorruptStoreError with a hint, and not a byte changes."""
    path.write_bytes(damage(grown_file.read_bytes()))
    before = content(path)
    with pytest.raises(CorruptStoreError) as caught:
        read_everything(path)

    assert (before, True) == (content(path), bool(caught.value.hint))


def test_another_programs_database_is_refused(path: Path) -> None:
    """A sound SQLite file that is not ours gets no tables of ours."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url)")
    other.close()
    before = content(path)
    with pytest.raises(CorruptStoreError, match="another program"):
        Store(path)

    assert before == content(path)


def test_a_newer_workbenchs_file_is_refused_and_unchanged(store: Store, path: Path) -> None:
    """A schema from the future is a sentence, not a migration."""
    store._db.execute("PRAGMA user_version = 1000")
    store.close()
    before = content(path)
    with pytest.raises(NewerStoreError, match="newer workbench"):
        Store(path)

    assert before == content(path)


def test_a_read_only_folder_can_be_browsed_and_not_voted_in() -> None:
    """Somebody who may not write reads everything, and a vote is a ProjectError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "workbench.db")
        entry = answered(store, "q")
        store.close()
        (folder / "workbench.db").chmod(0o444)
        folder.chmod(0o555)

        def browse_and_vote() -> None:
            if os.getuid() == 0:
                os.setuid(65534)  # root may write anywhere, so be nobody
            opened = Store(folder / "workbench.db")
            assert opened.counts().completions == 2
            with pytest.raises(ProjectError, match="Not saved"):
                opened.add_ranking(vote(*entry))
            assert opened.rankings() == []

        status = in_child(browse_and_vote)
        folder.chmod(0o755)

    assert status == 0


def test_a_full_disk_is_a_sentence_and_loses_nothing(store: Store, path: Path) -> None:
    """Where the file can grow no further: a DiskFullError, and all that was saved before is there."""
    answered(store, "saved before")
    limit = path.stat().st_size + 8192

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        mine = Store(path)
        with pytest.raises(DiskFullError, match="full"):
            mine.add_prompts([ask(f"{number} " + "word " * 2000) for number in range(100)])
        assert "saved before" in [prompt.text for prompt in mine.prompts()]

    assert in_child(fill) == 0
    assert store._rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("gone", ["folder", "file"])
def test_a_vote_after_the_folder_went_is_not_called_saved(path: Path, gone: str) -> None:
    """Moving the folder or the file away under an open project makes the next vote an error, not a silent loss."""
    folder = path.parent / "project"
    folder.mkdir()
    store = Store(folder / "workbench.db")
    entry = answered(store, "q")
    (folder if gone == "folder" else folder / "workbench.db").rename(path.parent / "elsewhere")
    with pytest.raises(WorkbenchError, match="Not saved"):
        store.add_ranking(vote(*entry))
    store.close()


def test_a_writer_that_holds_the_file_too_long_is_told_of(store: Store, path: Path) -> None:
    """While another process holds a write the vote waits, and then says who is in the way."""
    entry = answered(store, "q")
    store._db.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ProjectError, match="another workbench"):
        store.add_ranking(vote(*entry))
    other.execute("ROLLBACK")
    other.close()

    assert store.add_ranking(vote(*entry)) == 1


def test_completions_that_could_not_be_stored_come_with_the_next_look(tmp_path: Path) -> None:
    """Where taking in a sampling run's completions fails they are read again, not passed over for ever."""
    bench = Bench.create(tmp_path / "project")
    prompt_id = bench.store.add_prompts([ask("q")])[0]
    run = bench.runs.create(make_job(kind="sample", action="transformers", settings={}), {"prompts": []})
    FakeWorker(run).write(*(Completed(prompt_id=prompt_id, n=n, text=f"answer {n}") for n in range(3)))
    bench.store._db.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(bench.paths.store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ProjectError, match="another workbench"):
        bench.ingest()
    other.execute("ROLLBACK")
    other.close()

    assert bench.ingest() == 3
    bench.close()


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    """Opening a project in a folder that is not there names the path."""
    with pytest.raises(ProjectError, match="cannot be opened"):
        Store(tmp_path / "nowhere" / "workbench.db")


def test_only_the_owner_may_read_the_file(store: Store, path: Path) -> None:
    """Prompts and votes are private: mode 0600."""
    assert path.stat().st_mode & 0o777 == 0o600
