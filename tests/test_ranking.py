"""Ranking by a person, without a screen: the queue, the sides, votes that stand, undo, edits and second looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench import examples
from workbench.errors import ProjectError
from workbench.events import Completed
from workbench.ranking import REPEAT_DISTANCE, RankSession
from workbench.records import PERSON, REPEAT, NewPrompt, Origin, Ranking, Turn
from workbench.store import Store


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def filled(path: Path, prompts: int = 6, answers: int = 2) -> Store:
    """A store of prompts with so many different answers each."""
    store = Store(path)
    ids = store.add_prompts(NewPrompt((Turn("user", f"question {n}"),)) for n in range(prompts))
    rows = [Completed(prompt_id=i, n=n, text=f"answer {n} to {i}") for i in ids for n in range(answers)]
    store.add_completions("0001", Origin("bundled"), rows)
    return store


def opened(store: Store) -> RankSession:
    session = RankSession(store, clock=Clock(), now=lambda: 0.0)
    session.open()
    return session


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = filled(tmp_path / "store.db")
    yield found
    found.close()


def test_a_vote_is_stored_before_the_session_moves_on(store: Store) -> None:
    """When `choose` returns, the store has the vote with the order shown and the seed, and the next prompt is shown."""
    session = opened(store)
    first = session.item
    assert first is not None

    session.choose(1)

    [stored] = store.rankings(judge=PERSON)
    assert stored.shown == first.shown
    assert stored.tiers == ((first.shown[1],), (first.shown[0],))
    assert stored.seed == first.seed
    assert session.item is not None
    assert session.item.prompt.id != first.prompt.id


def test_every_prompt_comes_once_and_then_nothing_is_left(store: Store) -> None:
    """Voting through the queue shows each prompt once and ends with nothing to show."""
    session = opened(store)
    seen = []
    while session.item is not None:
        seen.append(session.item.prompt.id)
        session.look_ahead()
        session.tie()

    assert sorted(seen) == sorted(p.id for p in store.prompts())
    assert session.decisions.done == session.total == 6


def test_sides_are_mixed_and_the_same_after_a_restart(tmp_path: Path) -> None:
    """Over many prompts each answer is about as often left as right, and a new session shows the same sides."""
    store = filled(tmp_path / "many.db", prompts=60)
    session = opened(store)
    first = session.item
    swapped = 0
    for _ in range(60):
        assert session.item is not None
        swapped += session.item.shown[0] > session.item.shown[1]
        session.walk(1)

    assert 15 <= swapped <= 45
    again = opened(store).item
    assert first is not None
    assert again is not None
    assert again.shown == first.shown


def test_undo_goes_back_beyond_a_restart_and_shows_the_same_sides(store: Store) -> None:
    """A new session takes back the old one's votes, newest first, each shown on its old sides."""
    session = opened(store)
    shown = []
    for _ in range(4):
        assert session.item is not None
        shown.append(session.item.shown)
        session.choose(0)

    again = opened(store)
    for expected in reversed(shown):
        again.undo()
        assert again.item is not None
        assert again.item.shown == expected

    assert again.undo() is None
    assert store.rankings(judge=PERSON) == []


def test_votes_after_several_undos_follow_the_old_order(store: Store) -> None:
    """After undoing three votes the next votes are on those three, in the order they had."""
    session = opened(store)
    before = []
    for _ in range(3):
        assert session.item is not None
        before.append(session.item.prompt.id)
        session.choose(0)
    for _ in range(3):
        session.undo()

    after = []
    for _ in range(3):
        assert session.item is not None
        after.append(session.item.prompt.id)
        session.tie()

    assert after == before


def test_a_vote_on_a_judged_prompt_takes_the_old_ones_place(store: Store) -> None:
    """Walking back and voting again leaves one standing vote, the newer, and shows the front of the queue again."""
    session = opened(store)
    session.choose(0)
    front = session.item
    session.walk(-1)
    assert session.item is not None
    assert session.item.standing is not None
    session.tie()

    [standing] = store.rankings(judge=PERSON)
    assert standing.verdict == "tie"
    assert session.item == front
    assert session.decisions.done == 1


def test_walking_back_reaches_votes_of_an_earlier_session(store: Store) -> None:
    """`[` goes on past what this session has shown, vote by vote."""
    session = opened(store)
    first = session.item
    session.choose(0)
    session.choose(0)

    again = opened(store)
    assert again.walk(-1)
    assert again.walk(-1)
    assert not again.walk(-1)
    assert again.item is not None
    assert first is not None
    assert again.item.shown == first.shown


