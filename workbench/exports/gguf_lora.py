"""The adapter alone as a GGUF: megabytes that llama.cpp puts upon a GGUF of the base (`--lora`), Ollama by `ADAPTER`.

llama.cpp adds user_scale · alpha / rank · B A to what a layer gives (src/llama-adapter.h). One alpha stands for the
whole file; where layers differ, their scales are multiplied into B instead and alpha is 0, which llama.cpp takes for
none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.events import Exported, Metrics
from workbench.exports import COMMON, Export

if TYPE_CHECKING:
    from workbench.exports.adapter import Adapter
    from workbench.exports.gguf.metadata import Description
    from workbench.exports.task import Task
    from workbench.exports.tensors import Merged
    from workbench.worker.context import RunContext

EXPORT = Export(
    name="gguf-lora",
    label="GGUF adapter",
    summary="The LoRA adapter alone, a few megabytes, to be put upon a GGUF of the base.",
    fields=COMMON,
)

TARGET = "gguf-lora"
FILE = "adapter.gguf"
BASE = "base-f16.gguf"
"""The base as llama.cpp reads it, made to check the adapter upon it, and deleted."""


def export(context: RunContext) -> Metrics:
    """Writes, verifies and publishes the adapter of the job, and returns its figures."""
    from workbench.exports import answers, card, making, task
    from workbench.exports.folder import disk_errors, remove, removed_on_failure
    from workbench.exports.gguf import facts
    from workbench.exports.plan import BytePlan, quantised_bytes

    job = task.prepare(context)
    making.check_family(job)
    adapter = fitting(job)
    base_bytes = quantised_bytes(job.merged.model.parameters, "f16")
    plan = BytePlan({"the adapter": adapter.size_bytes}, {"the base": base_bytes})
    context.note(plan.check(job.delivery.root))
    job.checker.ask(answers.merged_in_memory(job.merged, job.checker.place))
    merge = job.checker.check_merge()
    if not merge.passed:
        raise merge.error()
    base, path = job.delivery.partial(BASE), job.delivery.partial(FILE)
    progress = task.Progress(context, plan.written)
    with removed_on_failure(base, path), disk_errors(job.delivery.root, "the adapter"):
        context.phase("writing the adapter")
        write(path, job.merged, adapter, facts.description(job.source))
        progress.add(path.stat().st_size)
        _write_base(job, base, progress)
        size = path.stat().st_size
        context.emit(Exported(target=TARGET, path=str(job.delivery.root / FILE), size_bytes=size))
        verdict = job.checker.check_gguf(base, TARGET, lora=path)
        remove(base)
        row = {"target": TARGET, "size_bytes": size, **verdict.row}
        if not verdict.passed:
            raise verdict.error(job.delivery.reject(FILE, row).name)
        job.delivery.publish(FILE, row)
        job.delivery.write_text("README.md", card.write(job.source, job.delivery.record()))
    progress.finish()
    return task.summary({TARGET: (verdict, size)})


def fitting(job: Task) -> Adapter:
    """The job's adapter; an ExportError where a LoRA file cannot say all that it changes."""
    adapter = job.merged.adapter
    instead = "Export it as gguf, with everything merged in."
    if adapter is None:
        raise ExportError(f"{job.source.title} has no adapter: its own weights were tuned.", instead)
    if adapter.uses_dora:
        raise ExportError("The adapter is a DoRA: llama.cpp knows no magnitudes beside a LoRA.", instead)
    whole = [name for name in adapter.touched if not adapter.is_low_rank(name)]
    if whole:
        raise ExportError(f"The run trained {whole[0]} as a whole, which a LoRA file cannot hold.", instead)
    if job.merged.untied:
        raise ExportError(
            "The run changed the embedding or the output head alone, which the base keeps as one tensor.", instead
        )
    return adapter


def write(path: Path, merged: Merged, adapter: Adapter, description: Description) -> None:
    """Writes the adapter's matrices under llama.cpp's names, float32."""
    import gguf

    from workbench.exports.gguf import family, metadata, writing

    names = writing.names(merged)
    writer = gguf.GGUFWriter(path, family.of(merged.config).architecture)
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_name(description.name)
        metadata.add_base(writer, description)
        metadata.add_lineage(writer, description)
        shared = {adapter.change(source).scale * adapter.change(source).a.shape[0] for source in adapter.touched}
        alpha = shared.pop() if len(shared) == 1 else 0.0
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for source in adapter.touched:
            for name, data in _matrices(merged, adapter, source, names[source], baked=alpha == 0.0):
                writer.add_tensor(name, data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _matrices(merged: Merged, adapter: Adapter, source: str, name: str, *, baked: bool) -> list[tuple[str, Any]]:
    """A (r, in) and B (out, r), its rows in llama.cpp's order; for an embedding A lies the other way, as it is read."""
    from workbench.exports.gguf import writing

    change = adapter.change(source)
    a, b = change.a, change.b * (change.scale if baked else 1.0)
    if change.transposed and name != "token_embd.weight":
        raise ExportError(f"{source} is stored transposed, which a LoRA file cannot say.", "Export it as gguf.")
    rows = b if change.transposed else writing.laid_out(merged, source, b)
    first = a.T if change.transposed else a
    return [(f"{name}.lora_a", first.contiguous().numpy()), (f"{name}.lora_b", rows.contiguous().numpy())]


def _write_base(job: Task, path: Path, progress: Any) -> None:
    """The base alone as f16."""
    from workbench.exports.gguf import facts, writing
    from workbench.exports.tensors import Merged, Weights

    job.context.phase("writing the base to check upon")
    base = Merged(Weights(job.source.model))
    about = facts.description(job.source), facts.tokens(job.source, job.tokens, job.tokenizer)
    writing.write(path, "f16", base, base.config, about[1], about[0], progress.add)
