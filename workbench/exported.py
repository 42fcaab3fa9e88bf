"""What can be exported and what has been: the choices with their sizes, and the parts that lie in the exports folder.

It reads `export.json` files and never a model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.exports import plan
from workbench.exports.folder import RECORD, UNVERIFIED

if TYPE_CHECKING:
    from workbench.bases import Base
    from workbench.bench import Bench
    from workbench.runs import Run

ABOUT: dict[str, str] = {
    "merged": "Hugging Face folder, to go on training or to serve",
    "f32": "every bit, for comparing only",
    "f16": "GGUF as trained",
    "Q8_0": "GGUF, half of f16, hard to tell from it",
    "Q6_K": "GGUF, a little smaller, a little less sure",
    "Q5_K_M": "GGUF, for cards that Q6_K does not fit",
    "Q4_K_M": "GGUF, the smallest here; some answers change",
}
"""What each choice is for, in half a line."""

USUAL = ("merged", "Q8_0")
"""Ticked when the screen opens: one folder to go on with, one file to chat with."""


@dataclass(frozen=True)
class Choice:
    """One thing that an export can write. `quant` is empty for merged weights."""

    target: str
    quant: str
    about: str
    size_bytes: int

    @property
    def name(self) -> str:
        return self.quant or self.target


def choices(base: Base) -> list[Choice]:
    """Everything a model on that base can be exported as, with estimated sizes; no GGUF where it is not supported."""
    merged = plan.merged_bytes(base.size_bytes)
    found = [Choice("merged", "", ABOUT["merged"], sum(merged.kept.values()))]
    if base.exportable:
        return found
    narrow = base.hidden % 256 != 0
    for quant in plan.BITS:
        size = sum(plan.gguf_bytes(base.parameters, [quant], narrow=narrow).kept.values())
        found.append(Choice("gguf", quant, ABOUT[quant], size))
    return found


def orders_of(chosen: list[Choice]) -> list[tuple[str, dict[str, Any]]]:
    """(target, changes) of the runs that write the chosen things: all GGUF types share one run."""
    found: list[tuple[str, dict[str, Any]]] = []
    if any(choice.target == "merged" for choice in chosen):
        found.append(("merged", {}))
    quants = [choice.quant for choice in chosen if choice.target == "gguf"]
    if quants:
        found.append(("gguf", {"quants": ",".join(quants)}))
    return found


@dataclass(frozen=True)
class Part:
    """One exported file or folder, with the figures of its checks."""

    name: str
    path: Path
    run: str
    size_bytes: int
    verified: bool
    created: float = 0.0
    checks: dict[str, Any] = field(default_factory=dict)

    @property
    def is_gguf(self) -> bool:
        return self.path.suffix == ".gguf"

    def figure(self, name: str) -> float | None:
        """A figure of the check of its answers: 'greedy_agreement' or 'mean_kl'."""
        value = self.checks.get("answers", {}).get(name)
        return float(value) if isinstance(value, int | float) else None


def parts(bench: Bench) -> list[Part]:
    """Everything in the project's exports folder, newest first. A damaged record hides its folder's parts only."""
    found = [part for record in bench.paths.exports.glob(f"*/{RECORD}") for part in _parts_of(record)]
    return sorted(found, key=lambda part: part.created, reverse=True)


def _parts_of(record: Path) -> list[Part]:
    try:
        row = json.loads(record.read_text(encoding="utf-8"))
        rows = dict(row["parts"])
        run = str(row.get("run") or "")
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [_part(record.parent / name, run, facts) for name, facts in rows.items() if (record.parent / name).exists()]


def _part(path: Path, run: str, facts: dict[str, Any]) -> Part:
    files = facts.get("files") or {}
    return Part(
        name=f"{path.parent.name}/{path.name}",
        path=path,
        run=run,
        size_bytes=int(facts.get("size_bytes") or sum(int(file.get("size", 0)) for file in files.values())),
        verified=bool(facts.get("verified")) and path.suffix != UNVERIFIED,
        created=float(facts.get("created") or 0.0),
        checks=dict(facts.get("checks") or facts.get("figures") or {}),
    )


def checked_in_words(part: Part) -> list[tuple[str, str]]:
    """(what was compared, what came of it) of every check a part went through."""
    rows = []
    answers, trained = part.checks.get("answers"), part.checks.get("as_trained")
    if answers:
        marks = answers.get("mark_agreement"), answers.get("mark_kl")
        rows.append(
            ("answers", _agreement(answers) + (f"; marks {marks[0]:.1%} and {marks[1]:g}" if all(marks) else ""))
        )
    if trained:
        rows.append(("in training", f"{_agreement(trained)} with the 4-bit model that was trained, for information"))
    readings = [figures for check, figures in part.checks.items() if "different" in figures]
    if readings:
        texts, different = (int(sum(figures[name] for figures in readings)) for name in ("texts", "different"))
        rows.append(("tokens", f"{texts - different} of {texts} texts become the same tokens"))
    return rows


def _agreement(figures: dict[str, float]) -> str:
    share, positions = figures.get("greedy_agreement") or 0.0, int(figures.get("positions") or 0)
    kl = max(0.0, figures.get("mean_kl") or 0.0)  # rounding may take a divergence of nothing below nothing
    return f"{share:.2%} of {positions} greedy tokens agree, KL {kl:.1e} nats"


def exportable_runs(bench: Bench) -> list[Run]:
    """Training runs that have a finished model, newest first."""
    return [run for run in reversed(bench.runs.all("train")) if run.paths.model.is_dir()]
