"""A small project for the screens' tests: real store, real folders, no worker and no torch."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from tests.projects import Copies
from tests.ui.quick import _quick  # noqa: F401  # a fixture of every test here
from workbench.bench import Bench
from workbench.events import Completed
from workbench.hardware import Hardware
from workbench.records import ImportReport, NewPrompt, Origin, Turn

if TYPE_CHECKING:
    from tests.ui.ranking import Time

WORDS = ("tall", "early", "wide", "soft", "loud", "quick", "clean", "sharp", "warm", "dry", "full", "deep")
SIZES = [(80, 24), (200, 50)]
PATIENCE_SECONDS = 60.0
MACHINE = Hardware("test card", 12 * 2**30, 11 * 2**30, 32 * 2**30, 8, "570.00")
HOSTILE = (
    "\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[2J\x9b31m\x90q\x9c",
    "[@click=app.quit]click me[/] [/] [b]bold [link=smb://x]y[/link] [0] [",
    "\u202eright to left\u200b\u2066 \ud83d\udc69\u200d\ud83d\udcbb zalgo\u0301\u0302\u0303 \u5bbd\u5b57\u7b26",
    "x" * 1_000_000,
)
"""What a model or a data file may contain: escape sequences, markup actions, hidden characters, a megabyte."""


def asked(text: str) -> tuple[Turn, ...]:
    """A conversation of one question."""
    return (Turn("user", text),)


def tiny_base(folder: Path) -> Path:
    """A base model's folder of 25,600 random-free parameters: enough for everything but running it."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100, "hidden_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 512,
    }  # fmt: skip
    tensors = {name: {"dtype": "F16", "shape": [100, 64]} for name in ("model.embed_tokens.weight", "lm_head.weight")}
    for place, tensor in enumerate(tensors.values()):
        tensor["data_offsets"] = [place * 12_800, (place + 1) * 12_800]  # type: ignore[assignment]  # a header's numbers
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(25_600))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}), encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return folder


def add_answers(opened: Bench) -> None:
    """Twelve prompts, eight demonstrations, three held-out questions, and two answers each to the first six prompts."""
    prompts = [NewPrompt(asked(f"Say the opposite of {word}."), f"not {word}", "opposite") for word in WORDS]
    report = ImportReport(
        "opposites.jsonl", "prompt_completion", {"demonstrations": 8}, 8, ((9, "no prompt"),), "", "a" * 64
    )
    opened.store.add_import(report, prompts, [(i, f"The opposite of {WORDS[i]} is not {WORDS[i]}.") for i in range(8)])
    opened.store.add_prompts(NewPrompt(asked(f"Name a colour, number {n}."), split="held_out") for n in range(3))
    rows = [
        Completed(prompt_id=p.id, n=n, text=f"Answer {n} to: {p.text}", tokens=7, t=0.0)
        for p in opened.store.prompts()[:6]
        for n in range(2)
    ]
    opened.store.add_completions("earlier", Origin("bundled", max_tokens=64), rows)


def fill(opened: Bench) -> Bench:
    """What `add_answers` adds, on the machine of every test."""
    add_answers(opened)
    return on_machine(opened)


def on_machine(opened: Bench) -> Bench:
    """The project on the machine of every test, so that pictures do not depend on this one."""
    opened.__dict__["hardware"] = MACHINE
    return opened


@pytest.fixture
def bench(tmp_path: Path, copied: Copies) -> Iterator[Bench]:
    """A small project called demo: see `add_answers`."""
    opened = on_machine(copied(tmp_path / "demo", add_answers))
    yield opened
    opened.close()


@pytest.fixture
def tiny_bench(bench: Bench) -> Bench:
    """The same on a base of a fixed size, so that pictures do not change when the bundled base is trained anew."""
    bench.base = str(tiny_base(Path.home() / "models" / "tiny"))
    return bench


@pytest.fixture
def empty_bench(tmp_path: Path, copied: Copies) -> Iterator[Bench]:
    """A project without anything in it."""
    opened = copied(tmp_path / "empty")
    yield opened
    opened.close()


def add_four_each(bench: Bench) -> None:
    """Four prompts with four answers each."""
    ids = bench.store.add_prompts(NewPrompt(asked(f"Describe colour number {n}.")) for n in range(4))
    rows = [Completed(prompt_id=i, n=n, text=f"answer {n} to prompt {i}") for i in ids for n in range(4)]
    bench.store.add_completions("0001", Origin("bundled"), rows)


@pytest.fixture
def kway(tmp_path: Path, copied: Copies) -> Iterator[Bench]:
    """Four prompts with four answers each."""
    bench = copied(tmp_path / "kway", add_four_each)
    yield bench
    bench.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock that Rank goes by, moved by the test."""
    from tests.ui.ranking import moved_by_hand  # late: it imports this module

    return moved_by_hand(monkeypatch)


async def settle(pilot: Pilot[Any]) -> None:
    """Waits until the app has nothing left to do: workers ended, their messages handled, the screen drawn."""
    busy = True
    while busy:
        with contextlib.suppress(WorkerCancelled):  # a newer look took its place
            await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        busy = any(not worker.is_finished for worker in pilot.app.workers)


async def until(pilot: Pilot[Any], text: str) -> None:
    """Waits until the screen shows a text, and says what it shows instead after a minute."""
    end = time.monotonic() + PATIENCE_SECONDS
    while text not in (now := drawn(pilot.app)):
        assert time.monotonic() < end, f"{text!r} was never shown, but:\n{now}"
        await pilot.pause(0.02)


def drawn(app: App[Any]) -> str:
    """What the terminal shows, as lines of text."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())
