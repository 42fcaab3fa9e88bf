"""Models: what can be tuned here, choosing one, adding one, and saying why one cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.widgets.records import Records
from tests.ui.conftest import SIZES, drawn, settle, tiny_base
from workbench import paths
from workbench.bench import Bench


async def open_models(pilot: Pilot[Any]) -> None:
    """The Models screen, read."""
    await settle(pilot)
    await pilot.press("2")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES)
def test_models_look_right(
    tiny_bench: Bench, size: tuple[int, int], snap_compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list with fit and export in words, and everything known about the highlighted base."""
    monkeypatch.setattr(paths, "BUNDLED_BASE", Path("not here"))  # its size changes when it is trained anew
    assert snap_compare(BenchApp(tiny_bench), terminal_size=size, run_before=open_models)


async def test_models_are_added_chosen_and_refused(bench: Bench, tmp_path: Path) -> None:
    """`a` adds a folder of models; enter takes a usable one; one of pickles and a path that is not there say why."""
    tiny_base(tmp_path / "models" / "mine")
    pickled = tmp_path / "models" / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 8}), encoding="utf-8")
    (pickled / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}), encoding="utf-8")
    (pickled / "pytorch_model.bin").touch()
    app = BenchApp(bench)
    async with app.run_test(size=(120, 40)) as pilot:
        await open_models(pilot)
        await _add(pilot, "/no/such/folder")

        assert "There is no folder /no/such/folder." in drawn(app).splitlines()[-2]
        await _add(pilot, str(tmp_path / "models"))
        await pilot.press("g", "j", "enter")
        await settle(pilot)

        assert bench.base == str(tmp_path / "models" / "mine")
        assert "mine is now this project's base." in drawn(app)
        assert "demo · mine" in drawn(app).splitlines()[0]
        await pilot.press("g", "j", "j", "enter")
        await settle(pilot)

        assert "✗ unusable" in drawn(app)
        assert "pickles" in drawn(app)
        assert "cannot be used as a base" in drawn(app)
        assert bench.base.endswith("mine")


async def _add(pilot: Pilot[Any], text: str) -> None:
    await pilot.press("a")
    pilot.app.screen.query_one("#models-ask").value = text  # type: ignore[attr-defined]
    await pilot.press("enter")
    await settle(pilot)


async def test_whether_it_can_be_exported_is_read_at_once_at_80_columns(tiny_bench: Bench) -> None:
    """Before a base is trained: no, why, and the disk that its merged weights need, without scrolling."""
    async with BenchApp(tiny_bench).run_test(size=(80, 24)) as pilot:
        await open_models(pilot)
        pilot.app.screen.query_one(Records).select(tiny_bench.base)
        await settle(pilot)
        told = " ".join(drawn(pilot.app).split())

    assert "GGUF export no, because its tokenizer" in told
    assert "of disk." in told


async def test_the_list_is_whole_beside_what_is_known(bench: Bench) -> None:
    """At 110 columns both stand side by side, and no column of the list is cut or left out for it."""
    async with BenchApp(bench).run_test(size=(110, 32)) as pilot:
        await open_models(pilot)
        head, first = drawn(pilot.app).splitlines()[3:5]

    assert "training here  GGUF" in head
    assert "bundled" in first
    assert "✓ fits" in first


async def test_what_is_known_of_a_base_can_be_read_to_its_end(bench: Bench) -> None:
    """At 80×24 the text is longer than its panel: ctrl+f scrolls it on and ctrl+y back, the list keeping the cursor."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_models(pilot)
        assert app.screen.active_bindings["enter"].enabled
        assert "comes with the workbench" not in drawn(app)
        await pilot.press("ctrl+f")
        await settle(pilot)
        assert "comes with the workbench" in drawn(app)
        await pilot.press("ctrl+y")
        await settle(pilot)
        assert "the project's base" in drawn(app)
