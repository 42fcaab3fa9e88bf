"""What an export says of itself: facts for `export.json` and a model card. No path and no secret in either."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import workbench
from workbench.exports.source import Source, safe_name
from workbench.exports.verify import MARKS, toss_ups
from workbench.job import Job

LIBRARIES = ("torch", "transformers", "peft", "gguf", "llama-cpp-python")
TOLD_SETTINGS = ("how", "rank", "alpha", "epochs", "learning_rate", "beta", "micro_batch", "accumulation", "seed")


def facts(source: Source, job: Job, template_sha256: str) -> dict[str, Any]:
    """What is true of every part of an export."""
    trained = source.job
    return {
        "model": source.title,
        "run": source.run,
        "export_run": job.run,
        "base": {"name": base_name(source), "fingerprint": job.base.fingerprint, "licence": source.licence},
        "lineage": list(trained.lineage) if trained else [],
        "method": trained.action if trained else None,
        "settings": {name: trained.settings[name] for name in TOLD_SETTINGS if name in trained.settings}
        if trained
        else {},
        "template_sha256": template_sha256,
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def base_name(source: Source) -> str:
    """The base's name without the folders of this machine: a hub id keeps its owner."""
    name = source.base
    is_hub_id = name.count("/") == 1 and not name.startswith(("/", "~", "."))
    return name if is_hub_id else safe_name(name)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write(source: Source, record: Mapping[str, Any]) -> str:
    """The model card, from what `export.json` holds."""
    base = base_name(source)
    lines = [
        "---",
        f"base_model: {base}",
        *([f"license: {source.licence.split()[0]}"] if source.licence.split() else []),
        "---",
        "",
    ]
    lines += [f"# {source.title}", "", _made(source, base), ""]
    lines += ["## Does it answer like the model that was trained?", "", *_table(record), ""]
    lines += [
        "Greedy agreement: on the merged model's own greedy answers to held-out prompts, the share of tokens at which "
        "both models' likeliest token is the same; after a + those at which the merged model itself is undecided. "
        "Mean KL: how far the next-token distributions are apart there, in nats a token. The merge is compared with "
        "the trained adapter, a GGUF with the merged model.",
        "",
        "## Using it",
        "",
        "- `merged/`: transformers, vLLM or any program that reads Hugging Face folders.",
        "- `model-*.gguf`: llama.cpp, LM Studio and others; `ollama create NAME -f Modelfile` for Ollama.",
        "- `adapter.gguf`: upon a GGUF of the base, `llama-server -m BASE --lora adapter.gguf`.",
        "- `export.json` holds hashes, lineage and all figures.",
        "",
        f"Made by the finetune workbench {workbench.__version__}.",
    ]
    return "\n".join(lines) + "\n"


def _made(source: Source, base: str) -> str:
    if source.job is None:
        return f"The base {base}, unchanged."
    settings = ", ".join(f"{name} {source.job.settings[name]}" for name in TOLD_SETTINGS if name in source.job.settings)
    counts = ", ".join(f"{count} {name}" for name, count in source.job.counts.items())
    chain = " → ".join([base, *(f"run {run}" for run in source.job.lineage), f"run {source.run}"])
    return (
        f"{base}, tuned with {source.job.action} ({settings})."
        + (f" Data: {counts}." if counts else "")
        + f" Lineage: {chain}."
    )


def _table(record: Mapping[str, Any]) -> list[str]:
    rows = [
        "| part | size | greedy agreement | mean KL | marks | answers that stop | verified |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, part in record.get("parts", {}).items():
        checks = part.get("checks", {})
        figures, stops = checks.get("answers", {}), checks.get("stops", {})
        size = part.get("size_bytes", 0) / 1e6
        mark = MARKS.get(str(part.get("target")))
        marks = f"≥ {mark.agreement:.1%}, ≤ {mark.mean_kl:g}" if mark else ""
        told = [_share(figures.get("greedy_agreement"), 2) + toss_ups(figures), _nats(figures.get("mean_kl")), marks]
        told.append(_share(stops.get("share"), 0))
        verified = "yes" if part.get("verified") else "no: not for use"
        rows.append(f"| `{name}` | {size:.1f} MB | {' | '.join(told)} | {verified} |")
    return rows


def _share(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
