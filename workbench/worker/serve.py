"""The child's side of a warm model: JSON lines in on stdin, JSON lines out on what was stdout.

In: {"op": "load", ...}, then {"op": "ask", "id", "turns", ...} and {"op": "cancel", "id"}; the end of stdin is the end.
Out: "ready", then per question "delta"s and one "done" or "error". A later "load" is answered by "ready" where the
model has the same weights under it, which are kept, and by "elsewhere" where it needs a child of its own. Prints of
libraries go to stderr.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, MemoryFullError, WorkbenchError
from workbench.job import BaseRef
from workbench.paths import ProjectPaths
from workbench.worker import endings
from workbench.worker.turn import Turn
from workbench.worker.warm import Asked, GgufModel, TransformersModel, Warm

if TYPE_CHECKING:
    from workbench.exports.source import Source

FLUSH_SECONDS = 0.03
"""Pieces that come faster than a person sees are sent together."""

GIVE_WAY_SECONDS = 20.0
"""A model on the card that was not asked for so long makes way for a run that waits: long enough to type a question."""


def serve() -> int:
    """Serves one model until stdin ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    return _Server(out).run()


class _Server:
    """The loop of the child: requests are read in a thread, so that a cancel reaches an answer under way."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled = 0
        """Questions up to this number are cancelled."""

    def run(self) -> int:
        threading.Thread(target=self._read, daemon=True).start()
        request = self._requests.get()
        turn = Turn(title_of(request), lambda behind: self._send({"type": "waiting", "behind": behind}))
        began = time.monotonic()
        try:
            model = load(request, turn)
        except (WorkbenchError, RuntimeError, MemoryError) as error:
            self._error(error, 0)
            return 1
        self._ready(model, began)
        while request := self._next(turn):
            try:
                if request["op"] == "load":
                    self._change(model, request)
                else:
                    self._answer(model, request)
            except (WorkbenchError, RuntimeError, MemoryError) as error:
                self._error(error, int(request.get("id", 0)))
        return 0

    def _next(self, turn: Turn) -> dict[str, Any]:
        """The next request; none when the card is for somebody else now."""
        while True:
            try:
                return self._requests.get(timeout=GIVE_WAY_SECONDS if turn.held else None)
            except queue.Empty:
                if wanted_by := turn.wanted_by:
                    self._send({"type": "gone", "to": wanted_by})
                    return {}

    def _ready(self, model: Warm, began: float, *, kept: bool = False) -> None:
        facts = {name: getattr(model, name) for name in ("device", "dtype", "context", "template", "note")}
        self._send({"type": "ready", "seconds": time.monotonic() - began, "kept": kept, **facts})

    def _change(self, model: Warm, request: dict[str, Any]) -> None:
        """Another model on the weights that are there; where it is on others, says so."""
        began = time.monotonic()
        found = source_of(request) if request["kind"] != "gguf" else None
        if found and isinstance(model, TransformersModel) and model.can_wear(found.model, found.adapter):
            model.wear(found.adapter, found.tokenizer)
            self._ready(model, began, kept=True)
        else:
            self._send({"type": "elsewhere"})

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if request["op"] == "cancel":
                self._cancelled = max(self._cancelled, int(request["id"]))
            else:
                self._requests.put(request)
        os._exit(0)  # the parent is gone or has closed us: nobody reads what is still being said

    def _answer(self, model: Warm, request: dict[str, Any]) -> None:
        number = int(request["id"])
        rule = Asked(
            float(request["temperature"]),
            float(request["top_p"]),
            int(request["max_tokens"]),
            int(request["seed"]),
            request.get("stop", ()),
        )
        prompt = model.prompt(request["turns"])
        room = model.context - len(prompt)
        if room < 1:
            raise InputError(
                f"The conversation is {len(prompt)} tokens long; the model reads {model.context}.", "Start a new one."
            )
        rule.max_tokens = min(rule.max_tokens, room)
        began, first = time.monotonic(), 0.0
        for piece in self._bundled(stopped_at(model.answer(prompt, rule), rule), number, rule):
            first = first or time.monotonic() - began
            self._send({"type": "delta", "id": number, "text": piece})
        row = {"tokens": rule.tokens, "seconds": time.monotonic() - began, "first_seconds": first}
        self._send({"type": "done", "id": number, "finish": rule.finish, **row})

    def _bundled(self, pieces: Iterator[str], number: int, rule: Asked) -> Iterator[str]:
        """The pieces, those within a moment joined; ends when the answer was cancelled."""
        held, sent = "", 0.0
        for piece in pieces:
            held += piece
            if self._cancelled >= number:
                rule.finish = "cancelled"
                break
            if time.monotonic() - sent >= FLUSH_SECONDS:
                yield held
                held, sent = "", time.monotonic()
        if held:
            yield held

    def _error(self, error: BaseException, number: int) -> None:
        if not isinstance(error, WorkbenchError):
            if not endings.is_out_of_memory(error):
                raise error
            error = MemoryFullError(
                "The model ran out of memory.", "Shorten the conversation, or choose a smaller one."
            )
        kind = type(error).__name__
        self._send({"type": "error", "id": number, "kind": kind, "message": error.message, "hint": error.hint})

    def _send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message).encode() + b"\n")


def title_of(request: dict[str, Any]) -> str:
    """What others read who wait for the card meanwhile."""
    kind, name = str(request["kind"]), str(request["name"])
    return f"{Path(str(request['project'])).name}: chat with {f'run {name}' if kind == 'run' else Path(name).name}"


def load(request: dict[str, Any], turn: Turn) -> Warm:
    """The model that the parent asked for; on a card once it is its turn."""
    if request["kind"] == "gguf":
        return GgufModel(Path(str(request["name"])), turn)
    found = source_of(request)
    return TransformersModel(found.model, found.adapter, found.tokenizer, turn)


def source_of(request: dict[str, Any]) -> Source:
    """The files of the run or base that the parent asked for."""
    from workbench.exports import source

    name = str(request["name"])
    if request["kind"] == "run":
        return source.of_run(ProjectPaths(Path(request["project"])).run(name).root, checkpoint=request["checkpoint"])
    return source.of_base(BaseRef(name, name))


def stopped_at(pieces: Iterator[str], rule: Asked) -> Iterator[str]:
    """The pieces up to the first stop text. What might be the beginning of one is held back until it is not."""
    held = ""
    for piece in pieces:
        held += piece
        places = [place for place in (held.find(text) for text in rule.stop) if place >= 0]
        if places:
            rule.finish = "stop"
            held = held[: min(places)]
            break
        keep = max((_overlap(held, text) for text in rule.stop), default=0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
