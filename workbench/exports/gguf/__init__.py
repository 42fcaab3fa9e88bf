"""The GGUF export: one file for llama.cpp and Ollama, written straight from base and adapter, quantised, verified.

No merged copy is needed on the way: tensors are merged as they are written. Quantised types are made by llama.cpp
itself from an f16 (or f32) file, which is deleted again unless it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import ExportError
from workbench.events import Exported, Metrics
from workbench.exports import OUT, Export, card, modelfile
from workbench.exports.folder import PARTIAL, disk_errors, full_disk, remove, removed_on_failure
from workbench.exports.plan import BITS, free_bytes, gguf_bytes, parse_quants, source_type
from workbench.fields import Field

if TYPE_CHECKING:
    from workbench.exports.checking import Verdict
    from workbench.exports.gguf.writing import TokenFacts
    from workbench.exports.task import Progress, Task
    from workbench.worker.context import RunContext

QUANTS = Field(
    "quants",
    "Q8_0",
    "Types",
    "Which files to make, separated by commas. f16: exact, largest. Q8_0: half of it, no difference to hear. Q6_K, "
    f"Q5_K_M, Q4_K_M: smaller still, each a little worse. There are: {', '.join(BITS)}.",
    group="export",
)

EXPORT = Export(
    name="gguf",
    label="GGUF",
    summary="One file for llama.cpp, Ollama and LM Studio, with a Modelfile; quantised to a fraction of the size.",
    fields=(QUANTS, OUT),
)

EXACT = ("f32", "f16")
ROW = 256
"""K-quants store weights in blocks of 256, so a row has to divide by it."""

FOR_OLLAMA = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "f16", "f32")
"""The Modelfile names the first of these that there is."""


def export(context: RunContext) -> Metrics:
    """Writes, verifies and publishes the GGUF files of the job, and returns their figures."""
    from workbench.exports import answers, task
    from workbench.exports.gguf import family, vocabulary

    quants = parse_quants(str(context.job.settings["quants"]))
    job = task.prepare(context)
    config = job.source.config
    family.of(config)
    reason = vocabulary.unsupported(job.tokenizer, int(config["vocab_size"]))
    if reason:
        raise ExportError(f"This model cannot become a GGUF. {reason}", "Export it as merged instead.")
    narrow = int(config["hidden_size"]) % ROW != 0 or int(config["intermediate_size"]) % ROW != 0
    plan = gguf_bytes(job.merged.model.parameters, quants, narrow=narrow)
    plan.check(job.delivery.root)
    checker = job.checker
    checker.ask(answers.merged_in_memory(job.merged, checker.device, checker.dtype))
    merge = checker.check_merge(inform=not (job.delivery.root / "merged").is_dir())
    if not merge.passed:
        raise merge.error()
    work = _Work(job, task.Progress(context, sum(plan.kept.values()) + sum(plan.passing.values())))
    parts = [job.delivery.root / f"{file_name(name)}{PARTIAL}" for name in BITS]
    with removed_on_failure(*parts), disk_errors(job.delivery.root, "the GGUF"):
        work.make(quants)
    work.progress.finish()
    return task.summary(work.verdicts)


def file_name(quant: str) -> str:
    return f"model-{quant}.gguf"


@dataclass
class _Work:
    """The files of one GGUF job, made one after the other."""

    job: Task
    progress: Progress
    verdicts: dict[str, tuple[Verdict, int]] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)

    def make(self, quants: list[str]) -> None:
        """Writes the exact files, then the quantised ones from the exact one; raises if any failed its checks."""
        source_quant = source_type(quants)
        source = Path()
        for name in [q for q in EXACT if q in quants or q == source_quant]:
            path = self._write(name)
            published = self._deliver(name, path) if name in quants else path
            source = published if name == source_quant else source
        for name in [q for q in quants if q not in EXACT]:
            self._deliver(name, self._quantise(source, name))
        if source_quant not in quants:
            remove(source)
        if self.verdicts.keys() - set(self.rejected):
            self._write_texts()
        if self.rejected:
            first = self.rejected[0]
            raise self.verdicts[first][0].error(", ".join(f"{file_name(name)}.unverified" for name in self.rejected))

    def _write(self, name: str) -> Path:
        from workbench.exports.gguf import writing

        job = self.job
        job.context.phase(f"writing {name}")
        path = job.delivery.partial(file_name(name))
        description = writing.Description(job.source.title, card.base_name(job.source), job.source.licence)
        writing.write(path, name, job.merged, job.source.config, self._tokens(), description, self.progress.add)
        return path

    def _quantise(self, source: Path, name: str) -> Path:
        from workbench.exports.gguf import writing

        self.job.context.check_stop()
        self.job.context.phase(f"quantising to {name}")
        path = self.job.delivery.partial(file_name(name))
        writing.quantise(source, path, name)
        if path.stat().st_size == 0 or free_bytes(path.parent) == 0:
            raise full_disk(path.parent, path.name.removesuffix(PARTIAL))
        self.progress.add(path.stat().st_size)
        return path

    def _deliver(self, name: str, path: Path) -> Path:
        """Checks a file and gives it its name, or keeps it under another; where it lies now."""
        size = path.stat().st_size
        final = path.with_name(file_name(name))
        self.job.context.emit(Exported(target=name, path=str(final), size_bytes=size))
        verdict = self.job.checker.check_gguf(path, name)
        self.verdicts[name] = (verdict, size)
        facts = {"target": name, "size_bytes": size, "checks": verdict.figures}
        if verdict.passed:
            return self.job.delivery.publish(final.name, facts)
        self.rejected.append(name)
        return self.job.delivery.reject(final.name, facts)

    def _tokens(self) -> TokenFacts:
        from workbench.exports.gguf.writing import TokenFacts

        tokens = self.job.tokens
        special: dict[str, int] = {}
        for name in ("bos", "eos", "pad", "unk"):
            text = tokens.special.get(f"{name}_token")
            number = tokens.tokenizer.token_to_id(text) if text else None
            if number is not None:
                special[name] = number
        if tokens.end_of_turn is not None and tokens.end_of_turn != special.get("eos"):
            special["eot"] = tokens.end_of_turn
        return TokenFacts(self.job.tokenizer, special, tokens.template if tokens.has_own_template else "")

    def _write_texts(self) -> None:
        """The Modelfile for the best of the verified files, and the model card."""
        job = self.job
        there = [name for name in FOR_OLLAMA if (job.delivery.root / file_name(name)).is_file()]
        tokens = job.tokens
        found = modelfile.recognise(
            lambda turns, ask: tokens.render(turns, ask=ask), tokens.special.get("bos_token", "")
        )
        if found is None:
            job.context.note(
                "Ollama cannot express this model's chat template; its Modelfile passes the bare prompt. llama.cpp and "
                "LM Studio use the template inside the GGUF.",
                "warning",
            )
        ends = [tokens.tokenizer.id_to_token(number) for number in tokens.end_ids]
        text = modelfile.write(
            file_name(there[0]),
            found,
            stops=modelfile.stops(found, ends),
            context=int(job.source.config["max_position_embeddings"]),
            adds_bos=tokens.adds_bos,
            title=job.source.title,
            others=[file_name(name) for name in there[1:]],
        )
        job.delivery.write_text("Modelfile", text)
        job.delivery.write_text("README.md", card.write(job.source, job.delivery.record()))
