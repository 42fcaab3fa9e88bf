"""The list of runs: states, figures, filter, comparison, and deleting only after a yes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.live import LiveScreen
from screens.runs import RunsScreen
from screens.widgets.records import Records
from tests.fake_worker import FakeWorker, make_job
from tests.ui.conftest import drawn, settle
from workbench.bench import Bench
from workbench.events import Finished, Planned, Queued, Started, Step
from workbench.runs import Run
from workbench.runs.table import RunTable, differences


@pytest.fixture
def runs(bench: Bench) -> list[Run]:
    """A finished SFT run, a DPO run from it that died, and a second SFT run with another rate."""
    orders = (
        make_job(settings={"rank": 16, "learning_rate": 1e-3}, counts={"demonstrations": 8}),
        make_job(action="dpo", parent="0001", lineage=("0001",), settings={"rank": 16, "beta": 0.1}, name="polite"),
        make_job(settings={"rank": 16, "learning_rate": 2e-3}, counts={"demonstrations": 8}),
    )
    found = []
    for order in orders:
        run = bench.runs.create(order, {"train": [{"n": 1}]})
        worker = FakeWorker(run).sign_in()
        worker.write(Started(device="cpu", t=1.0), Planned(total_steps=40, t=1.0))
        worker.write(*(Step(step=n, metrics={"loss": 2 - n / 40}, seconds=1.0, t=1.0 + n) for n in range(1, 41)))
        found.append((run, worker))
    found[0][0].paths.model.mkdir()
    found[0][1].leave(Finished(step=40, t=50.0))
    found[1][1].die()
    found[2][1].leave(Finished(step=40, t=50.0))
    return [run for run, _ in found]


async def shown(pilot: Pilot[Any]) -> RunsScreen:
    await settle(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, RunsScreen)
    return screen


async def test_every_run_has_a_row_with_its_state_in_words(bench: Bench, runs: list[Run]) -> None:
    """Newest first; state, method, source, steps and loss; what died says so, and r is offered for it alone."""
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        rows = [line for line in drawn(pilot.app).splitlines() if "/40" in line]
        assert [row.split()[0].strip("▌") or row.split()[1] for row in rows] == ["0003", "0002", "0001"]
        assert "† died" in rows[1]
        assert "dpo · polite" in rows[1]
        assert "run 0001" in rows[1]
        assert all("40/40" in row and " 1 " in row for row in rows)
        assert screen.check_action("resume", ()) is None
        await pilot.press("j", "i")
        await pilot.pause()
        assert screen.check_action("resume", ()) is True
        assert "r resumes it" in drawn(pilot.app)


async def test_v_shows_the_runs_as_a_tree(bench: Bench, runs: list[Run]) -> None:
    """Each run under the one it started from, the oldest first, its keys as in the list; v again is newest first."""
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        await pilot.press("v")
        await pilot.pause()

        rows = [line for line in drawn(pilot.app).splitlines() if "/40" in line]
        assert [row.strip(" ▌")[:4] for row in rows] == ["0001", "0002", "0003"]
        assert "╰─ dpo" in rows[1]
        await pilot.press("g", "j")
        assert screen.row is not None
        assert screen.row.id == "0002"
        await pilot.press("v")
        await pilot.pause()
        assert "╰─ dpo" not in drawn(pilot.app)


async def test_filter_compare_and_open(bench: Bench, runs: list[Run]) -> None:
    """`/` narrows the list; two marked runs are compared setting by setting; enter opens the run."""
    async with BenchApp(bench, "runs").run_test(size=(200, 50)) as pilot:
        await shown(pilot)
        assert "╰─ ✓ 0003 sft" in drawn(pilot.app)
        await pilot.press("m", "G", "m")
        await pilot.pause()
        assert "learning rate   0.001         0.002" in drawn(pilot.app)
        await pilot.press("slash", *"polite")
        await pilot.pause()
        assert "40/40" in drawn(pilot.app)
        assert drawn(pilot.app).count("40/40") == 1
        await pilot.press("enter", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, LiveScreen)
        assert pilot.app.screen.run_id == "0002"


async def test_deleting_asks_first_and_refuses_a_run_with_children(bench: Bench, runs: list[Run]) -> None:
    """d asks, esc keeps, y deletes; of a run that others start from d says which they are, and asks nothing."""
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("d")
        await pilot.pause()
        assert "Delete run 0003 for good?" in drawn(pilot.app)
        await pilot.press("escape", "y")
        assert bench.runs.ids() == ["0001", "0002", "0003"]
        await pilot.press("d", "y")
        await settle(pilot)
        assert bench.runs.ids() == ["0001", "0002"]
        await pilot.press("G", "d")
        await settle(pilot)
        assert "Delete 0002 first: it came from run 0001." in drawn(pilot.app)
        assert "for good?" not in drawn(pilot.app)
        await pilot.press("y")
        await settle(pilot)
        assert bench.runs.ids() == ["0001", "0002"]


async def test_the_question_stands_while_the_list_is_drawn_anew(bench: Bench, runs: list[Run]) -> None:
    """A run that moves on or ends meanwhile, above or below, does not take the question away."""
    going = bench.runs.create(make_job(), {"train": []})
    worker = FakeWorker(going).sign_in().write(Started(), Planned(total_steps=9))
    async with BenchApp(bench, "runs").run_test(size=(200, 50)) as pilot:
        screen = await shown(pilot)
        await pilot.press("j", "d")
        await pilot.pause()
        assert "Delete run 0003 for good?" in drawn(pilot.app)

        worker.leave(Finished(step=9))
        screen.reload()
        await settle(pilot)
        assert "Delete run 0003 for good?" in drawn(pilot.app)
        await pilot.press("y")
        await settle(pilot)
        assert bench.runs.ids() == ["0001", "0002", "0004"]


async def test_two_marked_runs_are_compared_at_80_columns(bench: Bench, runs: list[Run]) -> None:
    """The first m says what comes next, the second shows the comparison, esc the list with both marks."""
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("m")
        await settle(pilot)
        assert "m on another one compares the two" in drawn(pilot.app)
        await pilot.press("G", "m")
        await settle(pilot)
        assert "learning rate   0.001         0.002" in drawn(pilot.app)
        await pilot.press("escape")
        await settle(pilot)
        assert "learning rate   0.001" not in drawn(pilot.app)
        assert drawn(pilot.app).count("◆") == 2


async def test_a_text_in_the_list_s_place_has_the_keys(bench: Bench, runs: list[Run]) -> None:
    """At 80 columns j reads on in a comparison; tab, help and back do not give the keys to the hidden list."""
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        await pilot.press("m", "G", "m")
        await settle(pilot)
        cursor = screen.query_one(Records).cursor
        screen.query_one("#runs-details").styles.height = 60  # a longer text than fits
        await pilot.press("tab", "question_mark", "escape", "j", "down", "j", "k")
        await settle(pilot)

        assert screen.text.scroll_y == 2
        assert screen.query_one(Records).cursor == cursor
        assert "open" not in drawn(pilot.app).splitlines()[-1]
        assert "esc back to the list" in drawn(pilot.app)
        await pilot.press("escape", "k")
        await settle(pilot)
        assert screen.query_one(Records).cursor == cursor - 1


async def test_the_tree_has_room_for_names_at_80_columns(bench: Bench, runs: list[Run]) -> None:
    """The branches say where a run comes from, so its column makes room for what is on them."""
    export = make_job(kind="export", action="merged", parent="0002", lineage=("0001", "0002"))
    bench.runs.create(export, {})
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        assert "run 0001" in drawn(pilot.app)
        await pilot.press("v")
        await settle(pilot)
        assert "   ╰─ export merged" in drawn(pilot.app)
        assert "run 0001" not in drawn(pilot.app)


@pytest.mark.parametrize("columns", [80, 110, 120, 140])
async def test_nothing_of_a_row_is_cut_at_usual_sizes(bench: Bench, runs: list[Run], columns: int) -> None:
    """Beside what a run is about, too, the list has room for names, steps and all digits of a loss."""
    async with BenchApp(bench, "runs").run_test(size=(columns, 36)) as pilot:
        await shown(pilot)
        text = drawn(pilot.app)

    row = next(row for row in text.splitlines() if "0002" in row and "† died" in row)
    assert "dpo · polite" in row
    assert "40/40" in row
    assert "loss " in next(row for row in text.splitlines() if "state" in row and "does" in row)
    assert "…" not in row


async def test_an_empty_project_names_the_key(empty_bench: Bench) -> None:
    """Without runs the list says which key trains the first one."""
    async with BenchApp(empty_bench, "runs").run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        assert "Press  n  to train the first one" in drawn(pilot.app)


def test_a_log_that_did_not_change_is_not_read_again(bench: Bench, runs: list[Run]) -> None:
    """The second look at finished runs keeps the figures it has; a new event brings new ones."""
    table = RunTable()
    first = table.full(runs)
    assert [row.figures for row in table.full(runs)] == [row.figures for row in first]
    assert first[0].figures.spark == "██▇▇▆▆▅▅▄▄▃▃▂▂▁▁"
    FakeWorker(runs[2]).write(Step(step=41, metrics={"loss": 9.0}, seconds=1.0, t=60.0))
    assert table.full(runs)[0].figures.loss == 9.0


def test_a_run_that_learns_from_a_reward_shows_no_loss(bench: Bench) -> None:
    """The loss of PPO, GRPO and RLOO hovers about 0 whatever is learnt; the small curve is the reward's."""
    run = bench.runs.create(make_job(action="ppo"), {"train": []})
    worker = FakeWorker(run).sign_in().write(Started(), Planned(total_steps=8))
    metrics = [{"loss": 0.5 - n / 10, "reward": float(n)} for n in range(8)]
    worker.write(*(Step(step=n + 1, metrics=metrics[n], seconds=1.0) for n in range(8))).leave(Finished(step=8))

    [row] = RunTable().full([run])
    assert row.figures.loss is None
    assert row.figures.spark == "".join(sorted(row.figures.spark)) != ""


