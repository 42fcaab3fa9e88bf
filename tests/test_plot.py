"""The dots of a chart: decimation that keeps spikes, gaps for what is not finite, limits, ticks and labels."""

from __future__ import annotations

import numpy as np

from workbench.charts.columns import connect, decimate, smoothed
from workbench.charts.plot import Line, Mark, Picture, View, limits, picture, runs, sparkline
from workbench.charts.ticks import nice_ticks, number, numbers

VIEW = View(40, 10)


def line(values: list[float] | np.ndarray, name: str = "loss", smooth: bool = False) -> Line:
    y = np.asarray(values, dtype=float)
    return Line(name, np.arange(len(y), dtype=float), y, smooth)


def test_a_spike_of_one_step_among_a_hundred_thousand_stays_visible() -> None:
    """With the full range shown, one high value puts dots into the top row, in its own column."""
    values = np.zeros(100_000)
    values[70_000] = 10.0
    drawn = picture([line(values)], View(40, 10, full=True))

    [column] = np.flatnonzero(drawn.dots[0])
    assert column == int(0.7 * 40)


def test_columns_hold_the_least_and_the_greatest_of_their_steps() -> None:
    """Six values in two columns of three: (1, 3) and (-5, 2)."""
    columns = decimate(np.arange(6.0), np.array([1.0, 3.0, 2.0, -5.0, 0.0, 2.0]), 0.0, 5.0, 2)

    assert columns.low.tolist() == [1.0, -5.0]
    assert columns.high.tolist() == [3.0, 2.0]
    assert columns.mean.tolist() == [2.0, -1.0]


def test_a_value_that_is_not_finite_is_a_gap() -> None:
    """Between the neighbours of a NaN nothing is drawn, while other points are joined by a line."""
    whole = picture([line([1, 1, 1, 1, 1, 1, 1])], VIEW).dots
    broken = picture([line([1, 1, 1, np.nan, 1, 1, 1])], VIEW).dots

    assert (whole.any(axis=0)).all()
    assert not broken[:, 15:24].any()
    assert broken[:, :13].any()


def test_points_far_apart_are_joined_by_a_straight_line() -> None:
    """Two points at 0 and 8 over five columns: 0, 2, 4, 6, 8."""
    low, high = connect(decimate(np.array([0.0, 4.0]), np.array([0.0, 8.0]), 0.0, 4.0, 5))

    assert ((low + high) / 2)[1:4].round(6).tolist() == [2.0, 4.0, 6.0]


def test_limits_leave_out_the_wildest_percent_unless_asked() -> None:
    """One value of 1,000 among 200 around 1 does not flatten the chart; `full` shows it."""
    values = np.append(np.linspace(0.9, 1.1, 199), 1000.0)

    assert limits([values], full=False)[1] < 2
    assert limits([values], full=True)[1] > 1000


def test_a_line_without_points_leaves_the_others_their_colours() -> None:
    """The legend counts all lines, so the second one keeps its glyph while the first has nothing to show."""
    drawn = picture([line([]), line([1.0, 2.0])], VIEW)

    assert {end.line for end in drawn.ends} == {mark.line for mark in drawn.marks} == {1}
    assert set(drawn.owner.ravel().tolist()) == {-1, 2}


def test_means_leave_out_what_is_not_finite() -> None:
    """A column's mean is that of its numbers, and NaN where it has none."""
    columns = decimate(np.arange(6.0), np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan]), 0.0, 6.0, 3)

    assert columns.mean.tolist()[:2] == [1.0, 4.0]
    assert np.isnan(columns.mean[2])


def test_nothing_finite_is_an_empty_picture() -> None:
    """No points, only NaN, or only values a logarithm cannot take: nothing is drawn, and nothing fails."""
    assert picture([], VIEW).empty
    assert picture([line([np.nan, np.nan])], VIEW).empty
    assert picture([line([0.0, -1.0])], View(40, 10, log=True)).empty


def test_one_point_and_equal_values_are_drawn() -> None:
    """A single point gets a mark; a constant series lies inside the limits."""
    assert len(picture([line([3.0])], VIEW).marks) == 1
    assert picture([line([2.0] * 50)], VIEW).dots.any()