def test_walking_on_without_a_vote_stores_nothing_and_comes_round(store: Store) -> None:
    """`]` through the whole queue arrives at the first prompt again, and nothing was judged."""
    session = opened(store)
    first = session.item
    assert first is not None
    for _ in range(6):
        session.walk(1)

    assert session.item is not None
    assert session.item.prompt.id == first.prompt.id
    assert store.rankings() == []


def test_a_skipped_prompt_comes_back_when_asked(store: Store) -> None:
    """A skip is no vote and no training pair; when the queue is through, skipped prompts can be brought back."""
    session = opened(store)
    skipped = session.item
    session.skip()
    while session.item is not None:
        session.tie()

    assert session.decisions.done == 5
    assert len(session.decisions.skips) == 1
    assert session.bring_back() == 1
    assert skipped is not None
    assert session.item is not None
    assert session.item.prompt.id == skipped.prompt.id


def test_an_edit_beats_both_and_undo_takes_all_of_it_back(store: Store) -> None:
    """A better answer is a demonstration of origin 'edit', beats each answer shown, and undoes with `u`."""
    session = opened(store)
    shown = session.item
    assert shown is not None
    session.edit("a better answer")

    [demonstration] = store.demonstrations()
    assert (demonstration.origin, demonstration.text) == ("edit", "a better answer")
    pairs = examples.all_pairs(store)
    assert {(p.chosen, p.rejected) for p in pairs} == {("a better answer", a.text) for a in shown.answers}
    assert session.pair_changes == 2

    session.undo()
    assert store.demonstrations() == []
    assert examples.all_pairs(store) == []
    assert session.pair_changes == 0


@pytest.mark.parametrize(("text", "pairs"), [("known", 2), ("", 1)])
def test_an_edit_to_what_is_there_counts_and_its_undo_loses_nothing(store: Store, text: str, pairs: int) -> None:
    """An imported answer typed again is imported as before after the undo; a shown one beats the other alone."""
    session = opened(store)
    assert session.item is not None
    store.add_demonstration(session.item.prompt.id, "known", "import")

    session.edit(text or session.item.answers[0].text)
    assert len(examples.all_pairs(store)) == session.pair_changes == pairs
    session.undo()

    assert [(d.text, d.origin) for d in store.demonstrations()] == [("known", "import")]
    assert (examples.all_pairs(store), session.pair_changes) == ([], 0)


def test_pair_changes_follow_the_pairs_that_training_would_get(tmp_path: Path) -> None:
    """After votes, ballots, a change of mind and an undo, the count of new pairs is what the examples module makes."""
    store = filled(tmp_path / "k.db", answers=4)
    session = opened(store)
    session.order([[2], [0, 1]], bad=[3])
    session.order([[0], [1], [2], [3]])
    session.tie()
    session.walk(-1)
    session.order([[1], [0, 2, 3]])
    session.order([[0], [1], [2], [3]])
    session.undo()

    assert session.pair_changes == len(examples.all_pairs(store)) == 2 + 6 + 3


