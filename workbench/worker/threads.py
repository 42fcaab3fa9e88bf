"""How many threads a processor's sums are shared among; a card does not care."""

from __future__ import annotations

import os

import torch

ALONE_UP_TO = 256
"""Hidden size up to which one thread is as fast as several that sleep between two sums: waking one takes longer than
its share of so small a product. Measured on two cores, a training step on two threads over one: 1.49 at 128, 1.12 at
256, 0.76 at 384, 0.70 at 1,024."""
ALL = torch.get_num_threads()
_widest = 0


def suit(hidden_size: int) -> None:
    """Sets the number of threads for the widest model this process has loaded; a number from outside stays.

    It hangs on the models alone, not on a measurement, so that a resumed run adds in the same order.
    """
    global _widest
    _widest = max(_widest, hidden_size)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if _widest <= ALONE_UP_TO else ALL)
