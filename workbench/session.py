"""The parent's side of a warm model: a child process that holds one model and answers over its stdin and stdout.

A fresh process costs seconds of imports, so the child stays until it is closed. A model file that makes llama.cpp
abort, or a template that eats all memory, kills the child and not the app: the next `ask` says so in a sentence, the
conversation is the caller's and is kept, and `start` makes a new child. Several models side by side are several
Sessions. Never imports torch.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench import errors
from workbench.errors import InputError, ResourceError, RunError, WorkbenchError
from workbench.paths import ProjectPaths
from workbench.records import Conversation, turns_to_json
from workbench.runs import worker_environment

COMMAND = (sys.executable, "-P", "-X", "utf8", "-m", "workbench.worker", "--serve")

START_SECONDS = 600.0
"""Loading an 8B model from a slow disk takes minutes; a child that says nothing for ten is stuck."""
CLOSE_SECONDS = 3.0
LOG_LINES = 40
"""Of the child's own words, kept for the sentence about its end."""

_LAST_WORDS = re.compile(r"assert|error|abort|terminate", re.IGNORECASE)


@dataclass(frozen=True)
class ModelRef:
    """A model to talk to: a run by its id, a base by its spec, or a GGUF file by its path."""

    kind: Literal["run", "base", "gguf"]
    name: str
    checkpoint: int | None = None

    @property
    def label(self) -> str:
        """What a person calls it."""
        if self.kind == "run":
            return f"run {self.name}" + (f" @{self.checkpoint}" if self.checkpoint is not None else "")
        return Path(self.name).name if self.kind == "gguf" else self.name


@dataclass(frozen=True)
class Loaded:
    """What the child says of the model it holds."""

    device: str = ""
    dtype: str = ""
    context: int = 0
    seconds: float = 0.0
    template: str = ""
    """Whose chat template is used: 'its own' or 'plain'."""
    kept: bool = False
    """Whether the weights were in memory already, and only an adapter was put on."""
    note: str = ""
    """What a person should know of how it was loaded."""