def test_a_failing_store_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a vote cannot be stored the session stays on the pair and counts nothing."""
    session = opened(store)
    before = session.item

    def full(_ranking: Ranking) -> int:
        raise ProjectError("Not saved: the disk is full.")

    monkeypatch.setattr(store, "add_ranking", full)
    with pytest.raises(ProjectError):
        session.choose(0)

    assert session.item == before
    assert session.history == []
    assert session.decisions.bias.votes == 0


def test_the_layout_follows_the_answers_and_the_mode(tmp_path: Path) -> None:
    """Two answers are A/B, more are K-way up to six; the A/B mode always takes two and is remembered."""
    store = filled(tmp_path / "k.db", answers=8)
    session = opened(store)
    assert session.item is not None
    assert (session.item.layout, len(session.item.answers)) == ("kway", 6)

    session.switch_mode()

    assert (session.item.layout, len(session.item.answers)) == ("ab", 2)
    assert opened(store).mode == "ab"


def test_the_mode_holds_for_items_gone_back_over(tmp_path: Path) -> None:
    """After a vote, undo and `o` the next item is A/B too, and so is every one of several votes taken back."""
    session = opened(filled(tmp_path / "k.db", answers=4))
    session.order([[0]], bad=[])
    session.undo()
    session.switch_mode()
    session.choose(0)
    assert session.item is not None
    assert session.item.layout == "ab"

    session.switch_mode()
    for _ in range(3):
        session.order([[0], [1, 2, 3]])
    for _ in range(3):
        session.undo()
    session.switch_mode()
    for _ in range(3):
        assert session.item is not None
        assert session.item.layout == "ab"
        session.choose(0)


def test_skips_and_identical_answers_leave_one_denominator(store: Store) -> None:
    """With a skip and a prompt of identical answers the total stays what can be ranked, also when counted anew."""
    [same] = store.add_prompts([NewPrompt((Turn("user", "the same"),))])
    store.add_completions("2", Origin("bundled"), [Completed(prompt_id=same, n=n, text="one") for n in range(2)])
    session = opened(store)
    session.skip()
    while session.item is not None:
        session.tie()
    assert (session.decisions.done, session.total) == (5, 6)
    session.recount(store.counts().waiting, [same])
    assert session.total == 6


def test_prompts_whose_answers_are_all_alike_are_passed_over(tmp_path: Path) -> None:
    """There is nothing to choose between equal texts, so such a prompt is not shown, only counted."""
    store = Store(tmp_path / "same.db")
    [one] = store.add_prompts([NewPrompt((Turn("user", "hello"),))])
    store.add_completions("1", Origin("bundled"), [Completed(prompt_id=one, n=n, text="same") for n in range(3)])
    session = opened(store)

    assert session.item is None
    assert len(session.same) == 1


def test_the_filter_keeps_prompts_that_contain_the_text(store: Store) -> None:
    """With a filter only matching prompts come; without it the rest comes again."""
    session = opened(store)
    session.filter("question 3")
    assert session.item is not None
    assert session.item.prompt.text == "question 3"
    session.tie()
    assert session.item is None

    session.filter("")
    assert session.item is not None


def test_a_flag_goes_on_and_off_and_a_note_stays(store: Store) -> None:
    """Flags and notes are kept on the prompt and come back with it."""
    session = opened(store)
    assert session.toggle_flag()
    session.note("look at this again")
    fresh = opened(store).item
    assert fresh is not None
    assert fresh.flag is not None
    assert fresh.notes == ("look at this again",)
    assert not session.toggle_flag()


def test_second_looks_swap_the_sides_and_train_nothing(tmp_path: Path) -> None:
    """Among a hundred votes a few pairs come again, sides swapped, under another judge's name, adding no pair."""
    store = filled(tmp_path / "many.db", prompts=100)
    session = opened(store)
    again = []
    while session.item is not None:
        if session.item.again is not None:
            again.append((session.item.shown, session.item.again.shown))
        session.choose(0 if session.item.shown[0] < session.item.shown[1] else 1)

    assert 1 <= len(again) <= 12
    assert all(shown == first[::-1] for shown, first in again)
    assert len(store.rankings(judge=REPEAT)) == len(again)
    assert len(examples.all_pairs(store)) == 100
    assert session.decisions.looks() == [[("older", "older")]] * len(again)


def test_second_looks_at_a_ballot_come_in_reverse_order(tmp_path: Path) -> None:
    """Among a hundred ballots of three a few come again, the other way round; they train nothing, and A/B has none."""
    store = filled(tmp_path / "many.db", prompts=100, answers=3)
    session = opened(store)
    again = []
    while session.item is not None:
        shown = session.item.shown
        if session.item.again is not None:
            again.append((shown, session.item.again.shown))
        session.order([[shown.index(answer)] for answer in sorted(shown)])

    assert 1 <= len(again) <= 12
    assert all(shown == first[::-1] and len(shown) == 3 for shown, first in again)
    assert len(examples.all_pairs(store)) == 300
    assert session.decisions.looks() == [[("older", "older")] * 3] * len(again)
    for prompt in store.prompts():
        newer = [Completed(prompt_id=prompt.id, n=n, text=f"newer {n}") for n in range(3)]
        store.add_completions("0002", Origin("bundled"), newer)
    paired = opened(store)
    paired.switch_mode()
    while paired.item is not None:
        assert len(paired.item.shown) == 2
        paired.choose(0)


def test_second_looks_keep_their_distance(tmp_path: Path) -> None:
    """No pair comes again within the first twenty votes."""
    store = filled(tmp_path / "few.db", prompts=REPEAT_DISTANCE)
    session = opened(store)
    while session.item is not None:
        assert session.item.again is None
        session.tie()
