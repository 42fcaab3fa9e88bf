"""The project's SQLite file: prompts, demonstrations, completions and what was judged of them.

With `migrations.py` the only SQL there is. It never imports a data file and never draws; text is stored as it came,
and cleaning it for a terminal is the screens' business.
"""

from __future__ import annotations

from workbench.store.rankings import Judgements
from workbench.store.scores import Scores
from workbench.store.texts import Texts

__all__ = ["Store"]


class Store(Texts, Judgements, Scores):
    """One open project file. Safe to call from any thread: calls take turns."""
