"""The project's store: what goes in comes back, nothing is counted twice, and it stays quick."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.votes import ORIGIN, answered, ask, queued, vote
from workbench.errors import InputError
from workbench.events import Completed
from workbench.records import Counts, ImportReport, Origin
from workbench.store import Store

HOSTILE = ["Robert'); DROP TABLE rankings;--", "%s", "{0.__class__}", '"; --', "[/]", "a\tb\nc", "\x1b]52;c;x\x07"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "workbench.db"


@pytest.fixture
def store(path: Path):
    opened = Store(path)
    opened._db.execute("PRAGMA synchronous = OFF")  # this process does not lose power; the crash tests open their own
    yield opened
    opened.close()


# -- what is stored comes back


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_stored_and_returned_literally(store: Store, text: str) -> None:
    """SQL, format strings, markup and escapes in any text field come back as they went in."""
    (prompt_id,) = store.add_prompts([ask(text, answer=text, kind=text)])
    store.add_completions(text, Origin(base=text), [Completed(prompt_id=prompt_id, n=0, text=text)])
    store.put(text, text)
    store.add_remark(prompt_id, "note", [1], text)
    prompt, (completion,) = store.prompt(prompt_id), store.completions(prompt_id)

    assert {text} == {
        prompt.text,
        prompt.answer,
        prompt.kind,
        completion.text,
        completion.job,
        completion.origin.base,
        store.get(text),
        store.remarks(prompt_id)[0][2],
    }


def test_half_characters_are_stored_as_replacement_marks(store: Store) -> None:
    """A lone surrogate, which SQLite cannot hold, never costs a completion, a prompt or a demonstration."""
    (prompt_id,) = store.add_prompts([ask("half \ud83d")])
    store.add_completions("1", ORIGIN, [Completed(prompt_id=prompt_id, n=0, text="\udc00 other half")])
    store.add_demonstration(prompt_id, "\ud800", "edit")

    assert (
        store.prompt(prompt_id).text,
        store.completions(prompt_id)[0].text,
        store.demonstrations()[0].text,
    ) == ("half ?", "? other half", "?")


def test_the_same_events_twice_add_nothing(store: Store) -> None:
    """(job, prompt, n) names a completion: ingesting a run's events again adds none and says so."""
    (prompt_id,) = store.add_prompts([ask("q")])
    events = [Completed(prompt_id=prompt_id, n=n, text="a") for n in range(3)]
    added = [store.add_completions("0001", ORIGIN, events[:2]), store.add_completions("0001", ORIGIN, events)]

    assert (added, len(store.completions(prompt_id)), store.counts().completions) == ([2, 1], 3, 3)


def test_completions_of_unknown_prompts_are_left_out(store: Store) -> None:
    """A copied run's completions of prompts that this project lacks are passed over."""
    (prompt_id,) = store.add_prompts([ask("q")])

    assert store.add_completions("1", ORIGIN, [Completed(prompt_id=p, n=0) for p in (99, prompt_id)]) == 1


def test_a_prompt_is_there_once_and_gains_the_answer_it_lacked(store: Store) -> None:
    """Adding a prompt again keeps its id and split, and takes an answer only where there was none."""
    first = store.add_prompts([ask("q", split="held_out")])
    again = store.add_prompts([ask("q", answer="42"), ask("q", answer="43")])

    assert first * 2 == again
    assert (store.prompt(first[0]).answer, store.prompt(first[0]).split) == ("42", "held_out")


@pytest.mark.parametrize("search", ["ÉCOLE", "école", 'say "hi"', "a\\b", "first\nsecond"])
def test_search_finds_what_is_said_in_any_case_and_script(store: Store, search: str) -> None:
    """Search looks at the words as a person sees them, not at how they are stored."""
    wanted = ask('L\'École: say "hi" a\\b first\nsecond')
    store.add_prompts([ask("something else"), wanted])

    assert [wanted.turns] == [prompt.turns for prompt in store.prompts(search=search)]


def test_search_ignores_how_turns_are_written_down(store: Store) -> None:
    """'role' and 'user' stand in every stored conversation and match none that does not say them."""
    store.add_prompts([ask("hello"), ask("the user asks")])

    assert (len(store.prompts(search="user")), len(store.prompts(search="role"))) == (1, 0)


# -- rankings, the queue and undoing


def test_undo_goes_back_as_far_as_one_likes_and_survives_a_restart(store: Store, path: Path) -> None:
    """Undone votes stay undone after reopening, their prompts come back, and the rows stay in the file."""
    votes = [store.add_ranking(vote(*answered(store, f"q{n}"))) for n in range(3)]
    for ranking_id in votes[1:]:
        store.undo_ranking(ranking_id)
    store.close()
    reopened = Store(path)
    rows = reopened._rows("SELECT count(*) FROM rankings")[0][0]
    queue = queued(reopened)
    standing = [ranking.id for ranking in reopened.rankings()]
    reopened.close()

    assert (votes[:1], 2, 3) == (standing, len(queue), rows)


