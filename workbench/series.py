"""A metric over steps as two growing numpy arrays: cheap to append to, ready to draw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_CAPACITY = 64


class Series:
    """Points (x, y) sorted by x, each x once: a later point at the same x takes the earlier one's place."""

    def __init__(self) -> None:
        self._x: Floats = np.empty(LEAST_CAPACITY)
        self._y: Floats = np.empty(LEAST_CAPACITY)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def x(self) -> Floats:
        """(N,) steps, ascending. A view: valid until the next change."""
        return self._x[: self._size]

    @property
    def y(self) -> Floats:
        """(N,) values, NaN where the metric was not finite. A view: valid until the next change."""
        return self._y[: self._size]

    @property
    def last(self) -> float | None:
        """The newest value; None where there is none or it was not finite."""
        if not self._size or not np.isfinite(self._y[self._size - 1]):
            return None
        return float(self._y[self._size - 1])

    def append(self, x: float, y: float | None) -> None:
        """One point. Going back in x replaces the point there, or puts one between."""
        value = float("nan") if y is None else float(y)
        if self._size and x <= self._x[self._size - 1]:
            self._put(x, value)
            return
        self._reserve(1)
        self._x[self._size] = x
        self._y[self._size] = value
        self._size += 1

    def extend(self, xs: Iterable[float] | Floats, ys: Iterable[float | None] | Floats) -> None:
        """Many points at once; quick where they ascend beyond what is there."""
        new_x = _floats(xs)
        new_y = _floats(ys)
        if new_x.size != new_y.size:
            raise ValueError(f"{new_x.size} x values but {new_y.size} y values")
        if not new_x.size:
            return
        ascending = bool(np.all(new_x[1:] > new_x[:-1]))
        if not ascending or (self._size and new_x[0] <= self._x[self._size - 1]):
            self._merge(new_x, new_y)
            return
        self._reserve(new_x.size)
        self._x[self._size : self._size + new_x.size] = new_x
        self._y[self._size : self._size + new_x.size] = new_y
        self._size += new_x.size

    def drop_after(self, x: float) -> None:
        """Forgets the points beyond `x`: a run resumed there has not been further."""
        self._size = int(np.searchsorted(self.x, x, side="right"))

    def _put(self, x: float, value: float) -> None:
        place = int(np.searchsorted(self.x, x))
        if self._x[place] != x:
            self._reserve(1)
            self._x[place + 1 : self._size + 1] = self._x[place : self._size].copy()
            self._y[place + 1 : self._size + 1] = self._y[place : self._size].copy()
            self._x[place] = x
            self._size += 1
        self._y[place] = value

    def _merge(self, new_x: Floats, new_y: Floats) -> None:
        """Sorts old and new together; of equal x the last one stays."""
        all_x = np.concatenate([self.x, new_x])
        all_y = np.concatenate([self.y, new_y])
        order = np.argsort(all_x, kind="stable")
        all_x, all_y = all_x[order], all_y[order]
        stays = np.append(all_x[1:] != all_x[:-1], True)
        self._x, self._y = all_x[stays], all_y[stays]
        self._size = int(self._x.size)

    def _reserve(self, more: int) -> None:
        needed = self._size + more
        if needed <= self._x.size:
            return
        # Doubling copies least, and the system lends no memory for what has not been written yet.
        capacity = max(LEAST_CAPACITY, needed, self._x.size * 2)
        for name in ("_x", "_y"):
            grown = np.empty(capacity)
            grown[: self._size] = getattr(self, name)[: self._size]
            setattr(self, name, grown)


def _floats(values: Iterable[float | None] | Floats) -> Floats:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False)
    return np.array([float("nan") if value is None else value for value in values], dtype=np.float64)
