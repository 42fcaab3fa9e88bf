"""What can be exported and what has been: the choices with their sizes, and the parts that lie in the exports folder.

It reads `export.json` files and never a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.exports import plan, quants
from workbench.exports.folder import RECORD, UNVERIFIED, read_record, size_of
from workbench.exports.quants import Mark
from workbench.exports.verify import Figures
from workbench.hardware import human_bytes

if TYPE_CHECKING:
    from workbench.bases import Base
    from workbench.bench import Bench
    from workbench.runs import Run

ABOUT: dict[str, str] = {
    "merged": "Hugging Face folder, to train on or to serve",
    "ollama": "Q8_0 unless others are ticked, and a checked Modelfile",
    "gguf-lora": "the adapter alone, to be put upon a GGUF of the base",
    **{quant.name: f"GGUF; loses {quant.said}" for quant in quants.ALL},
}
"""What each choice is for, or what it loses, in half a line."""

USUAL = ("merged", "Q8_0")
"""Ticked when the screen opens: one folder to go on with, one file to chat with."""

FIRST = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M")
"""What most people want of the thirty types, listed before the others."""

FOR_OLLAMA = "Q8_0"


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


def choices(base: Base, *, adapter_bytes: int = 0) -> list[Choice]:
    """Everything a model on that base can be exported as, with estimated sizes; no GGUF where it is not supported.

    `adapter_bytes`: the size of its adapter; nought for a model without one.
    """
    merged = plan.merged_bytes(base.size_bytes)
    found = [Choice("merged", "", ABOUT["merged"], sum(merged.kept.values()))]
    if base.exportable:
        return found
    types = [*FIRST, *(quant.name for quant in quants.ALL if quant.name not in FIRST)]
    files = [Choice("gguf", name, ABOUT[name], _file_bytes(base, name)) for name in types]
    found.append(Choice("ollama", "", ABOUT["ollama"], files[0].size_bytes))
    if adapter_bytes:
        found.append(Choice("gguf-lora", "", ABOUT["gguf-lora"], adapter_bytes))
    return found + files


def _file_bytes(base: Base, name: str) -> int:
    """The estimated size of one GGUF of a model on that base."""
    narrow = any(width % plan.WIDE_ROW for width in (base.hidden, base.intermediate))
    return plan.quantised_bytes(base.parameters, name, narrow=narrow, head=base.vocab * base.hidden)


def byte_plan(chosen: list[Choice], offered: list[Choice]) -> plan.BytePlan:
    """Bytes that the chosen things take together, with the exact file that types are made from and that is deleted."""
    files = [choice for choice in chosen if choice.target == "gguf"]
    for_ollama = [choice for choice in offered if choice.quant == FOR_OLLAMA and not files and _has(chosen, "ollama")]
    written = [choice for choice in chosen if choice.target != "ollama"] + for_ollama
    made = [choice for choice in written if choice.quant and choice.quant not in quants.EXACT]
    exact = any(choice.quant in quants.EXACT for choice in files)
    passing = [choice for choice in offered if choice.quant == "f16" and made and not exact]
    return plan.BytePlan(_sizes(written), _sizes(passing))


def usual_plan(base: Base) -> plan.BytePlan:
    """The disk that the usual export of a model on that base takes: merged, and one GGUF where there can be any."""
    offered = choices(base)
    return byte_plan([choice for choice in offered if choice.name in USUAL], offered)


def outlook(base: Base) -> str:
    """What a model on that base can become, to be known before it is trained: yes, or no and why, and the disk."""
    usual = usual_plan(base)
    needed = human_bytes(usual.needed)
    if not base.exportable:
        return f"yes, with {needed} of disk for {' and '.join(usual.kept)}"
    reason = base.exportable[:1].lower() + base.exportable[1:]
    return f"no, because {reason} Merged weights need {needed} of disk."


def _sizes(chosen: list[Choice]) -> dict[str, int]:
    return {choice.name: choice.size_bytes for choice in chosen}


def _has(chosen: list[Choice], target: str) -> bool:
    return any(choice.target == target for choice in chosen)


def orders_of(chosen: list[Choice]) -> list[tuple[str, dict[str, Any]]]:
    """(target, changes) of the runs that write the chosen things: all GGUF types share one run."""
    targets = [choice.target for choice in chosen]
    found: list[tuple[str, dict[str, Any]]] = [("merged", {})] if "merged" in targets else []
    files = [choice.quant for choice in chosen if choice.target == "gguf"]
    if files or "ollama" in targets:
        target = "ollama" if "ollama" in targets else "gguf"
        found.append((target, {"quants": ",".join(files or [FOR_OLLAMA])}))
    if "gguf-lora" in targets:
        found.append(("gguf-lora", {}))
    return found


@dataclass(frozen=True)
class Part:
    """One exported file or folder, with the figures of its checks."""

    name: str
    path: Path
    run: str
    size_bytes: int
    verified: bool
    target: str = ""
    """merged, gguf-lora, or the type of a GGUF."""
    created: float = 0.0
    checks: dict[str, Any] = field(default_factory=dict)
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The checks of what it was made from: merged, f16."""
    failures: tuple[str, ...] = ()
    """What was wrong, each with the first token or weights that differ."""

    @property
    def is_gguf(self) -> bool:
        """Whether it is a file that can be chatted with."""
        return self.path.suffix == ".gguf" and self.target != "gguf-lora"

    def figure(self, name: str, check: str = "answers") -> float | None:
        """A figure of one of its checks: of the answers 'greedy_agreement' or 'mean_kl', and the marks."""
        value = self.checks.get(check, {}).get(name)
        return float(value) if isinstance(value, int | float) else None


