"""The key map of the Rank screen. Plain letters and signs, so that it works over SSH and inside tmux."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import Binding, BindingType

AB_ONLY = frozenset({"choose", "tie", "both_bad", "diff"})
KWAY_ONLY = frozenset({"letter", "ballot_tie", "mark", "take_back", "commit", "focus_answer", "move_answer"})
NEEDS_ITEM = (
    AB_ONLY
    | KWAY_ONLY
    | frozenset({"skip", "flag", "note", "edit", "zoom", "markdown", "invisible", "lengths", "prompt", "lock", "stack"})
)
"""Actions that need something on screen; while there is nothing, their keys belong to the app."""


VOTE, BALLOT, WORDS = Binding.Group("Vote"), Binding.Group("Look at one, or change the order"), Binding.Group("Words")
VIEW, MOVE, MORE = (
    Binding.Group("How it is shown"),
    Binding.Group("Scroll and walk"),
    Binding.Group("Queue and training"),
)
"""Headings of the help."""


def _key(
    key: str, action: str, word: str, sentence: str, *, name: str = "", show: bool = False, display: str | None = None
) -> Binding:
    """A binding whose id, for a person's own keys, is `rank.` and its name: the action's, unless that takes a value."""
    known = f"rank.{name or action.partition('(')[0]}"
    return Binding(key, action, word, show=show, key_display=display, id=known, tooltip=sentence)


def _under(group: Binding.Group, *keys: Binding) -> list[BindingType]:
    return [replace(key, group=group) for key in keys]


LETTER_KEYS = _under(
    VOTE,
    _key("a", "letter(0)", "best → worst", "Give that answer the next place, best first.", name="place_a", show=True),
    *(
        _key(letter, f"letter({at})", "place", "Give that answer the next place, best first.", name=f"place_{letter}")
        for at, letter in enumerate("bcdef", 1)
    ),
)

AB = _under(
    VOTE,
    _key("1,left", "choose(0)", "left", "The left answer is better.", name="left", show=True),
    _key("2,right", "choose(1)", "right", "The right answer is better.", name="right", show=True),
    _key("3,equals_sign", "tie", "tie", "Both are as good: kept, but it makes no training pair.", show=True),
    _key("4,x", "both_bad", "both bad", "Both are unacceptable: kept, but it makes no training pair.", show=True),
)

KWAY = [
    *_under(
        VOTE,
        _key("equals_sign", "ballot_tie", "tie", "The next letter ties with the one before.", show=True),
        _key("x", "mark", "bad", "The next letter is marked unacceptable, whatever its place.", show=True),
        _key("enter", "commit", "rest worse", "Done: those left are worse, unordered among themselves.", show=True),
        _key("backspace", "take_back", "take back", "Take the last letter back."),
    ),
    *_under(
        BALLOT,
        *(
            _key(str(at + 1), f"focus_answer({at})", "look at", "Look at that answer alone.", name=f"look_{letter}")
            for at, letter in enumerate("abcdef")
        ),
        _key("up", "lock(-1)", "previous", "Look at the answer before.", name="look_before"),
        _key("down", "lock(1)", "next", "Look at the answer after.", name="look_after"),
        _key("K", "move_answer(-1)", "better", "Move the answer looked at one place up.", name="move_up"),
        _key("J", "move_answer(1)", "worse", "Move the answer looked at one place down.", name="move_down"),
    ),
]

BOTH = [
    *_under(
        VOTE,
        _key("space", "skip", "skip", "Decide later: it comes back when the queue is through.", show=True),
        _key("space", "bring_back", "bring back", "Bring back what you left for later.", show=True),
        _key("u", "undo", "undo", "Take the last decision back, however old, and show it again.", show=True),
        _key("backspace", "undo", "undo", "Take the last decision back, however old, and show it again."),
        _key("o", "switch_mode", "A/B or K-way", "Between two answers a prompt and all of them, up to six."),
        _key("1,2,3,4,5,6,7,8,9", "stay", "nothing", "Do nothing: there is nothing to vote on; q or esc leaves."),
    ),
    *_under(
        WORDS,
        _key("e,E", "edit", "edit", "Write a better answer: it beats these and becomes a demonstration."),
        _key("n", "note", "note", "Write a line about this prompt."),
        _key("f,F", "flag", "flag", "Flag this prompt, or take the flag away; it goes with any vote."),
    ),
    *_under(
        VIEW,
        _key("z", "zoom", "zoom", "Show one answer on the whole screen, or go back.", show=True),
        _key("d", "diff", "diff", "Underline the words that differ, then show only those, then neither."),
        _key("m", "markdown", "markdown", "Show the answers as Markdown, or plain."),
        _key("v", "invisible", "invisible", "Show spaces, tabs and line ends."),
        _key("w", "lengths", "words", "Show or hide how many words each answer has; hidden at first, as length sways."),
        _key("p", "prompt", "prompt", "Show the whole prompt or conversation."),
        _key("s", "stack", "stack", "Put the answers under each other, or side by side."),
        _key("r", "reveal", "reveal", "After the vote: show where the answers came from."),
    ),
    *_under(
        MOVE,
        _key("tab", "lock(1)", "lock", "Scroll one answer only; after the last one, all of them again."),
        _key("j,down", "scroll(1)", "down", "Scroll down, both answers together.", name="down"),
        _key("k,up", "scroll(-1)", "up", "Scroll up.", name="up"),
        _key("ctrl+d,pagedown", "scroll_half(1)", "half page down", "Scroll half a page down.", name="half_down"),
        _key("ctrl+u,pageup", "scroll_half(-1)", "half page up", "Scroll half a page up.", name="half_up"),
        _key("g,home", "scroll_to('top')", "start", "Go to the start of the answers.", name="start"),
        _key("G,end", "scroll_to('end')", "end", "Go to the end of the answers.", name="end"),
        _key(
            "left_square_bracket",
            "walk(-1)",
            "before",
            "Show the prompt before, without voting.",
            name="before",
            display="[",
        ),
        _key(
            "right_square_bracket",
            "walk(1)",
            "after",
            "Show the next prompt, without voting.",
            name="after",
            display="]",
        ),
    ),
    *_under(
        MORE,
        _key("slash", "filter", "filter", "Keep only prompts with a text in them in the queue.", display="/"),
        _key("i", "order", "order", "Choose whose doubts come first: a reward model's, or nobody's."),
        _key("t", "train", "train", "Start DPO on the pairs your votes made."),
    ),
]

KEYS: list[BindingType] = [*LETTER_KEYS, *AB, *KWAY, *BOTH]
"""The footer takes them in this order."""