def test_differences_name_what_differs_and_nothing_else() -> None:
    """Two orders that differ in a rate and a setting only one has."""
    one = make_job(settings={"rank": 16, "learning_rate": 1e-3})
    other = make_job(settings={"rank": 16, "learning_rate": 2e-3, "beta": 0.1})

    assert differences(one, other) == [("learning_rate", "0.001", "0.002"), ("beta", "–", "0.1")]


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_the_list_looks_as_it_should(
    snap_compare: Any, bench: Bench, runs: list[Run], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs; wide also what the highlighted one is about."""
    now = max(run.job.created for run in runs) + 90.0
    monkeypatch.setattr(time, "time", lambda: now)

    async def show(pilot: Pilot[Any]) -> None:
        await shown(pilot)
        await pilot.press("j")
        await pilot.pause()

    assert snap_compare(BenchApp(bench, "runs"), terminal_size=size, run_before=show)


async def test_a_sampling_run_has_no_loss(bench: Bench) -> None:
    """Its completions a second are not shown where the losses are."""
    run = bench.runs.create(make_job(kind="sample", action="transformers"), {"prompts": []})
    worker = FakeWorker(run).sign_in().write(Started(), Planned(total_steps=2))
    worker.write(Step(step=2, metrics={"completions_per_second": 145.4}, seconds=1.0)).leave(Finished(step=2))
    async with BenchApp(bench, "runs").run_test(size=(200, 50)) as pilot:
        await shown(pilot)
        assert "sample" in drawn(pilot.app)
        assert "145" not in drawn(pilot.app)


async def test_stopping_a_queued_run_says_that_it_leaves_the_queue(bench: Bench) -> None:
    """It has no step to finish and no checkpoint to save; one that trains has both."""
    worker = FakeWorker(bench.runs.create(make_job(), {"train": []})).sign_in().write(Queued(behind="0001"))
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        await shown(pilot)
        await pilot.press("x")
        await settle(pilot)
        assert "Run 0001 leaves the queue" in drawn(pilot.app)
        worker.paths.stop_request.unlink()
        worker.write(Started(), Planned(total_steps=2), Step(step=1, seconds=1.0))
        await pilot.press("x")
        await settle(pilot)
        assert "saves a checkpoint" in drawn(pilot.app)


async def test_enter_is_offered_where_there_is_a_run_to_open(bench: Bench, empty_bench: Bench, runs: list[Run]) -> None:
    """The footer says that enter opens; without runs it is greyed."""
    async with BenchApp(bench, "runs").run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        assert "⏎ open" in drawn(pilot.app).splitlines()[-1]
        assert screen.active_bindings["enter"].enabled
    async with BenchApp(empty_bench, "runs").run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        await pilot.press("slash", "escape")
        enter = screen.active_bindings.get("enter")
        assert enter is None or not enter.enabled
