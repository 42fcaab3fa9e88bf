"""The main screens: their digits, names and classes. A screen's module is imported when it is first opened."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from screens.base import BenchScreen


@dataclass(frozen=True)
class Place:
    """A main screen: its mode, its digit, its name, and where its class is."""

    mode: str
    key: str
    label: str
    screen: str
    about: str


PLACES = (
    Place("home", "1", "Home", "screens.home:HomeScreen", "The project at a glance, and the next step."),
    Place("models", "2", "Models", "screens.models:ModelsScreen", "Choose the base model, or add one."),
    Place("data", "3", "Data", "screens.data:DataScreen", "Import and read prompts, demonstrations and pairs."),
    Place("sample", "4", "Sample", "screens.sample:SampleScreen", "Let a model answer your prompts."),
    Place("rank", "5", "Rank", "screens.rank:RankScreen", "Say which answer is better, with single keys."),
    Place("runs", "6", "Runs", "screens.runs:RunsScreen", "Every run: training, sampling, exports."),
    Place("export", "7", "Export", "screens.export:ExportScreen", "Take a model with you, checked."),
    Place("chat", "8", "Chat", "screens.chat:ChatScreen", "Talk with what was trained."),
    Place(
        "doctor", "9", "Doctor", "screens.doctor:DoctorScreen", "What of this machine works, and how to mend the rest."
    ),
)
"""One line a screen. Order and digits are design."""


def opener(target: str) -> Callable[..., BenchScreen]:
    """A function that imports `module:Class` when it is called and makes one."""
    module, _, name = target.partition(":")

    def make(*values: Any, **named: Any) -> BenchScreen:
        return cast("BenchScreen", getattr(importlib.import_module(module), name)(*values, **named))

    return make
