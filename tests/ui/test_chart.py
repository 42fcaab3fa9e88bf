"""The chart widget: what it draws, when it draws again, and without colour or braille."""

from __future__ import annotations

from typing import Any

import numpy as np
from textual.app import App, ComposeResult

from screens import theme
from screens.widgets.chart import LineChart
from tests.ui.conftest import drawn
from workbench.charts.plot import Line


class ChartApp(App[None]):
    """One chart in our colours."""

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(theme.DARK)
        self.theme = theme.DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.extra_names(self.current_theme.to_color_system().generate())

    def compose(self) -> ComposeResult:
        yield LineChart("Loss")


def steps(values: Any, name: str = "training", smooth: bool = False) -> Line:
    y = np.asarray(values, dtype=float)
    return Line(name, np.arange(len(y), dtype=float), y, smooth)


async def test_a_chart_has_axis_numbers_names_and_last_values() -> None:
    """Two lines: both names in the frame with their glyphs, both last values at the right end, steps below."""
    async with ChartApp().run_test(size=(60, 14)) as pilot:
        chart = pilot.app.query_one(LineChart)
        assert "no data yet" in drawn(pilot.app)
        chart.show([steps(np.linspace(2, 0.5, 101)), steps(np.linspace(2, 0.75, 101), "held out")], title="Loss")
        await pilot.pause()

        text = drawn(pilot.app)
        for expected in ("Loss", "● training", "◆ held out", "●0.5", "◆0.75", "1.5", "100"):
            assert expected in text
        gutters = {line.index("│", 1) for line in text.splitlines()[1:-1] if "│" in line[1:-1]}
        assert gutters == {7}


async def test_what_does_not_fit_the_frame_is_said_shorter_and_every_line_keeps_its_name() -> None:
    """What two names end with is written once for both lines, then the unit goes: no line is left without a name."""
    async with ChartApp().run_test(size=(60, 14)) as pilot:
        chart = pilot.app.query_one(LineChart)
        names = ("chosen", "rejected", "chosen, held out", "rejected, held out")
        chart.show([steps([1.0, 2.0], name) for name in names], title="Log-probability")
        assert chart._labelled[0].plain == " Log-probability  ● chosen  ◆ rejected  ▲■ held out "
        chart.show([steps([1.0, 2.0]), steps([1.0, 2.0], "held out")], title="KL from the start, nats an answer")
        assert chart._labelled[0].plain == " KL from the start  ● training  ◆ held out "
        chart.show([steps([1.0, 2.0]), steps([1.0, 2.0], "held out")], title="Answer length, tokens")
        assert chart._labelled[0].plain == " Answer length, tokens  ● training  ◆ held out "


async def test_new_data_draws_at_most_four_times_a_second() -> None:
    """Of many updates at once the first is drawn at once, the last a little later, the others never."""
    async with ChartApp().run_test(size=(60, 14)) as pilot:
        chart = pilot.app.query_one(LineChart)
        made: list[int] = []
        make = chart._make
        chart._make = lambda: made.append(1) or make()  # type: ignore[method-assign, func-returns-value]
        chart._last_drawn = float("-inf")
        for n in range(2, 30):
            chart.show([steps(np.arange(float(n)))])
        assert len(made) == 1
        while len(made) < 2:
            await pilot.pause(0.05)
        assert "●28" in drawn(pilot.app)
        assert len(made) == 2


async def test_the_view_is_told_in_the_frame() -> None:
    """log, full range and a window are words in the frame."""
    async with ChartApp().run_test(size=(70, 14)) as pilot:
        chart = pilot.app.query_one(LineChart)
        chart.show([steps(10 ** np.linspace(-2, 1, 200), smooth=True)], title="Loss")
        chart.log_scale, chart.full = True, True
        chart.zoom(closer=True)
        await pilot.pause()

        assert "log · full range · last 50%" in drawn(pilot.app)


async def test_nothing_finite_is_no_crash() -> None:
    """Only NaN, and a chart too small to draw in: words, or nothing."""
    async with ChartApp().run_test(size=(60, 14)) as pilot:
        chart = pilot.app.query_one(LineChart)
        chart.show([steps([np.nan, np.nan])])
        await pilot.resize_terminal(18, 4)
        await pilot.pause()
        assert pilot.app.is_running