def parts(bench: Bench) -> list[Part]:
    """Everything in the project's exports folder, newest first. A damaged record hides its folder's parts only."""
    found = [part for record in bench.paths.exports.glob(f"*/{RECORD}") for part in _parts_of(record)]
    return sorted(found, key=lambda part: part.created, reverse=True)


def _parts_of(record: Path) -> list[Part]:
    row = read_record(record)
    found = []
    for name, facts in row.get("parts", {}).items():
        try:
            if (record.parent / name).exists():
                found.append(_part(record.parent / name, row, facts))
        except (TypeError, ValueError, AttributeError):
            continue
    return found


def _part(path: Path, row: dict[str, Any], facts: dict[str, Any]) -> Part:
    files = facts.get("files") or {}
    return Part(
        name=f"{path.parent.name}/{path.name}",
        path=path,
        run=str(row.get("run") or ""),
        size_bytes=int(facts.get("size_bytes") or sum(int(f.get("size", 0)) for f in files.values()) or size_of(path)),
        verified=bool(facts.get("verified")) and path.suffix != UNVERIFIED,
        target=str(facts.get("target") or ""),
        created=float(facts.get("created") or 0.0),
        checks=dict(facts.get("checks") or facts.get("figures") or {}),
        failures=tuple(str(failure) for failure in facts.get("failures") or ()),
        before={name: dict(checks) for name, checks in (row.get("chain") or {}).items()},
    )


@dataclass(frozen=True)
class Checked:
    """One line of a part's checks: what was compared, what came of it beside its mark, and whether that was reached."""

    name: str
    said: str
    passed: bool | None = None
    """None where nothing was asked for."""


def checked_in_words(part: Part) -> list[Checked]:
    """Every check a part went through; what failed comes first, with the first difference."""
    found = [Checked("wrong", failure, False) for failure in part.failures]
    answers, trained = part.checks.get("answers"), part.checks.get("as_trained")
    if answers:
        found += _answers(answers)
    found += _stops(part.checks.get("stops") or {})
    readings = {check: figures for check, figures in part.checks.items() if "different" in figures}
    chats = readings.pop(CHATS, None)
    if readings:
        also = f" and {_same([chats])} chats" if chats else ""
        same = not any(figures["different"] for figures in (*readings.values(), *([chats] if chats else [])))
        found.append(Checked("tokens", f"{_same(list(readings.values()))} texts{also} become the same tokens", same))
    found += _way_here(part)
    if trained:
        found.append(Checked("in training", f"{_share(trained)} agree with the 4-bit model trained, KL {_kl(trained)}"))
    return found


