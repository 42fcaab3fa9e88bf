"""The parent's side of a warm model, against a child that speaks the protocol without a model."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import BaseModelError, ResourceError, RunError
from workbench.paths import ProjectPaths
from workbench.records import Turn
from workbench.session import ModelRef, Session, death

CHILD = """
import json, os, signal, sys
def say(**row): print(json.dumps(row), flush=True)
load = json.loads(sys.stdin.readline())
if load["name"] == "missing":
    say(type="error", id=0, kind="BaseModelError", message="There is no missing.", hint="Get it.")
    sys.exit(1)
print("library chatter", flush=True)
say(type="ready", device="cpu", dtype="float32", context=64, seconds=0.1, template="its own")
for line in sys.stdin:
    row = json.loads(line)
    if row["op"] == "cancel":
        continue
    if row["op"] == "load":
        same = row["name"].startswith("/somewhere")
        say(type="ready", context=65, kept=True) if same else say(type="elsewhere")
        continue
    text = row["turns"][-1]["content"]
    if text == "refuse":
        say(type="error", id=row["id"], kind="InputError", message="Too long.", hint="Shorten it.")
        continue
    for word in ("you", " said ", text):
        say(type="delta", id=row["id"], text=word)
    if text == "die":
        print("GGML_ASSERT(n > 0) failed", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
    if text == "wait":
        assert json.loads(sys.stdin.readline())["op"] == "cancel"
        say(type="done", id=row["id"], tokens=3, seconds=1.0, finish="cancelled")
        continue
    if text == "environment":
        say(type="delta", id=row["id"], text=" " + " ".join(sorted(os.environ)))
    say(type="done", id=row["id"], tokens=3, seconds=1.5, first_seconds=0.5, finish="stop")
"""


def asked(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session with the child that echoes."""
    ref = ModelRef("gguf", "/somewhere/model-Q8_0.gguf")
    made = Session(ref, ProjectPaths(tmp_path), (sys.executable, "-c", CHILD))
    yield made
    made.close()


def test_an_answer_comes_in_pieces_and_leaves_figures(session: Session) -> None:
    """The pieces joined are the answer; afterwards tokens, seconds and tokens/s are known."""
    loaded = session.start()

    assert list(session.ask(asked("hello"))) == ["you", " said ", "hello"]
    assert (loaded.device, loaded.context) == ("cpu", 64)
    assert session.answered is not None
    assert (session.answered.finish, session.answered.tokens_per_second) == ("stop", 2.0)


def test_an_error_of_the_child_is_raised_as_what_it_is_and_the_child_lives_on(session: Session) -> None:
    """A refused question raises the child's own sentence; the next question is answered."""
    session.start()

    with pytest.raises(Exception, match=r"Too long. Shorten it."):
        list(session.ask(asked("refuse")))
    assert "".join(session.ask(asked("again"))) == "you said again"


def test_a_model_that_cannot_be_loaded_says_so_at_the_start(tmp_path: Path) -> None:
    """The child's BaseModelError becomes the parent's, and no child is left."""
    session = Session(ModelRef("base", "missing"), ProjectPaths(tmp_path), (sys.executable, "-c", CHILD))

    with pytest.raises(BaseModelError, match="There is no missing"):
        session.start()
    assert not session.alive


def test_a_child_that_aborts_in_the_middle_is_a_sentence_and_can_be_started_again(session: Session) -> None:
    """What was said before stays with the caller; the death names signal and file; a new start answers."""
    session.start()
    pieces: list[str] = []

    with pytest.raises(RunError, match=r"llama.cpp gave up on model-Q8_0.gguf \(SIGABRT\).*GGML_ASSERT") as caught:
        pieces.extend(session.ask(asked("die")))
    with pytest.raises(RunError, match="SIGABRT"):
        session.ask(asked("hello"))
    session.start()

    assert "conversation is kept" in caught.value.hint
    assert "".join(session.ask(asked("hello"))) == "you said hello"


def test_a_child_keeps_its_weights_where_the_next_model_has_them_too(session: Session) -> None:
    """Another adapter of the same base is put on in the same process; a model on other weights gets a new one."""
    session.start()
    first = session._child
    session.ref = ModelRef("run", "/somewhere/else")
    changed = session.start()
    same = session._child
    session.ref = ModelRef("base", "elsewhere")
    loaded = session.start()

    assert (changed.kept, changed.context, same) == (True, 65, first)
    assert (loaded.kept, loaded.context) == (False, 64)
    assert session._child is not first
    assert "".join(session.ask(asked("hello"))) == "you said hello"


def test_a_cancel_ends_the_answer_under_way(session: Session) -> None:
    """Cancelled from another thread, the iterator ends by itself with finish 'cancelled'."""
    session.start()
    answer = session.ask(asked("wait"))
    first = next(answer)
    canceller = threading.Thread(target=session.cancel)
    canceller.start()

    rest = list(answer)

    canceller.join()
    assert [first, *rest] == ["you", " said ", "wait"]
    assert session.answered is not None
    assert session.answered.finish == "cancelled"


def test_an_answer_left_early_does_not_leak_into_the_next(session: Session) -> None:
    """Leaving the iterator cancels; what the child still said of it is not taken for the next answer."""
    session.start()
    answer = session.ask(asked("one"))
    next(answer)
    del answer

    assert "".join(session.ask(asked("two"))) == "you said two"


def test_the_child_sees_no_secret(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and proxies of the environment stay with the parent, what a card needs is passed on; the hub is off."""
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "HSA_OVERRIDE_GFX_VERSION", "BNB_CUDA_VERSION"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "secret")
    session.start()

    seen = "".join(session.ask(asked("environment"))).split()

    assert not {"HF_TOKEN", "HTTPS_PROXY"} & set(seen)
    assert {"HF_HUB_OFFLINE", "PYTORCH_CUDA_ALLOC_CONF", "HSA_OVERRIDE_GFX_VERSION", "BNB_CUDA_VERSION"} <= set(seen)


def test_closing_ends_the_child(session: Session) -> None:
    """After close there is no process, and asking says that the model was closed."""
    session.start()
    assert session._child is not None
    pid = session._child.pid

    session.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RunError, match="was closed"):
        session.ask(asked("hello"))


def test_two_models_side_by_side_do_not_mix(tmp_path: Path) -> None:
    """Two sessions answer two questions at once, each its own."""
    project = ProjectPaths(tmp_path)
    pair = [Session(ModelRef("base", name), project, (sys.executable, "-c", CHILD)) for name in ("a", "b")]
    try:
        for session in pair:
            session.start()
        answers = [session.ask(asked(session.ref.name)) for session in pair]

        assert ["".join(answer) for answer in answers] == ["you said a", "you said b"]
    finally:
        for session in pair:
            session.close()


@pytest.mark.parametrize(
    ("code", "log", "kind", "words"),
    [
        (-signal.SIGKILL, [], ResourceError, "want of memory"),
        (-signal.SIGTERM, ["a warning"], RunError, r"died \(SIGTERM\)\.$"),
        (1, ["ValueError: odd"], RunError, "exit status 1.*ValueError: odd"),
    ],
)
def test_a_death_names_its_likely_cause(code: int, log: list[str], kind: type[Exception], words: str) -> None:
    """Killed, ended, failed: each is told apart; the last line is quoted only where it can be the reason."""
    error = death(ModelRef("run", "0003"), code, log)

    assert type(error) is kind
    assert re.search(words, error.message)


def test_a_file_that_kills_its_first_reader_is_the_person_s() -> None:
    """llama.cpp aborting while it loads a file is a wrong file (exit code 2); aborting later is the run's end (5)."""
    ref, code = ModelRef("gguf", "/somewhere/model.gguf"), -signal.SIGABRT

    assert [death(ref, code, [], loaded=loaded).exit_code for loaded in (False, True)] == [2, 5]