def test_undoing_twice_counts_once(store: Store) -> None:
    """A second undo of one vote does not bring its prompt back twice, nor hide a later vote."""
    prompt_id, ids = answered(store, "q")
    first = store.add_ranking(vote(prompt_id, ids))
    store.undo_ranking(first)
    store.undo_ranking(first)
    again = store.add_ranking(vote(prompt_id, ids))
    hidden = queued(store)
    store.undo_ranking(again)

    assert (hidden, queued(store)) == ([], ["q"])


def test_the_queue_holds_what_a_person_has_not_judged(store: Store) -> None:
    """Prompts with one completion, held-out ones and those that a person judged are not in it; a skip counts."""
    answered(store, "waits")
    answered(store, "only one answer", answers=1)
    (held,) = store.add_prompts([ask("held", split="held_out")])
    store.add_completions("1", ORIGIN, [Completed(prompt_id=held, n=n) for n in range(2)])
    store.add_ranking(vote(*answered(store, "judged")))
    store.add_ranking(vote(*answered(store, "skipped"), verdict="skip"))
    store.add_ranking(vote(*answered(store, "by a rule"), judge="rule"))

    assert {"waits", "by a rule"} == set(queued(store))
    assert (store.judged_prompts(), store.counts().rankings) == (1, 2)


def test_the_queue_has_one_order_for_ever(store: Store) -> None:
    """The queue goes by the prompts' digests, whatever order they came in, and search keeps that order."""
    texts = [f"question {n}" for n in range(20)]
    for text in texts:
        answered(store, text)
    in_order = sorted(texts, key=lambda text: ask(text).digest)

    assert in_order == queued(store)
    assert [text for text in in_order if "1" in text] == queued(store, search="1")


def test_judged_gives_every_standing_vote_with_its_texts(store: Store) -> None:
    """Prompt, ranking and shown texts come together, oldest first, without undone votes and held-out prompts."""
    prompt_id, ids = answered(store, "q", answers=3)
    kept = store.add_ranking(vote(prompt_id, ids[:2]))
    store.undo_ranking(store.add_ranking(vote(prompt_id, ids[1:])))
    ((prompt, ranking, texts),) = store.judged()

    assert ("q", kept, {ids[0]: "answer 0", ids[1]: "answer 1"}) == (prompt.text, ranking.id, texts)


def test_rankings_are_found_by_judge_and_by_prompt(store: Store) -> None:
    """Both filters, alone and together, and the newest ones only."""
    one, two = answered(store, "one"), answered(store, "two")
    votes = [store.add_ranking(vote(*entry, judge=judge)) for entry in (one, two) for judge in ("person", "rule")]

    assert votes[:2] == [r.id for r in store.rankings(prompt_id=one[0])]
    assert votes[1::2] == [r.id for r in store.rankings(judge="rule")]
    assert votes[3:] == [r.id for r in store.rankings(judge="rule", prompt_id=two[0])]
    assert votes[2:] == [r.id for r in store.rankings(newest=2)]


def test_sampling_takes_the_neediest_prompts_first(store: Store) -> None:
    """Fewest completions first, of these the ones without a demonstration, then in the order they came."""
    answered(store, "has two")
    (shown,) = store.add_prompts([ask("demonstrated")])
    store.add_demonstration(shown, "so", "import")
    store.add_prompts([ask("bare")])

    assert [p.text for p in store.prompts_to_sample("train")] == ["bare", "demonstrated", "has two"]


def test_undone_demonstrations_come_back_when_written_again(store: Store) -> None:
    """Writing the same better answer again revives it."""
    (prompt_id,) = store.add_prompts([ask("q")])
    store.undo_demonstration(store.add_demonstration(prompt_id, "better", "edit"))
    gone = store.demonstrations()
    store.add_demonstration(prompt_id, "better", "edit")

    assert (gone, [d.text for d in store.demonstrations()], store.counts().demonstrations) == ([], ["better"], 1)


def test_an_import_brings_back_what_was_undone(store: Store) -> None:
    """A file with an answer that a person had written and taken back adds it; one that stands stays whose it was."""
    gone, kept = store.add_prompts([ask("q"), ask("r")])
    store.undo_demonstration(store.add_demonstration(gone, "better", "edit"))
    store.add_demonstration(kept, "mine", "edit")

    report = store.add_import(REPORT, [ask("q"), ask("r")], [(0, "better"), (1, "mine")])

    assert report.added["demonstrations"] == 1
    assert [(d.text, d.origin) for d in store.demonstrations()] == [("better", "import"), ("mine", "edit")]


def test_a_ranked_prompt_comes_back_with_new_completions(store: Store) -> None:
    """A second round of sampling puts a judged prompt back into the queue, and undoing the vote does not lose count."""
    prompt_id, shown = answered(store, "again")
    first = store.add_ranking(vote(prompt_id, shown))
    after_vote = store.next_to_rank()
    rows = [Completed(prompt_id=prompt_id, n=n, text=f"newer {n}", t=0.0) for n in range(2)]
    store.add_completions("round two", ORIGIN, rows[:1])
    with_one_more = store.next_to_rank()
    store.add_completions("round two", ORIGIN, rows[1:])
    with_two_more = store.next_to_rank()

    assert (after_vote, with_one_more) == (None, None)
    assert with_two_more is not None
    assert store.judged_up_to(prompt_id) == max(shown)
    store.add_ranking(vote(prompt_id, [c.id for c in store.completions(prompt_id)][-2:]))
    assert store.next_to_rank() is None
    store.undo_ranking(store.rankings()[-1].id)
    assert store.next_to_rank() is not None
    store.undo_ranking(first)
    assert store.counts().waiting == 1


