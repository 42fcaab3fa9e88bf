"""The key map of a run's screen."""

from __future__ import annotations

from textual.binding import Binding, BindingType


def _key(
    key: str, action: str, word: str, sentence: str, *, name: str = "", show: bool = False, display: str | None = None
) -> Binding:
    """A binding whose id, for a person's own keys, is `live.` and its name: the action's, unless that takes a value."""
    known = f"live.{name or action.partition('(')[0]}"
    return Binding(key, action, word, show=show, key_display=display, id=known, tooltip=sentence)


KEYS: list[BindingType] = [
    _key("tab", "next_chart(1)", "next chart", "Show the next chart.", show=True),
    _key("shift+tab", "next_chart(-1)", "chart before", "Show the chart before.", name="chart_before"),
    _key("l", "show('log')", "log", "Show the end of the worker's log, or the charts again.", name="log", show=True),
    _key(
        "w", "show('watched')", "samples", "Show answers to the fixed prompts through time.", name="samples", show=True
    ),
    _key("x", "stop", "stop", "Stop after this step, with a checkpoint, or leave the queue; r goes on.", show=True),
    _key("r", "resume", "resume", "Go on from the last checkpoint.", show=True),
    _key("s", "sample", "sample", "Sample answers from this run's model.", show=True),
    _key("e", "export", "export", "Export this run's model, merged or as GGUF.", show=True),
    _key("c", "chat", "chat", "Chat with this run's model.", show=True),
    _key("p", "reinforce", "PPO with it", "Fill in the form for a PPO run that has this reward model.", show=True),
    _key("z", "zoom", "zoom", "Show one chart on the whole screen, or all."),
    _key("y", "log_scale", "log scale", "Logarithmic or linear y axis."),
    _key("A", "full_range", "full range", "All values, or only the usual 98 % of them."),
    _key("left_square_bracket", "window(True)", "newer", "Only the newest steps.", name="newer", display="["),
    _key("right_square_bracket", "window(False)", "more", "More steps again.", name="more", display="]"),
    _key("j,down", "scroll(2)", "down", "Scroll the text down.", name="down"),
    _key("k,up", "scroll(-2)", "up", "Scroll the text up.", name="up"),
    _key("g", "edge(False)", "start", "Go to the start of the text.", name="start"),
    _key("G", "edge(True)", "end", "Go to the end of the text.", name="end"),
]