@dataclass(frozen=True)
class Answered:
    """How the last answer ended."""

    tokens: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0
    """From the question to the first token."""
    finish: str = "stop"
    """'stop' by itself, 'length' at max_tokens or the context's end, 'cancelled' by the person."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


class Session:
    """One warm model. `ask` blocks, so it is called from a thread; `cancel` and `close` may come from another."""

    def __init__(
        self,
        ref: ModelRef,
        project: ProjectPaths,
        command: Sequence[str] = COMMAND,
        *,
        on_wait: Callable[[str], None] = lambda title: None,
    ) -> None:
        """`on_wait` hears who holds the card while `start` waits for it, and nothing (an empty text) at the end."""
        self._command = command
        self._on_wait = on_wait
        self.ref = ref
        self.project = project
        self.loaded = Loaded()
        self.answered: Answered | None = None
        """Figures of the last complete answer; None while one is being given."""
        self._child: subprocess.Popen[bytes] | None = None
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []
        self._asked = 0
        self._closing = False
        self._held: ModelRef | None = None
        """What the child holds; another `ref` is put on at the next start."""
        self._waiting_for = ""
        """Who holds the card that the model is to be loaded on."""
        self._gone_for = ""
        """For whom the model made way."""

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> Loaded:
        """Starts the child and waits until its model is loaded; a WorkbenchError in its words where it is not.

        Where `ref` is another than the child holds, it changes: an adapter of the same base in a moment.
        """
        if self.alive and self._held == self.ref:
            return self.loaded
        if self.alive and self._changed():
            return self.loaded
        self.close()
        self._closing = False
        self._waiting_for = self._gone_for = ""
        self.loaded = Loaded()
        self._inbox, self._log = queue.Queue(), deque(maxlen=LOG_LINES)
        self._child = _spawn(self._command)
        self._readers = [
            threading.Thread(target=target, args=(stream, self._inbox), daemon=True)
            for target, stream in ((self._read_answers, self._child.stdout), (self._read_log, self._child.stderr))
        ]
        for reader in self._readers:
            reader.start()
        self._ask_to_load()
        try:
            message = self._loaded_in_turn()
        except WorkbenchError:
            self.close()
            raise
        self._is_loaded(message)
        return self.loaded

    def _ask_to_load(self) -> None:
        request = {"op": "load", "kind": self.ref.kind, "name": self.ref.name, "checkpoint": self.ref.checkpoint}
        self._send({**request, "project": str(self.project.root.absolute())})

    def _loaded_in_turn(self) -> dict[str, Any]:
        """The child's word that its model is loaded; while it waits for the card it may take any time."""
        message = self._receive(START_SECONDS)
        while message["type"] == "waiting":
            self._waiting_for = str(message.get("behind", ""))
            self._on_wait(self._waiting_for)
            message = self._receive(None if self._waiting_for else START_SECONDS)
        return message

    def _is_loaded(self, message: dict[str, Any]) -> None:
        self.loaded = Loaded(**{name: message[name] for name in Loaded.__dataclass_fields__ if name in message})
        self._held = self.ref

    def _changed(self) -> bool:
        """Whether the child could go on with the present `ref` on the weights it holds."""
        self.cancel()
        self._ask_to_load()
        message = self._receive(START_SECONDS)
        while message["type"] not in ("ready", "elsewhere"):  # what is left of an answer that was cancelled
            message = self._receive(START_SECONDS)
        if message["type"] == "ready":
            self._is_loaded(message)
        return bool(message["type"] == "ready")

    def ask(
        self,
        turns: Conversation,
        temperature: float = 0.7,
        top_p: float = 0.95,
        max_tokens: int = 512,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """The answer to a conversation, piece by piece; joined they are the whole. Afterwards `answered` has figures.

        Leaving the iterator early cancels the answer.
        """
        if not self.alive:
            raise self._death() if self._child is not None else RunError("The model is not loaded.", "Start it first.")
        self._asked += 1
        self.answered = None
        settings = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
        request = {"op": "ask", "id": self._asked, "turns": turns_to_json(turns), "stop": list(stop), **settings}
        self._send(request)
        return self._deltas(self._asked)

    def _deltas(self, number: int) -> Iterator[str]:
        try:
            while True:
                message = self._receive(None)
                if message.get("id") != number:
                    continue
                if message["type"] == "done":
                    known = Answered.__dataclass_fields__
                    self.answered = Answered(**{name: message[name] for name in known if name in message})
                    return
                yield str(message["text"])
        finally:
            if self.answered is None and self.alive:
                self.cancel()

    def cancel(self) -> None:
        """Ends the answer under way after its current token; the pieces so far have been given.

        A model that still waits for the card gives its place in the queue back.
        """
        if self._waiting_for:
            self.close()
        elif self.alive:
            with contextlib.suppress(WorkbenchError):
                self._send({"op": "cancel", "id": self._asked})

    def close(self) -> None:
        """Ends the child: politely, then surely."""
        child, self._closing = self._child, True
        if child is None:
            return
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()  # the child leaves at the end of its stdin, mid-answer too
        try:
            child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _send(self, request: dict[str, Any]) -> None:
        child = self._child
        try:
            with self._lock:
                if child is None or child.stdin is None or child.stdin.closed:
                    raise BrokenPipeError
                child.stdin.write(json.dumps(request).encode() + b"\n")
                child.stdin.flush()
        except OSError:
            raise self._death() from None

    def _receive(self, seconds: float | None) -> dict[str, Any]:
        """The child's next message; its errors are raised as what they are."""
        try:
            message = self._inbox.get(timeout=seconds)
        except queue.Empty:
            raise RunError(
                f"{self.ref.label} was not loaded within {START_SECONDS:g} s.", "Try a smaller model."
            ) from None
        if message is None:
            self._inbox.put(None)  # the end stays the end for whoever asks next
            raise self._death()
        if message["type"] == "error":
            found = getattr(errors, str(message.get("kind")), None)
            kind = found if isinstance(found, type) and issubclass(found, WorkbenchError) else RunError
            raise kind(str(message.get("message")), str(message.get("hint")))
        return message

    def _read_answers(self, stream: Any, inbox: queue.Queue[dict[str, Any] | None]) -> None:
        for line in stream:
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict) and message.get("type") == "gone":
                    self._gone_for = str(message.get("to"))
                elif isinstance(message, dict) and "type" in message:
                    inbox.put(message)
        inbox.put(None)

    def _read_log(self, stream: Any, inbox: queue.Queue[dict[str, Any] | None]) -> None:
        for line in stream:
            self._log.append(line.decode("utf-8", "replace").rstrip()[:400])

    def _death(self) -> WorkbenchError:
        """Why there is no child any more, as well as can be known."""
        if self._closing and self._waiting_for:
            return RunError(
                f"{self.ref.label} was not loaded: {self._waiting_for} holds the card.", "Ask again when that is done."
            )
        if self._gone_for:
            return RunError(
                f"{self.ref.label} made way for {self._gone_for}, which waited for the card.",
                "Ask again: it is loaded once more when the card is free.",
            )
        if self._closing or self._child is None:
            return RunError(f"{self.ref.label} was closed.", "Start it again.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(CLOSE_SECONDS)
        for reader in self._readers:  # its last words may still be on their way
            reader.join(CLOSE_SECONDS)
        log = [line for line in self._log if line.strip()]
        return death(self.ref, self._child.poll(), log, loaded=self.loaded != Loaded())


def death(ref: ModelRef, code: int | None, log: list[str], *, loaded: bool = True) -> WorkbenchError:
    """The end of a child with exit status `code`, in a sentence; a file it died of while loading is the person's."""
    again = "The conversation is kept; start the model again."
    number = -code if code is not None and code < 0 else 0
    # A process that was killed says nothing of it, so its last line is chance; llama.cpp's assertions are not.
    told = [line for line in log if not number or _LAST_WORDS.search(line)]
    said = f" Its last words: {told[-1]}" if told else ""
    if number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL) and ref.kind == "gguf":
        name = signal.Signals(number).name
        sentence = f"llama.cpp gave up on {ref.label} ({name}): the file is probably damaged.{said}"
        return RunError(sentence, again) if loaded else InputError(sentence, "Get the file again, or export it again.")
    if number == signal.SIGKILL:
        return ResourceError(
            f"{ref.label} was killed (SIGKILL), probably for want of memory.", f"{again} Close others first."
        )
    if number:
        return RunError(f"{ref.label} died ({signal.Signals(number).name}).{said}", again)
    return RunError(f"{ref.label} ended unexpectedly (exit status {code}).{said}", again)


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """The child, in its own session and with as little of our environment as a run's worker."""
    return subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=worker_environment(),
        start_new_session=True,
    )
