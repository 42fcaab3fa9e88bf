"""The merged export: an ordinary Hugging Face folder, the adapter added into the 16- or 32-bit base.

Never into 4-bit weights, which would lose what was learnt. Tensors are read, merged and written one at a time into
files named and divided as the base's are; a run that tuned whole weights is copied the same way.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.events import Exported, Metrics
from workbench.exports import COMMON, Export, card, source
from workbench.exports.folder import disk_errors, removed_on_failure, size_of
from workbench.exports.plan import merged_bytes
from workbench.exports.portable import portable
from workbench.exports.tensors import INDEX, ordered, write_safetensors

if TYPE_CHECKING:
    from workbench.exports.checking import Verdict
    from workbench.exports.task import Task
    from workbench.exports.tensors import Merged
    from workbench.worker.context import RunContext

EXPORT = Export(
    name="merged",
    label="Merged weights",
    summary="One ordinary model folder for transformers, vLLM and others; as large as the base.",
    fields=COMMON,
)

NAME = "merged"

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
"""Copied by name: a model folder may also hold pickled arguments with a token in them, which must not travel."""

SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
"""Those of them that libraries write paths into."""


def export(context: RunContext) -> Metrics:
    """Writes, verifies and publishes the merged model of the job, and returns its figures."""
    from workbench.exports import answers, task

    job = task.prepare(context)
    context.note(merged_bytes(job.merged.size_bytes).check(job.delivery.root))
    partial = job.delivery.partial(NAME)
    with removed_on_failure(partial), disk_errors(job.delivery.root, "the merged model"):
        write(job, partial)
        size = size_of(partial)
        context.emit(Exported(target=NAME, path=str(job.delivery.root / NAME), size_bytes=size))
        checker = job.checker
        checker.ask(answers.written(job.merged, partial, checker.place))
        verdict = checker.check_merge(written=partial)
        deliver(job, verdict, size)
    return task.summary({NAME: (verdict, size)})


def write(job: Task, folder: Path) -> None:
    """Writes the merged model's files into `folder`."""
    from workbench.exports.task import Progress

    model = job.merged.model
    job.context.phase("merging")
    progress = Progress(job.context, job.merged.size_bytes)
    folder.mkdir(parents=True)
    for path in model.files:
        infos = ordered(model, model.names_in(path))
        write_safetensors(folder / path.name, infos, job.merged.blocks, progress.add)
    progress.finish()
    if (model.folder / INDEX).is_file():
        (folder / INDEX).write_text(_index(job.merged), encoding="utf-8")
    (folder / "config.json").write_text(_config(job.merged.config), encoding="utf-8")
    _copy_tokenizer(job, folder)


def _index(merged: Merged) -> str:
    """Which tensor is in which file."""
    model = merged.model
    files = {name: model.file_of(name).name for name in sorted(model.infos)}
    return json.dumps({"metadata": {"total_size": merged.size_bytes}, "weight_map": files}, indent=2) + "\n"


def _config(config: dict[str, Any]) -> str:
    """The base's config without this machine's paths, and with the cache that training turns off."""
    return json.dumps({**portable(config), "use_cache": True}, indent=2, sort_keys=True) + "\n"


def _copy_tokenizer(job: Task, folder: Path) -> None:
    """The tokenizer and template the run was tuned with, and what ends an answer."""
    for name in TOKENIZER_FILES:
        if (job.source.tokenizer / name).is_file():
            _copy_settings(job.source.tokenizer / name, folder / name)
    for place in (job.source.tokenizer, job.source.model):
        if (place / "generation_config.json").is_file():
            settings = portable(source.read_json(place / "generation_config.json"))
            (folder / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
            return


def _copy_settings(file: Path, target: Path) -> None:
    """Copies a file as it is, but for settings that must not travel."""
    settings = source.read_json(file) if file.name in SETTINGS else {}
    kept = portable(settings)
    if kept == settings:
        shutil.copyfile(file, target)
    else:
        target.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def deliver(job: Task, verdict: Verdict, size: int) -> None:
    """Gives the merged folder its name if it passed; keeps it under another and raises if it did not."""
    facts = {"target": NAME, "size_bytes": size, **verdict.row}
    if not verdict.passed:
        kept = job.delivery.reject(NAME, facts)
        raise verdict.error(kept.name)
    job.delivery.publish(NAME, facts)
    job.delivery.write_text("README.md", card.write(job.source, job.delivery.record()))
