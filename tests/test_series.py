"""Series of points."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.series import Series


def filled(*points: tuple[float, float | None]) -> Series:
    series = Series()
    for x, y in points:
        series.append(x, y)
    return series


def test_points_come_back_in_order() -> None:
    """What was appended is what is drawn."""
    series = filled((1, 3.0), (2, 2.0), (5, 1.0))

    assert (series.x.tolist(), series.y.tolist(), series.last, len(series)) == ([1, 2, 5], [3, 2, 1], 1.0, 3)


def test_a_missing_value_is_a_gap() -> None:
    """A metric that was not finite is NaN in the series, and the last value is then unknown."""
    series = filled((1, 1.0), (2, None))

    assert math.isnan(series.y[1])
    assert series.last is None


def test_the_same_x_again_replaces_the_point() -> None:
    """A step done twice is one point, the later one."""
    series = filled((1, 1.0), (2, 2.0), (3, 3.0), (2, 9.0))

    assert (series.x.tolist(), series.y.tolist()) == ([1, 2, 3], [1, 9, 3])


def test_a_point_can_come_late() -> None:
    """A point between others, or before all, finds its place."""
    series = filled((1, 1.0), (4, 4.0), (3, 3.0), (0, 0.0))

    assert (series.x.tolist(), series.y.tolist()) == ([0, 1, 3, 4], [0, 1, 3, 4])


def test_extending_equals_appending() -> None:
    """Many at once give the same as one by one: ascending, overlapping, or in no order, with gaps."""
    generator = np.random.default_rng(0)
    for _ in range(50):
        one, many = Series(), Series()
        for _ in range(4):
            xs = generator.integers(0, 30, size=generator.integers(0, 12)).astype(float)
            ys = [None if x % 7 == 0 else float(x) + float(generator.random()) for x in xs]
            many.extend(xs, ys)
            for x, y in zip(xs, ys, strict=True):
                one.append(x, y)

        assert one.x.tolist() == many.x.tolist()
        assert np.array_equal(one.y, many.y, equal_nan=True)


def test_it_grows() -> None:
    """Ten thousand points are kept, in whatever portions they come."""
    series = Series()
    for start in range(0, 10_000, 7):
        series.extend(np.arange(start, min(start + 7, 10_000), dtype=float), np.ones(min(7, 10_000 - start)))

    assert len(series) == 10_000
    assert series.x[-1] == 9_999


def test_what_lies_ahead_can_be_dropped() -> None:
    """After a resume the points beyond the checkpoint are gone, and new ones take their place."""
    series = filled((1, 1.0), (2, 2.0), (3, 3.0))
    series.drop_after(1)
    series.append(2, 5.0)

    assert (series.x.tolist(), series.y.tolist()) == ([1, 2], [1, 5])


def test_unequal_columns_are_refused() -> None:
    """Three steps with two values are a bug, not a chart."""
    with pytest.raises(ValueError, match="3 x values but 2"):
        Series().extend([1, 2, 3], [1, 2])
