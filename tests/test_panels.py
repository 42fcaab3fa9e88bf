"""Which lines a run's charts have."""

from __future__ import annotations

from workbench.charts.panels import charts
from workbench.events import Evaluated, Step
from workbench.live import Live
from workbench.methods import Panel

LOSS = (Panel("Loss", ("loss",)),)


def test_a_line_keeps_its_place_before_its_first_point() -> None:
    """The measurement before the first step stands second from the start, so its glyph and colour never change."""
    live = Live()
    live.feed([Evaluated(step=0, metrics={"loss": 2.0})])
    (before,) = charts(live, LOSS)
    live.feed([Step(step=1, metrics={"loss": 1.9}, seconds=1.0, tokens=10)])
    (after,) = charts(live, LOSS)

    assert [line.name for line in before.lines] == [line.name for line in after.lines] == ["training", "held out"]
    assert [line.x.size for line in before.lines] == [0, 1]


def test_a_figure_that_is_never_measured_has_no_line() -> None:
    """Without held-out data there is one line, and before anything is known none."""
    live = Live()
    assert charts(live, LOSS)[0].lines == ()

    live.feed([Step(step=1, metrics={"loss": 1.9}, seconds=1.0, tokens=10)])
    assert [line.name for line in charts(live, LOSS)[0].lines] == ["training"]