def test_a_logarithmic_axis_is_labelled_in_values() -> None:
    """From 0.001 to 10 the labels are powers of ten, greatest on top."""
    ticks = picture([line(10 ** np.linspace(-3, 1, 100))], View(40, 16, log=True, full=True)).y_ticks

    assert [tick.text for tick in ticks] == ["10", "1", "0.1", "0.01", "0.001"]


def test_a_window_shows_only_the_newest_steps() -> None:
    """A tenth of 1,000 steps begins at 900."""
    drawn = picture([line(np.arange(1000.0))], View(40, 10, window=0.1))

    assert drawn.x_ticks[0].text == "900"


def test_end_labels_never_share_a_row() -> None:
    """Four lines that end at the same value get rows of their own, in order, inside the plot."""
    drawn = picture([line([1, 2], name=str(n)) for n in range(4)], View(40, 4))

    assert len({end.row for end in drawn.ends}) == 4
    assert all(0 <= end.row < 4 for end in drawn.ends)


def test_a_smoothed_line_is_bright_over_its_dim_band() -> None:
    """A noisy series has cells of both kinds: the average's (0) and the band's (1)."""
    noise = np.random.default_rng(0).normal(size=5_000)
    owners = set(picture([line(noise, smooth=True)], VIEW).owner.ravel().tolist())

    assert {0, 1} <= owners
    assert smoothed(np.array([0.0, np.nan, 1.0]), 0.5).tolist()[2] == 0.5


def test_rows_are_as_wide_as_the_plot() -> None:
    """Every row has a character a cell, whatever runs it is cut into."""
    noise = np.random.default_rng(0).normal(size=5_000)
    drawn = picture([line(noise, smooth=True)], VIEW)

    assert {len("".join(text for text, _ in row)) for row in runs(drawn, "x")} == {40}


def test_a_row_is_cut_where_another_line_begins() -> None:
    """Blank cells go with what is on their left, and a mark has its line's glyph and colour."""
    dots = np.array([[0, 1, 0, 2, 3, 0]], dtype=np.uint8)
    owner = np.array([[-1, 0, -1, 1, 1, -1]], dtype=np.int8)

    assert runs(Picture(dots, owner), "x") == [[(" ", -1), ("⠁ ", 0), ("⠂⠃ ", 1)]]
    marked = Picture(dots, owner, marks=(Mark(0, 4, 1),))
    assert runs(marked, "xo") == [[(" ", -1), ("⠁ ", 0), ("⠂", 1), ("o", 2), (" ", 1)]]


def test_steps_are_counted_in_whole_numbers() -> None:
    """Three steps have the numbers 0 to 3 below them and no halves."""
    assert [tick.text for tick in picture([line(np.arange(4.0))], VIEW).x_ticks] == ["0", "1", "2", "3"]


def test_numbers_fit_six_cells() -> None:
    """Whatever the size of a value, its label leaves the gutter as it is."""
    for value in (0, 1e-12, -1.234e-11, 0.00031, 0.6931, 12.3456, -12.3456, 1234.5, 12_345, 1.5e6, 3.21e9, -4e13, 9e20):
        assert len(number(value)) <= 6, value
    assert [number(0.69314), number(12_345), number(2e-5)] == ["0.6931", "12.3k", "2e-5"]


def test_ticks_are_round_and_evenly_written() -> None:
    """Between 0.13 and 0.97 ticks stand at fifths, with one decimal each."""
    ticks = nice_ticks(0.13, 0.97, 4)

    assert numbers(ticks) == ["0.2", "0.4", "0.6", "0.8"]


def test_labels_of_values_close_together_differ() -> None:
    """DPO's loss begins at ln 2 and hardly moves: no two labels of the axis read alike."""
    labels = [tick.text for tick in picture([line([0.693147, 0.693149, 0.693131])], VIEW).y_ticks]

    assert 1 < len(labels) == len(set(labels))


def test_a_sparkline_rises_with_its_values() -> None:
    """Eight rising values are the eight blocks; nothing finite is nothing."""
    assert sparkline(np.arange(8.0), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.array([np.nan]), 8) == ""
