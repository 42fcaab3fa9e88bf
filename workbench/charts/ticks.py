"""Numbers on an axis: round values, and a number in six characters at most. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, isfinite, log10


def nice_ticks(bottom: float, top: float, about: int) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten apart) between the limits, `about` of them."""
    raw = (top - bottom) / max(about, 1)
    if not isfinite(raw) or raw <= 0:
        return []
    power = 10.0 ** floor(log10(raw))
    step = float(next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.8))
    start = ceil(bottom / step - 1e-9)
    return [round(i * step, 12) for i in range(start, floor(top / step + 1e-9) + 1)]


def numbers(values: Sequence[float]) -> list[str]:
    """Tick labels with as many decimals as their distance needs, six characters each at most."""
    if len(values) < 2:
        return [number(v) for v in values]
    step = abs(values[1] - values[0])
    decimals = next((d for d in range(5) if abs(round(step, d) - step) < step * 1e-6), 5)
    texts = [f"{v:.{decimals}f}" for v in values]
    fits = all(len(text) <= 6 for text in texts) and decimals < 5
    return texts if fits else [number(v) for v in values]


def number(value: float) -> str:
    """A number in six characters at most: 0.0312, 12.5k, 3.4e-5."""
    if value == 0:
        return "0"
    size = abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.{_decimals(scaled)}f}{unit}" if size < 1e15 else f"{value:.0e}".replace("e+", "e")
    if size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        short = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
        return short if len(short) <= 6 else f"{round(float(mantissa))}e{int(exponent)}"
    text = f"{value:.4g}"
    return text if len(text) <= 6 else f"{value:.3g}" if size >= 0.01 else f"{value:.4f}"


def _decimals(scaled: float) -> int:
    return 0 if abs(scaled) >= 100 or float(scaled).is_integer() else 1
