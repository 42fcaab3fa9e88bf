"""Makes the GGUF files of one job: exact ones from the model, quantised ones from an exact one, each checked and named.

The exact file that the others are made from is checked as well, and deleted again unless it was asked for. Its figures
stay in `export.json`, so that one can see where along adapter, merged, f16 and quantised something was lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.events import Exported, Metrics
from workbench.exports import answers, card, ollama_file, task
from workbench.exports.folder import PARTIAL, disk_errors, full_disk, remove, removed_on_failure
from workbench.exports.plan import BITS, WIDE_ROW, BytePlan, gguf_bytes, parse_quants, source_type
from workbench.exports.quants import BY_NAME, EXACT
from workbench.hardware import disk_free

if TYPE_CHECKING:
    from workbench.exports.checking import Verdict
    from workbench.exports.task import Progress, Task
    from workbench.exports.tensors import Merged
    from workbench.worker.context import RunContext

IMPORTANCE = f"importance.npz{PARTIAL}"


def export(context: RunContext, *, for_ollama: bool = False) -> Metrics:
    """Writes, verifies and publishes the GGUF files of the job, and returns their figures.

    `for_ollama`: a chat template that Ollama cannot express is an error before anything is written.
    """
    quants = parse_quants(str(context.job.settings["quants"]))
    job = task.prepare(context)
    check_family(job)
    shape = ollama_file.shape_of(job, required=for_ollama)
    plan = planned(job.merged, quants)
    context.note(plan.check(job.delivery.root))
    weighed = any(BY_NAME[name].weighed for name in quants)
    importance = job.delivery.root / IMPORTANCE
    with removed_on_failure(importance):
        job.checker.ask(
            answers.merged_in_memory(job.merged, job.checker.place),
            also=lambda model: weigh(job, model, importance) if weighed else None,
        )
        merge = job.checker.check_merge(inform=not (job.delivery.root / "merged").is_dir())
        if not merge.passed:
            raise merge.error()
        job.delivery.facts["chain"] = {"merged": merge.figures}
        work = Making(job, task.Progress(context, plan.written), importance if weighed else None)
        parts = [job.delivery.root / f"{file_name(name)}{PARTIAL}" for name in BITS]
        with removed_on_failure(*parts), disk_errors(job.delivery.root, "the GGUF"):
            work.make(quants)
            if len(work.rejected) < len(work.verdicts):
                ollama_file.deliver(job, shape, [file_name(name) for name in BITS])
                job.delivery.write_text("README.md", card.write(job.source, job.delivery.record()))
    remove(importance)
    work.progress.finish()
    work.raise_rejected()
    return task.summary(work.verdicts)


def check_family(job: Task) -> None:
    """Refuses a model that llama.cpp would not run as transformers does, and says what it does otherwise."""
    from workbench.exports.gguf import family, vocabulary

    config = job.merged.config
    found = family.of(config)
    reason = vocabulary.unsupported(job.tokenizer, family.vocabulary_size(config))
    if reason:
        raise ExportError(f"This model cannot become a GGUF. {reason}", "Export it as merged instead.")
    for caveat in found.caveats(family.settings(found, config)):
        job.context.note(caveat, "warning")


def planned(merged: Merged, quants: list[str]) -> BytePlan:
    """The bytes of those files for a model."""
    config, infos = merged.config, merged.model.infos
    widths = [int(config.get(name) or WIDE_ROW) for name in ("hidden_size", "intermediate_size")]
    heads = [info.count for name, info in infos.items() if name == "lm_head.weight" and not _is_tied(merged)]
    embeddings = [info.count for name, info in infos.items() if name.endswith("embed_tokens.weight")]
    head = (heads or embeddings or [0])[0]
    left_out = infos["lm_head.weight"].count if _is_tied(merged) and "lm_head.weight" in infos else 0
    narrow = any(width % WIDE_ROW for width in widths)
    return gguf_bytes(merged.model.parameters - left_out, quants, narrow=narrow, head=head)


def _is_tied(merged: Merged) -> bool:
    return bool(merged.config.get("tie_word_embeddings"))


def weigh(job: Task, model: Any, target: Path) -> None:
    """Gathers what the types below three bits need, on the held-out prompts with their answers and on general text."""
    from workbench.exports import importance, verify

    job.context.phase("weighing the inputs of each layer")
    encode = job.tokens.tokenizer.encode
    texts = [exchange.prompt + exchange.answer for exchange in job.checker.exchanges]
    target.parent.mkdir(parents=True, exist_ok=True)
    texts += [ids for text in verify.TEXTS if len(ids := encode(text, add_special_tokens=False).ids) > 1]
    importance.measure(model, job.merged, texts, target, job.context.check_stop)


def file_name(quant: str) -> str:
    return f"model-{quant}.gguf"


@dataclass
class Making:
    """The files of one GGUF job, made one after the other."""

    job: Task
    progress: Progress
    importance: Path | None = None
    verdicts: dict[str, tuple[Verdict, int]] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)

    def make(self, quants: list[str]) -> None:
        """Writes the exact files, then the quantised ones from the exact one."""
        source_quant = source_type(quants)
        source = Path()
        for name in [q for q in EXACT if q in quants or q == source_quant]:
            path = self._write(name)
            given = self._deliver(name, path) if name in quants else self._pass_on(name, path)
            source = given if name == source_quant else source
        for name in [q for q in quants if q not in EXACT]:
            self._deliver(name, self._quantise(source, name))
        if source_quant not in quants:
            remove(source)

    def raise_rejected(self) -> None:
        """The first failure as an error, if any file did not pass."""
        if self.rejected:
            kept = ", ".join(f"{file_name(name)}.unverified" for name in self.rejected)
            raise self.verdicts[self.rejected[0]][0].error(kept)

    def _write(self, name: str) -> Path:
        from workbench.exports.gguf import facts, writing

        job = self.job
        job.context.phase(f"writing {name}")
        self.progress.go_on()
        path = job.delivery.partial(file_name(name))
        about = facts.description(job.source), facts.tokens(job.source, job.tokens, job.tokenizer)
        writing.write(path, name, job.merged, job.merged.config, about[1], about[0], self.progress.add)
        self.progress.pause()
        return path

    def _quantise(self, source: Path, name: str) -> Path:
        from workbench.exports.gguf import quantising

        self.job.context.phase(f"quantising to {name}")
        self.progress.go_on()
        path = self.job.delivery.partial(file_name(name))
        weighed = self.importance if BY_NAME[name].weighed else None
        quantising.in_child(source, path, name, weighed, self.progress.add)
        if path.stat().st_size == 0 or disk_free(path.parent) == 0:
            raise full_disk(path.parent, path.name)
        self.progress.pause()
        return path

    def _pass_on(self, name: str, path: Path) -> Path:
        """Checks the exact file that others are made from; one that is wrong ends the job."""
        verdict = self.job.checker.check_gguf(path, name)
        self.job.delivery.facts["chain"][name] = verdict.figures
        if not verdict.passed:
            row = {"target": name, "size_bytes": path.stat().st_size, **verdict.row}
            raise verdict.error(self.job.delivery.reject(file_name(name), row).name)
        return path

    def _deliver(self, name: str, path: Path) -> Path:
        """Checks a file and gives it its name, or keeps it under another; where it lies now."""
        size = path.stat().st_size
        final = path.with_name(file_name(name))
        self.job.context.emit(Exported(target=name, path=str(final), size_bytes=size))
        verdict = self.job.checker.check_gguf(path, name)
        self.verdicts[name] = (verdict, size)
        facts = {"target": name, "size_bytes": size, **verdict.row}
        if name in EXACT:
            self.job.delivery.facts["chain"][name] = verdict.figures
        if verdict.passed:
            return self.job.delivery.publish(final.name, facts)
        self.rejected.append(name)
        return self.job.delivery.reject(final.name, facts)