def _answers(row: dict[str, Any]) -> list[Checked]:
    """Agreement and divergence, each beside its mark."""
    agreed = f"{_share(row)} of {_count(row)} greedy tokens agree"
    if row.get("mark_agreement") is None or row.get("mark_kl") is None:
        return [Checked("answers", agreed), Checked("KL", f"{_kl(row)} nats a token")]
    mark = Mark(row["mark_agreement"], row["mark_kl"])
    divergence = math.inf if row.get("mean_kl") is None else row["mean_kl"]
    found = Figures(
        int(row.get("positions") or 0),
        row.get("greedy_agreement") or 0.0,
        divergence,
        near_ties=int(row.get("near_ties") or 0),
    )
    return [
        Checked("answers", f"{agreed}, {mark.agreement:.1%} asked for", found.agrees(mark)),
        Checked("KL", f"{_kl(row)} nats a token, at most {mark.mean_kl:g} allowed", divergence <= mark.mean_kl),
    ]


CHATS = "chat template"


def _same(readings: list[dict[str, float]]) -> str:
    texts, different = (int(sum(figures[name] for figures in readings)) for name in ("texts", "different"))
    return f"{texts - different:,} of {texts:,}"


def _way_here(part: Part) -> list[Checked]:
    """What each step from the trained adapter to a GGUF cost."""
    steps = {name: checks for name, checks in part.before.items() if name != part.target and "answers" in checks}
    if part.target in ("", *part.before) or not steps or "answers" not in part.checks:
        return []
    told = [f"{name} {_kl(checks['answers'])}" for name, checks in steps.items()]
    told.append(f"{part.target} {_kl(part.checks['answers'])}")
    return [Checked("on the way", f"adapter → {' → '.join(told)} nats")]


def _stops(figures: dict[str, float]) -> list[Checked]:
    count = int(figures.get("answers") or 0)
    if not count:
        return []
    share, before, mark = (figures.get(name) for name in ("share", "share_of_merged", "mark_share"))
    beside = "" if before is None else f" (merged: {before:.0%})"
    beside += "" if mark is None else f", {mark:.0%} asked for"
    passed = bool(figures["passed"]) if mark is not None and "passed" in figures else None
    return [Checked("stops", f"{share or 0.0:.0%} of {count} answers end unasked{beside}", passed)]


def _count(figures: dict[str, float]) -> str:
    count = int(figures.get("positions") or 0)
    return f"{count:,}" if count else "all"


def _share(figures: dict[str, float]) -> str:
    return f"{figures.get('greedy_agreement') or 0.0:.2%}"


def _kl(figures: dict[str, float]) -> str:
    """Rounding may take a divergence of nothing below nothing."""
    value = figures.get("mean_kl")
    return "infinitely many" if value is None else f"{max(0.0, value):.1e}"


def refusal(run: Run) -> str:
    """Why what a run made cannot be exported, in a sentence; "" if it can."""
    from workbench.bases import ancestry

    if ancestry.is_soft_prompt(run.paths.model):
        return "It is a soft prompt, which stands before the text: it can be merged into no weights."
    return ""


def adapter_bytes(run: Run) -> int:
    """The size of a run's adapter; 0 where it tuned whole weights."""
    file = run.paths.model / "adapter_model.safetensors"
    return file.stat().st_size if file.is_file() else 0


def exportable_runs(bench: Bench) -> list[Run]:
    """Training runs that have a finished model which writes answers, newest first; reward models only score them."""
    from workbench import methods

    finished = (run for run in reversed(bench.runs.all("train")) if run.paths.model.is_dir())
    return [run for run in finished if methods.made_by(run.job) == "policy"]