def test_counts_count_each_thing_once(store: Store) -> None:
    """Counts of a small project, done by hand."""
    answered(store, "a", answers=3)
    answered(store, "b", answers=1)
    store.add_prompts([ask("c", split="held_out")])
    store.add_ranking(vote(*answered(store, "d")))

    assert Counts(3, 1, 0, 6, 1, 2, 1) == store.counts()


def test_a_held_out_demonstration_is_not_counted_as_one_to_train_on(store: Store) -> None:
    """Two demonstrations, one of them of a held-out prompt: the count is what training gets."""
    store.add_import(REPORT, [ask("a"), ask("b", split="held_out")], [(0, "x"), (1, "y")])

    assert store.counts().demonstrations == len(store.demonstrations()) == 1


def test_an_empty_project_counts_nothing(store: Store) -> None:
    """A new project is all noughts."""
    assert Counts() == store.counts()


# -- imports


REPORT = ImportReport("data.jsonl", "preference", sha256="abc", rows_ok=2, rejected=((3, "bad"),))


def test_an_import_says_what_was_really_new(store: Store) -> None:
    """Prompts and demonstrations that were there before are not counted as added."""
    store.add_prompts([ask("old")])
    prompts = [ask("old"), ask("new")]
    report = store.add_import(REPORT, prompts, [(0, "x"), (1, "y"), (1, "y")], [(1, "good", "bad")])

    assert report.added == {"prompts": 1, "demonstrations": 2, "preferences": 1}
    assert [(report.added, ((3, "bad"),))] == [(r.added, r.rejected) for r in store.imports()]


def test_imported_preferences_are_rankings_of_two_completions(store: Store) -> None:
    """A chosen and a rejected text become two completions and a ranking whose judge is the import."""
    store.add_import(REPORT, [ask("q")], (), [(0, "good", "bad")])
    ((prompt, ranking, texts),) = store.judged()

    assert (prompt.text, [texts[i] for i in ranking.shown], ranking.judge) == ("q", ["good", "bad"], "import 1")


def test_the_same_file_is_refused_and_adds_nothing(store: Store) -> None:
    """A second import of one file is a sentence, and rolls back whole."""
    store.add_import(REPORT, [ask("q")])
    with pytest.raises(InputError, match="imported already"):
        store.add_import(REPORT, [ask("another")])

    assert store.counts().prompts == 1


def test_an_import_that_fails_in_the_middle_leaves_nothing(store: Store) -> None:
    """A preference that names no prompt undoes the whole import."""
    with pytest.raises(IndexError):
        store.add_import(REPORT, [ask("q")], (), [(0, "a", "b"), (5, "a", "b")])

    assert (Counts(), []) == (store.counts(), store.imports())


# -- size


def test_the_next_prompt_is_found_by_index_however_much_is_ranked(store: Store) -> None:
    """Neither the queue nor the counts read a table from end to end: every step of their plans is an index."""
    plans = []
    ask_database = store._rows

    def explained(sql: str, values=()):
        plans.extend(row[3] for row in ask_database(f"EXPLAIN QUERY PLAN {sql}", values))
        return ask_database(sql, values)

    store._rows = explained
    store.next_to_rank()
    store.next_to_rank(after="5")
    store.judged_prompts()
    store.counts()
    store.rankings(prompt_id=1)
    reads = [step for step in plans if step.startswith(("SCAN", "SEARCH")) and "CONSTANT" not in step]

    assert [step for step in reads if "INDEX" not in step] == []
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plans if "digest" in step)


def test_ten_thousand_prompts_and_twenty_thousand_votes_stay_quick(store: Store) -> None:
    """With 10,000 prompts of 4 completions and 20,000 votes the next prompt comes in well under a second."""
    ids = store.add_prompts(ask(f"question {number}") for number in range(10_000))
    store.add_completions("1", ORIGIN, (Completed(prompt_id=i, n=n, text="a", t=0.0) for i in ids for n in range(4)))
    store.add_rankings(vote(ids[k % 9_000], [4 * (k % 9_000) + 1, 4 * (k % 9_000) + 2]) for k in range(20_000))
    seconds, place = [], ""
    for _ in range(200):
        begun = time.perf_counter()
        found = store.next_to_rank(after=place)
        seconds.append(time.perf_counter() - begun)
        assert found is not None
        place = found[1]

    assert Counts(10_000, 0, 0, 40_000, 20_000, 10_000, 1_000) == store.counts()
    assert sorted(seconds)[189] < 0.5  # p95; measured 0.03 ms, and a full scan would not pass under load either
