"""Rank, by its keys: every key of the map, the guards, undo across restarts, editing, and what is never shown."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from screens.app import BenchApp
from screens.widgets.answers import AnswerPane
from screens.widgets.writing import BetterAnswer, WrittenLine
from tests.ui.conftest import HOSTILE, asked, drawn, settle
from tests.ui.ranking import Time, ranking, still, votes
from workbench import examples
from workbench.bench import Bench
from workbench.events import Completed
from workbench.records import NewPrompt, Origin


async def test_one_key_stores_the_vote_and_shows_the_next_pair(bench: Bench, clock: Time) -> None:
    """1, 2, 3 and 4 store left, right, tie and both bad; each shows another prompt, and the row says saved."""
    async with ranking(bench, clock) as (pilot, screen, press):
        shown = []
        for key in "1234":
            shown.append(screen.item.shown)
            await press(key)

        assert "saved ✓" in drawn(pilot.app)
        assert "1  2  =  x" in drawn(pilot.app)
    found = votes(bench)
    assert [r.verdict for r in found] == ["ranked", "ranked", "tie", "both_bad"]
    assert [r.shown for r in found] == shown
    assert found[0].tiers[0] == (shown[0][0],)
    assert found[1].tiers[0] == (shown[1][1],)
    assert found[3].unacceptable == shown[3]


async def test_arrows_equals_and_x_are_the_same_votes(bench: Bench, clock: Time) -> None:
    """The other keys of the table do what the digits do."""
    async with ranking(bench, clock) as (_, _screen, press):
        await press("left", "right", "equals_sign", "x")
    assert [r.verdict for r in votes(bench)] == ["ranked", "ranked", "tie", "both_bad"]


async def test_a_vote_right_after_drawing_or_from_a_held_key_does_not_count(bench: Bench, clock: Time) -> None:
    """Within 300 ms of drawing nothing votes, and a repeating key needs 120 ms of silence."""
    async with ranking(bench, clock) as (pilot, _screen, press):
        await press("1")
        await pilot.press("2")
        assert len(votes(bench)) == 1
        clock.now += 0.35
        await pilot.press("1")
        await still(pilot, clock)
        assert len(votes(bench)) == 2
        for _ in range(12):  # held: a repeat every 50 ms, past the 300 ms after drawing
            clock.now += 0.05
            await pilot.press("1")
        await settle(pilot)
        assert len(votes(bench)) == 2


async def test_pasted_text_is_never_keys(bench: Bench, clock: Time) -> None:
    """A paste of voting keys, escapes and newlines changes nothing."""
    async with ranking(bench, clock) as (pilot, screen, _):
        before = screen.item
        clock.now += 1
        pilot.app.post_message(events.Paste("1\n2\x1b4xu" * 100))
        await settle(pilot)

        assert screen.item == before
    assert votes(bench) == []


async def test_undo_survives_a_restart_and_shows_the_same_sides(bench: Bench, clock: Time) -> None:
    """Votes of one app are taken back in another, by u and by backspace, each on its old sides."""
    async with ranking(bench, clock) as (_, screen, press):
        shown = []
        for key in "121":
            shown.append(screen.item.shown)
            await press(key)
    async with ranking(bench, clock) as (_, screen, press):
        for key, expected in zip(("u", "backspace", "u"), reversed(shown), strict=True):
            await press(key)
            assert screen.item.shown == expected
        await press("u")
    assert votes(bench) == []


async def test_a_failing_store_keeps_the_pair_and_says_so(
    bench: Bench, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the project folder gone a vote says 'not saved', stays on the pair, and the app stays up."""
    async with ranking(bench, clock) as (pilot, screen, press):
        before = screen.item
        shutil.move(bench.paths.root, bench.paths.root.with_name("elsewhere"))
        await press("1")

        assert screen.item == before
        assert "✗ not saved" in drawn(pilot.app)
        shutil.move(bench.paths.root.with_name("elsewhere"), bench.paths.root)
        await press("1")
        assert "saved ✓" in drawn(pilot.app)
    assert len(votes(bench)) == 1


async def test_skip_flag_and_note_are_kept_and_are_no_votes(bench: Bench, clock: Time) -> None:
    """Space moves on, f flags and stays, n takes a line; the skipped prompt comes back at the end with space."""
    async with ranking(bench, clock) as (pilot, screen, press):
        skipped = screen.item.prompt.id
        await press("space")
        here = screen.item.prompt.id
        await press("f", "n", *"odd", "enter")
        assert screen.item.prompt.id == here
        assert "⚑" in drawn(pilot.app)
        assert {(kind, text) for _, kind, text in bench.store.remarks(here)} == {("flag", ""), ("note", "odd")}
        await press(*"11111")
        assert "to bring them back" in drawn(pilot.app)
        assert "space bring back" in drawn(pilot.app).splitlines()[-1]
        await press("space")
        assert screen.item.prompt.id == skipped


