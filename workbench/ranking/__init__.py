"""A session of ranking by a person: which prompt is next, votes, undo, edits, notes, and the figures over them.

Pure over a store: no Textual, no clock of its own. Every vote is in the store before the session moves on, so a
screen that shows the next prompt has kept the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import get_args

from workbench import examples
from workbench.ranking.ballot import Clock
from workbench.ranking.decisions import Decisions
from workbench.ranking.sides import Item, Mode, laid_out, pairs_made, rebuilt
from workbench.records import PERSON, REPEAT, Prompt, Ranking, Verdict, digest
from workbench.store import Store

REPEAT_SHARE = 0.05
"""Share of votes followed by a prompt from before, its answers the other way round."""

REPEAT_DISTANCE = 20
"""Votes between the two looks: sooner, one remembers the answers and measures memory."""

MOST_VISITED = 500
"""Prompts that `[` walks back through without asking the store."""


@dataclass(frozen=True)
class _Ahead:
    """The next item of the queue, fetched before it was needed."""

    key: tuple[str, ...]
    item: Item | None


class RankSession:
    """One person ranking one project. Call it from one thread; `look_ahead` alone may run in another."""

    def __init__(self, store: Store, *, clock: Clock = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock
        self.now = now
        kept = store.get("rank mode", "auto")
        self.mode: Mode = next((mode for mode in get_args(Mode) if mode == kept), "auto")
        self.search = ""
        self.doubter = store.queued_by
        """The judge whose doubts come first; "" for the balanced order of digests."""
        self.decisions = Decisions()
        self._known = 0
        """Prompts with a decision or with answers that wait for one, as last counted."""
        self.pair_changes = 0
        """Training pairs gained (or lost) since the session began."""
        self.same: set[int] = set()
        """Prompts passed over because all their answers are the same text."""
        self._visited: list[Item] = []
        self._at = -1
        self._front: Item | None = None
        self._ahead: _Ahead | None = None
        self._drawn = clock()
        self._lots_drawn: set[int] = set()

    def open(self) -> None:
        """Reads what was decided before and takes up the queue."""
        mine = self.store.rankings(judge=PERSON) + self.store.rankings(judge=REPEAT)
        for ranking in sorted(mine, key=lambda ranking: ranking.id):
            self.decisions.add(ranking)
        self.recount(self.store.counts().waiting)
        self._take_next()

    def recount(self, waiting: int, alike: Iterable[int] = ()) -> None:
        """So many prompts wait now, skipped ones not among them; those are known to have nothing to choose."""
        self.same |= set(alike)
        self._known = self.decisions.done + len(self.decisions.skips) + waiting

    @property
    def total(self) -> int:
        """Prompts that can be ranked: those found to have nothing but identical answers are left out."""
        return self._known - len(self.same)

    # -- what is on screen

    @property
    def item(self) -> Item | None:
        """What is shown; None when nothing is left in the queue."""
        return self._visited[self._at] if self._at >= 0 else None

    @property
    def history(self) -> list[Ranking]:
        return self.decisions.history

    @property
    def last(self) -> Ranking | None:
        """The last decision that stands, which `undo` would take back."""
        return self.history[-1] if self.history else None

    def last_item(self) -> Item | None:
        """What the last decision was made on."""
        return rebuilt(self.store, self.history[-1]) if self.history else None

    def drawn(self) -> None:
        """The item has been drawn: the time to the vote counts from here."""
        self._drawn = self.clock()

    # -- decisions

    def choose(self, side: int) -> Ranking:
        """Left (0) or right (1) is better."""
        shown = self._shown().shown
        return self._decide("ranked", ((shown[side],), (shown[1 - side],)))

    def tie(self) -> Ranking:
        return self._decide("tie", (self._shown().shown,))

    def both_bad(self) -> Ranking:
        shown = self._shown().shown
        return self._decide("both_bad", (shown,), shown)

    def order(self, tiers: Sequence[Sequence[int]], bad: Iterable[int] = ()) -> Ranking:
        """A K-way ballot: tiers of places on screen, best first, and the places marked unacceptable."""
        shown = self._shown().shown
        named = tuple(tuple(shown[place] for place in tier) for tier in tiers)
        verdict: Verdict = "tie" if len(named) == 1 else "ranked"
        return self._decide(verdict, named, tuple(shown[place] for place in sorted(bad)))

    def skip(self) -> Ranking | None:
        """Later: not a vote, and it comes back when the queue is through. A prompt that has a vote is only left."""
        item = self._shown()
        if item.standing is not None or item.again is not None:
            self.walk(1)
            return None
        return self._decide("skip", ())

    def _decide(
        self, verdict: Verdict, tiers: tuple[tuple[int, ...], ...], unacceptable: tuple[int, ...] = ()
    ) -> Ranking:
        """Stores the decision, then moves on. Where storing fails nothing has changed, here or on screen."""
        item = self._shown()
        judge = REPEAT if item.again else PERSON
        seconds = round(self.clock() - self._drawn, 3)
        new = Ranking(
            0, item.prompt.id, item.shown, tiers, verdict, judge, unacceptable, item.seed, seconds, self.now()
        )
        ranking = replace(new, id=self.store.add_ranking(new))
        if item.standing is not None:  # once the new one is safe: a crash in between leaves both, and the newer counts
            self.store.undo_ranking(item.standing.id)
            self.decisions.remove(item.standing)
        self.decisions.add(ranking)
        self.pair_changes += pairs_made(item, ranking) - pairs_made(item, item.standing)
        self._visited[self._at] = replace(item, standing=ranking)
        self._advance()
        return ranking

    def edit(self, text: str) -> int:
        """Keeps a better answer as a demonstration that beats everything shown; its id.

        A prompt without a vote gets one, all shown answers tied: the person's own beats them, no more was said.
        """
        item = self._shown()
        before = self.store.origin_of(item.prompt.id, text)
        written = self.store.add_demonstration(item.prompt.id, text, examples.EDIT)
        ranking = item.standing or self.tie()
        self.store.add_remark(item.prompt.id, "edit", item.shown, f"{ranking.id} {written} {before}")
        self.pair_changes += sum(answer.text != text for answer in item.answers)
        return written

    def note(self, text: str) -> None:
        item = self._shown()
        self.store.add_remark(item.prompt.id, "note", item.shown, text)
        self._visited[self._at] = replace(item, notes=(*item.notes, text))

    def toggle_flag(self) -> bool:
        """Flags the item or takes its flag away; whether it is flagged now."""
        item = self._shown()
        if item.flag is None:
            flag: int | None = self.store.add_remark(item.prompt.id, "flag", item.shown)
        else:
            self.store.undo_remark(item.flag)
            flag = None
        self._visited[self._at] = replace(item, flag=flag)
        return flag is not None

    def undo(self) -> Ranking | None:
        """Takes the last decision back, however long ago it was made, and shows that item on the same sides."""
        last = self.last
        if last is None:
            return None
        self.store.undo_ranking(last.id)
        edits = self._undo_edits(last)
        self.decisions.remove(last)
        self._return_to(last)
        item = self._shown()
        self.pair_changes -= pairs_made(item, last) + sum(a.text != text for text in edits for a in item.answers)
        return last

    def bring_back(self) -> int:
        """Puts every skipped prompt back into the queue; how many."""
        skips = self.decisions.skips
        for ranking in skips:
            self.store.undo_ranking(ranking.id)
            self.decisions.remove(ranking)
        self._ahead = self._front = None
        self._visited = [replace(i, standing=None) if i.standing in skips else i for i in self._visited]
        self._at = -1
        self._advance()
        return len(skips)

    # -- moving without a vote

    def walk(self, direction: int) -> bool:
        """To the item before (-1) or after (1) without voting; False where there is none."""
        if direction < 0:
            at = self._at if self._at >= 0 else len(self._visited)
            if at == 0:
                if not self._reach_back():
                    return False
                at = 1
            self._arrive(at - 1)
            return True
        if 0 <= self._at < len(self._visited) - 1:
            self._arrive(self._at + 1)
            return True
        at = self._at
        self._take_next()
        if self._at < 0:
            self._at = at
            return False
        return True

    def filter(self, search: str) -> None:
        """Keeps only prompts that contain the text in the queue, and shows the first of them."""
        self.search = search.strip()
        self._visited = [item for item in self._visited if item.standing is not None]
        self._ahead = self._front = None
        self._take_next()

    def order_by(self, judge: str) -> None:
        """Puts the prompts first of which a reward model is least sure, or with "" goes back to the balanced order.

        Kept in the project. An InputError where that judge has scored nothing.
        """
        self.store.queue_by(judge)
        self.doubter = judge
        self._visited = [item for item in self._visited if item.standing is not None]
        self._ahead = self._front = None
        self._take_next()

    def switch_mode(self) -> Mode:
        """Between A/B always and K-way where there are more than two; kept in the project.

        Items walked through before are laid out anew when one comes back to them.
        """
        self.mode = "ab" if self.mode == "auto" else "auto"
        self.store.put("rank mode", self.mode)
        self._ahead = None
        if self.item is not None:
            self._arrive(self._at)
        return self.mode

    def look_ahead(self) -> None:
        """Fetches the next item of the queue while the person reads this one. May run in a thread."""
        front = self._front
        if front is not None and (self._ahead is None or self._ahead.key != self._key(front)):
            key = self._key(front)
            self._ahead = _Ahead(key, self._find(front))

    # -- how

    def _shown(self) -> Item:
        item = self.item
        if item is None:
            raise LookupError("nothing is shown")
        return item

    def _key(self, front: Item) -> tuple[str, ...]:
        return front.place, self.search, self.mode, self.doubter

    def _queued(self, after: str) -> tuple[Prompt, str] | None:
        """The next prompt of the queue and its place, whichever order it has."""
        if self.doubter:
            return self.store.next_in_doubt(self.doubter, after=after, search=self.search)
        return self.store.next_to_rank(after=after, search=self.search)

    def _advance(self) -> None:
        """To the next item without a vote among those walked through, else to the next of the queue."""
        for at in range(self._at + 1, len(self._visited)):
            if self._visited[at].standing is None:
                self._arrive(at)
                return
        self._take_next()

    def _arrive(self, at: int) -> None:
        """Shows an item walked through before; without a vote it is laid out as the mode is now, not as it was then."""
        self._at = at
        item = self._visited[at]
        other = (item.layout == "ab") != (self.mode == "ab")
        if other and item.standing is None and item.again is None:
            self._visited[at] = laid_out(self.store, item.prompt, item.place, self.mode) or item

    def _take_next(self) -> None:
        item = self._second_look() or self._next_of_queue()
        if item is None:
            self._at = -1
            return
        if item.again is None:  # one that was walked past comes round again: it is shown once
            self._visited = [old for old in self._visited if old.prompt.id != item.prompt.id or old.again]
        self._visited = [*self._visited[-MOST_VISITED:], item]
        self._at = len(self._visited) - 1

    def _next_of_queue(self) -> Item | None:
        ahead, front = self._ahead, self._front
        fits = ahead is not None and front is not None and ahead.key == self._key(front)
        if fits and ahead is not None and (ahead.item is None or ahead.item.prompt.id not in self.decisions.by_prompt):
            item = ahead.item
        else:
            item = self._find(front)
        self._ahead = None
        self._front = item or front
        return item

    def _find(self, front: Item | None) -> Item | None:
        """The first item after `front` in the queue, from the start again where there is none; never `front`."""
        for start in dict.fromkeys((front.place if front else "", "")):
            place = start
            while found := self._queued(place):
                prompt, place = found
                if front is not None and prompt.id == front.prompt.id:
                    continue
                if item := laid_out(self.store, prompt, place, self.mode):
                    self.same.discard(prompt.id)
                    return item
                self.same.add(prompt.id)
        return None

    def _second_look(self) -> Item | None:
        """Now and then, by a lot that depends on how many decisions there are: one from before, the other way round.

        Two answers come with their sides swapped, more in the reverse order; more than two not while the mode is A/B.
        """
        count = len(self.history)
        reach = count - REPEAT_DISTANCE
        if reach <= 0 or self.search or count in self._lots_drawn:
            return None
        self._lots_drawn.add(count)
        lot = Random(digest("second look", count))
        first = self.history[lot.randrange(reach)]
        fresh = first.judge == PERSON and frozenset(first.shown) not in self.decisions.looked_twice
        fits = first.verdict != "skip" and (len(first.shown) == 2 or self.mode != "ab")
        if not (fresh and fits) or lot.random() >= REPEAT_SHARE:
            return None
        return replace(rebuilt(self.store, replace(first, shown=first.shown[::-1])), again=first)

    def _return_to(self, ranking: Ranking) -> None:
        """Shows the item of a decision just taken back: where it was walked through, else before what is shown."""
        for at in range(len(self._visited) - 1, -1, -1):
            if self._visited[at].standing == ranking:
                self._visited[at] = replace(self._visited[at], standing=None)
                self._at = at
                return
        self._at = self._at if self._at >= 0 else len(self._visited)
        self._visited.insert(self._at, self._rebuilt(ranking))

    def _rebuilt(self, ranking: Ranking) -> Item:
        item = rebuilt(self.store, ranking)
        return replace(item, again=self.decisions.first_look(ranking.shown)) if ranking.judge == REPEAT else item

    def _reach_back(self) -> bool:
        """Puts the last decision made before the oldest item walked through in front of it."""
        oldest = min((item.standing.id for item in self._visited if item.standing), default=float("inf"))
        earlier = next((r for r in reversed(self.history) if r.id < oldest), None)
        if earlier is None:
            return False
        self._visited.insert(0, replace(self._rebuilt(earlier), standing=earlier))
        return True

    def _undo_edits(self, ranking: Ranking) -> list[str]:
        """Takes the answers back that were written with the decision, the newest first; their texts."""
        texts = []
        for remark_id, kind, remark in reversed(self.store.remarks(ranking.prompt_id)):
            of, written, *before = remark.split() if kind == "edit" else ("", "")
            if of == str(ranking.id):
                texts.append(self.store.undo_demonstration(int(written), *before))
                self.store.undo_remark(remark_id)
        return texts
