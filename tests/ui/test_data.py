"""Data: reading what is there, finding rows, and importing a file with its guess in view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.importing import ImportScreen
from screens.widgets.asking import complete
from screens.widgets.lengths import LengthChart
from tests.ui.conftest import SIZES, drawn, settle
from workbench import examples, paths
from workbench.bench import Bench
from workbench.lengths import MARKS, Spread, measure
from workbench.tokens import ChatTokens

FOUND = Spread("demonstrations", 8_000, (*range(100, 400, 2), *range(400, 1_200, 20), 9_000))


@pytest.mark.parametrize("size", SIZES)
def test_data_looks_right(
    bench: Bench, size: tuple[int, int], snap_compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kinds in a row, the list, the record in full below it or beside it, and below that how long the rows are."""
    monkeypatch.setattr("workbench.lengths.measure", lambda bench, kind: FOUND)

    async def open_demonstrations(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        await pilot.press("3", "tab")
        await settle(pilot)
        await pilot.press("j", "j")
        await settle(pilot)

    assert snap_compare(BenchApp(bench), terminal_size=size, run_before=open_demonstrations)


async def test_lengths_take_turns_with_the_record_at_80_columns(bench: Bench) -> None:
    """l shows how long the rows are by the base's own tokenizer and what would be cut; l shows the record again."""
    app = BenchApp(bench, "data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "tokens of" not in drawn(app)
        await pilot.press("tab", "l")
        await settle(pilot)
        tokens = ChatTokens(paths.BUNDLED_BASE)
        rows = examples.sft_rows(bench.store.demonstrations())
        longest = max(len(tokens.row(row["prompt"], row["completion"]).ids) for row in rows)

        assert f"longest {longest}  tokens of prompt and answer" in drawn(app)
        assert "512: none" in drawn(app)
        await pilot.press("l")
        await settle(pilot)
        assert "tokens of" not in drawn(app)


async def test_a_base_without_a_tokenizer_is_said_where_the_lengths_would_be(tiny_bench: Bench) -> None:
    """The data can still be read; the sentence stands in the panel."""
    app = BenchApp(tiny_bench, "data")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
        told = " ".join(drawn(app).split())

        assert "The tokenizer or chat template of tiny cannot be used" in told
        assert "✗" not in told


def test_marks_say_how_many_rows_are_longer() -> None:
    """Of 191 rows 35 are longer than 512, 9 than 1,024 and one than 2,048; that one is left off the axis."""
    found = [FOUND.longer_than(mark) for mark in MARKS]

    assert found == [35, 9, 1]
    assert FOUND.longest == 9_000
    assert FOUND.axis_end < 2_048
    assert sum(FOUND.columns(50)) == len(FOUND.sizes) - 1
    assert len(FOUND.columns(50)) <= 50
    assert Spread("prompts", 0, ()).columns(10) == [0] * 2


@pytest.mark.parametrize("columns", [52, 74])
async def test_the_words_of_the_lengths_are_not_cut(columns: int) -> None:
    """In half a screen, too: how many rows are beyond the axis stands at its end."""

    class Lone(App[None]):
        def compose(self) -> ComposeResult:
            yield LengthChart()

    app = Lone()
    async with app.run_test(size=(columns, 14)) as pilot:
        app.query_one(LengthChart).spread = FOUND
        await pilot.pause()
        text = drawn(app)

    assert text.splitlines()[-2].rstrip().endswith("1 longer →")
    assert "…" not in text


def test_of_many_rows_an_even_part_is_measured(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for five, of twelve prompts every third is measured, and all are counted."""
    monkeypatch.setattr("workbench.lengths.MEASURED_ROWS", 5)
    found = measure(bench, "prompts")

    assert (found.rows, len(found.sizes)) == (12, 4)
    assert measure(bench, "pairs").sizes == ()


async def test_a_filter_asks_the_store_and_esc_shows_all_again(bench: Bench) -> None:
    """`/` narrows the list to rows with the text in them; esc brings the rest back."""
    app = BenchApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3", "slash", "w", "i", "d", "e")
        await settle(pilot)

        assert "/ filter" not in drawn(app).splitlines()[-1]  # a slash is written now
        assert "opposite of wide" in drawn(app)
        assert "opposite of tall" not in drawn(app)
        await pilot.press("escape")
        await settle(pilot)

        assert "opposite of tall" in drawn(app)


async def test_a_file_is_shown_as_guessed_and_imported_on_enter(bench: Bench, tmp_path: Path) -> None:
    """A missing file is told, the guess and the bad row are shown, s takes another layout and back, enter imports."""
    file = tmp_path / "new.jsonl"
    rows = [{"instruction": f"Do {n}.", "input": "", "output": f"Done {n}."} for n in range(4)]
    file.write_text("\n".join(json.dumps(row) for row in [*rows, {"instruction": "cut"}]), encoding="utf-8")
    app = BenchApp(bench)
    async with app.run_test(size=(100, 40)) as pilot:
        await settle(pilot)
        await pilot.press("3", "i")
        await pilot.pause()
        app.screen.query_one("#import-path").value = "none.jsonl"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settle(pilot)

        assert "✗" in drawn(app)
        assert "none.jsonl" in drawn(app)
        app.screen.query_one("#import-path").value = str(file)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settle(pilot)
        first = drawn(app)

        assert "Alpaca" in first
        assert "4 good · 1 rejected" in first
        assert "line 5" in first
        await pilot.press("s")
        await settle(pilot)

        assert drawn(app) != first
        await pilot.press("s")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)

        assert bench.store.counts().demonstrations == 12
        assert "new.jsonl" in drawn(app)
        assert "rejected rows" in drawn(app)


def test_paths_are_completed_from_the_disk(tmp_path: Path) -> None:
    """The first entry that fits is suggested, a folder with its slash; nothing where nothing fits."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.jsonl").touch()

    assert complete(f"{tmp_path}/fo") == f"{tmp_path}/folder/"
    assert complete(f"{tmp_path}/fi") == f"{tmp_path}/file.jsonl"
    assert complete(f"{tmp_path}/x") is None
    assert complete("plain") is None
    assert complete("/\0") is None


async def test_a_file_that_will_be_refused_says_so_before(bench: Bench, tmp_path: Path) -> None:
    """Two bad rows of three: the preview says it, names s and not a flag, and enter does nothing."""
    file = tmp_path / "bad.jsonl"
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": ""}, {"prompt": "c", "completion": ""}]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    app = BenchApp(bench)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("3", "i")
        await pilot.pause()
        app.screen.query_one("#import-path").value = str(file)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settle(pilot)
        told = drawn(app)

        assert "2 of 3 rows cannot be read so: it will not be imported" in told
        assert "press s to read it as" in told
        assert "enter imports" not in told
        assert "--as" not in told
        await pilot.press("enter")
        await settle(pilot)

        assert drawn(app) == told


async def test_the_count_of_imports_is_there_from_the_start(bench: Bench) -> None:
    """Every kind has its count whatever kind is shown, imports too."""
    async with BenchApp(bench, "data").run_test(size=(80, 24)) as pilot:
        await settle(pilot)

        assert "imports 1" in drawn(pilot.app)


async def test_the_kinds_are_no_links(bench: Bench) -> None:
    """Textual draws a link in the terminal's blue, and the chosen kind lies on blue in the terminal's own theme."""
    app = BenchApp(bench, "data")
    async with app.run_test(size=(80, 24)) as pilot:
        app.theme = "terminal"
        await settle(pilot)
        row = app.screen.query_one("#kinds").render_line(0)
        styles = [segment.style for segment in row if "prompts" in segment.text]

        assert all(style is not None and style.color != style.bgcolor for style in styles)
        assert styles


async def test_esc_leaves_the_import_at_once_where_no_file_was_read(bench: Bench, tmp_path: Path) -> None:
    """The border says esc back: it is meant so. With a file read, esc in the path goes back to what was read."""
    file = tmp_path / "new.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    app = BenchApp(bench, "data")
    async with app.run_test(size=(100, 40)) as pilot:
        await settle(pilot)
        await pilot.press("i", "escape")
        await settle(pilot)
        assert not isinstance(app.screen, ImportScreen)
        await pilot.press("i")
        await pilot.pause()
        app.screen.query_one("#import-path").value = str(file)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("p")
        await settle(pilot)
        assert "enter reads the file" in drawn(app)
        await pilot.press("escape")
        await settle(pilot)
        assert "enter imports" in drawn(app)


async def test_every_kind_is_named_beside_a_record(bench: Bench) -> None:
    """At 110 columns the kinds take two rows where one is too short, so that none is out of sight."""
    async with BenchApp(bench, "data").run_test(size=(110, 32)) as pilot:
        await settle(pilot)
        shown = drawn(pilot.app)

    assert all(kind in shown for kind in ("prompts 12", "demonstrations 8", "pairs 0", "held out 3", "imports 1"))
    assert "2,048: none" in shown