async def test_a_better_answer_becomes_a_demonstration_that_beats_both(bench: Bench, clock: Time) -> None:
    """`e` opens a text area in which keys are text; ctrl+d keeps it; undo takes all of it back."""
    before = len(bench.store.demonstrations())
    async with ranking(bench, clock) as (_pilot, screen, press):
        answers = {answer.text for answer in screen.item.answers}
        await press("e")
        screen.query_one(BetterAnswer).text = ""
        await press(*"12 x", "enter", "y", "ctrl+d")

        [written] = [d for d in bench.store.demonstrations() if d.origin == "edit"]
        assert written.text == "12 x\ny"
        pairs = {(p.chosen, p.rejected) for p in examples.all_pairs(bench.store)}
        assert pairs == {("12 x\ny", text) for text in answers}
        await press("u")
    assert len(bench.store.demonstrations()) == before
    assert votes(bench) == []


async def test_an_unchanged_answer_is_no_edit_and_esc_keeps_the_draft(bench: Bench, clock: Time) -> None:
    """Keeping the text as it was stores nothing; leaving and coming back shows the draft."""
    async with ranking(bench, clock) as (_pilot, screen, press):
        await press("e", "ctrl+d")
        assert votes(bench) == []
        await press("z", "escape")
        assert not screen.query_one(BetterAnswer).display
        await press("e")
        assert screen.query_one(BetterAnswer).text.endswith("z")


async def test_walking_shows_without_voting_and_a_new_vote_replaces_the_old(bench: Bench, clock: Time) -> None:
    """`[` shows the last pair with its vote, `]` goes on; voting on it again leaves one vote."""
    async with ranking(bench, clock) as (pilot, screen, press):
        first = screen.item.prompt.id
        await press("1", "left_square_bracket")
        assert screen.item.prompt.id == first
        assert "✓ better" in drawn(pilot.app)
        await press("3")
        assert screen.item.prompt.id != first
        await press("right_square_bracket")
    [standing] = votes(bench)
    assert standing.verdict == "tie"


async def test_origins_are_hidden_until_after_the_vote(bench: Bench, clock: Time) -> None:
    """Nothing on screen names a source before the vote; `r` does afterwards, and only then."""
    async with ranking(bench, clock, (200, 50)) as (pilot, _screen, press):
        await press("r")
        assert "t 1" not in drawn(pilot.app)
        await press("1", "r")
        assert "it was  1 bundled · t 1" in drawn(pilot.app)
        await press("left_square_bracket", "r")
        assert "· bundled · t 1" in drawn(pilot.app)


async def test_zoom_lock_and_scrolling(bench: Bench, clock: Time) -> None:
    """z shows one answer alone; tab locks; j scrolls both panes, or the locked one."""
    [prompt] = bench.store.add_prompts([NewPrompt(asked("at length"))])
    long = [Completed(prompt_id=prompt, n=n, text=f"{n} word\n" * 200) for n in range(2)]
    bench.store.add_completions("0009", Origin("bundled"), long)
    async with ranking(bench, clock) as (pilot, screen, press):
        await press("slash", *"length", "enter")
        panes = list(screen.query(AnswerPane))
        await press("j")
        assert [pane.top for pane in panes[:2]] == [1, 1]
        await press("tab", "j")
        assert [pane.top for pane in panes[:2]] == [2, 1]
        assert "▼ more" in drawn(pilot.app)
        await press("z")
        assert [pane.display for pane in panes[:2]] == [True, False]
        await press("escape")
        assert all(pane.display for pane in panes[:2])


async def test_diff_markdown_and_invisible_change_the_view_only(bench: Bench, clock: Time) -> None:
    """d cycles through differences, v shows spaces, m Markdown, p the whole prompt; none of them votes."""
    async with ranking(bench, clock) as (pilot, _screen, press):
        await press("v")
        assert "Answer·" in drawn(pilot.app)
        await press("v", "d", "d", "m", "m", "d", "p")
        assert "user" in drawn(pilot.app)
    assert votes(bench) == []


async def test_the_row_says_that_only_differences_are_shown(bench: Bench, clock: Time) -> None:
    """With d twice an answer is cut to what the other lacks, at whole words; the row over them says so."""
    [prompt] = bench.store.add_prompts([NewPrompt(asked("apart"))])
    same = "The opposite of left is right, as everybody knows by now"
    texts = (same, f"{same}. Have a nice day!")
    rows = [Completed(prompt_id=prompt, n=n, text=text) for n, text in enumerate(texts)]
    bench.store.add_completions("0009", Origin("bundled"), rows)
    async with ranking(bench, clock) as (pilot, _screen, press):
        await press("slash", *"apart", "enter", "d")
        assert "differing words" in drawn(pilot.app)
        await press("d")
        text = drawn(pilot.app)
        for expected in ("only what differs", "Have a nice day!", "(nothing that the other has not)"):
            assert expected in text
        assert "opposite" not in text
        await press("d", "z")
        assert "tab next  z all" in drawn(pilot.app)


async def test_one_way_to_look_at_a_text_ends_another(bench: Bench, clock: Time) -> None:
    """Under Markdown or signs for spaces no difference could be seen, so the row does not say that there is one."""
    async with ranking(bench, clock) as (pilot, _screen, press):
        await press("v", "d")
        assert "differing words" in drawn(pilot.app)
        assert "Answer·" not in drawn(pilot.app)
        await press("m")
        assert "differing words" not in drawn(pilot.app)
        await press("d", "v")
        assert "differing words" not in drawn(pilot.app)
        assert "Answer·" in drawn(pilot.app)


async def test_the_filter_keeps_matching_prompts(bench: Bench, clock: Time) -> None:
    """`/` narrows the queue; typed digits are text there."""
    async with ranking(bench, clock) as (pilot, screen, press):
        await press("slash", *"early", "enter")
        assert "early" in screen.item.prompt.text
        await press("1")
        assert "No prompt that is left to rank" in drawn(pilot.app)
        await press("slash")
        screen.query_one(WrittenLine).value = ""
        await press("enter")
        assert screen.item is not None


async def test_a_ballot_takes_letters_from_best_to_worst(kway: Bench, clock: Time) -> None:
    """c, a, =d, b is stored when the last letter is pressed: C > A = D > B."""
    async with ranking(kway, clock) as (pilot, screen, press):
        shown = screen.item.shown
        await press("c", "a", "equals_sign", "d")
        assert "C > A = D" in drawn(pilot.app)
        assert votes(kway) == []
        await press("b")
    [stored] = votes(kway)
    assert stored.shown == shown
    assert stored.tiers == ((shown[2],), (shown[0], shown[3]), (shown[1],))


async def test_a_ballot_can_be_taken_back_marked_and_cut_short(kway: Bench, clock: Time) -> None:
    """Backspace takes a letter back, as u says; x marks an answer, enter puts the rest below, u undoes the ranking."""
    async with ranking(kway, clock) as (pilot, screen, press):
        shown = screen.item.shown
        await press("enter")
        assert votes(kway) == []
        await press("a", "u")
        assert "Backspace takes the last letter back" in drawn(pilot.app)
        await press("backspace", "d", "x", "b", "enter")
        [stored] = votes(kway)
        assert stored.tiers == ((shown[3],), (shown[0], shown[1], shown[2]))
        assert stored.unacceptable == (shown[1],)
        await press("u")
        assert screen.item.shown == shown
    assert votes(kway) == []


async def test_focus_and_moving_an_answer_in_a_ballot(kway: Bench, clock: Time) -> None:
    """2 looks at B, K moves it up in the order; edit and flag stay within reach as E and F."""
    async with ranking(kway, clock) as (pilot, screen, press):
        await press("a", "b", "2", "K")
        assert "B > A" in drawn(pilot.app)
        await press("F")
        assert "⚑" in drawn(pilot.app)
        await press("o")
        assert [pane.display for pane in screen.query(AnswerPane)] == [True, True] + [False] * 4


async def test_hostile_and_huge_answers_are_text(bench: Bench, clock: Time) -> None:
    """Escapes, markup and a megabyte are shown as text, cut at 32 KB, in every view."""
    [one, two] = bench.store.add_prompts([NewPrompt(asked(HOSTILE[1])), NewPrompt(asked("zz " + HOSTILE[0]))])
    rows = [Completed(prompt_id=p, n=n, text=HOSTILE[2 * at + n]) for at, p in enumerate((one, two)) for n in range(2)]
    bench.store.add_completions("0007", Origin("bundled"), rows)
    async with ranking(bench, clock) as (pilot, screen, press):
        await press("slash", *"click", "enter")
        assert screen.item.prompt.id == one
        for key in ("v", "m", "d", "p", "G"):
            await press(key)
            assert "\x1b" not in drawn(pilot.app)
        assert "[@click=app.quit]" in drawn(pilot.app)
        await press("slash")
        screen.query_one(WrittenLine).value = "zz"
        await press("enter", "m", "G")
        assert screen.item.prompt.id == two
        assert pilot.app.is_running


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_a_pair_looks_as_it_should(snap_compare: Any, bench: Bench, clock: Time, size: tuple[int, int]) -> None:
    """After two votes: answers side by side, decisions, saved mark; wide also the prompt and the figures."""

    async def vote(pilot: Pilot[Any]) -> None:
        await still(pilot, clock)
        for key in "12":
            clock.now += 2.0
            await pilot.press(key)
            await still(pilot, clock)

    assert snap_compare(BenchApp(bench, "rank"), terminal_size=size, run_before=vote)


def test_a_ballot_looks_as_it_should(snap_compare: Any, kway: Bench, clock: Time) -> None:
    """Four answers in a grid with two of them placed and one marked."""

    async def place(pilot: Pilot[Any]) -> None:
        await still(pilot, clock)
        for key in "caxb":
            clock.now += 1.0
            await pilot.press(key)
            await still(pilot, clock)

    assert snap_compare(BenchApp(kway, "rank"), terminal_size=(80, 24), run_before=place)
