"""Writes one GGUF file straight from safetensors, a block of rows at a time: merged, laid out, rounded, written once.

The head of the file is made by GGML's own `gguf` package. The tensors follow in the order of the source's bytes, so
that memory holds a few blocks whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bases.model_folder import EMBEDDINGS
from workbench.errors import ExportError
from workbench.exports.gguf import family as families
from workbench.exports.gguf import metadata
from workbench.exports.gguf.family import Family
from workbench.exports.gguf.metadata import Description, TokenFacts
from workbench.exports.gguf.quantising import FILE_TYPES

if TYPE_CHECKING:
    import torch

    from workbench.exports.tensors import Merged

__all__ = ["Description", "TokenFacts", "write"]

LARGEST_F16 = 65504.0


@dataclass(frozen=True)
class _Plan:
    """What goes into a file: which tensor of the source under which name, and those that come from the settings."""

    family: Family
    settings: dict[str, Any]
    names: dict[str, str]
    extra: dict[str, torch.Tensor]


def write(
    path: Path,
    quant: str,
    merged: Merged,
    config: Mapping[str, Any],
    tokens: TokenFacts,
    description: Description,
    on_bytes: Callable[[int], None],
) -> None:
    """Writes the model as an f32, f16 or bf16 GGUF; `on_bytes` is called after each block with its size."""
    import gguf

    plan = _plan(merged, config)
    words = metadata.words_of(tokens, int(plan.settings["vocab_size"]))
    writer = gguf.GGUFWriter(path, plan.family.architecture)
    try:
        _announce(writer, plan, merged, quant)
        label = gguf.size_label(*writer.get_total_parameter_count())
        metadata.add_description(writer, description, FILE_TYPES[quant], label, strips=words.strips)
        metadata.add_family(writer, plan.family.architecture, plan.family.metadata(plan.settings))
        metadata.add_vocabulary(writer, tokens, words)
        del words  # 262,144 tokens are 40 MB
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.kv_data = [{}]
        _write_tensors(writer, plan, merged, quant, on_bytes)
    finally:
        writer.close()


def _plan(merged: Merged, config: Mapping[str, Any]) -> _Plan:
    family = families.of(config)
    settings = families.settings(family, config)
    return _Plan(family, settings, _names(family, settings, merged), family.extra_tensors(settings))


def _names(family: Family, settings: Mapping[str, Any], merged: Merged) -> dict[str, str]:
    """The source's tensors and llama.cpp's names for them; an ExportError for one that has none, or is missing."""
    import gguf

    architecture = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    table = gguf.get_tensor_name_map(architecture, int(settings["num_hidden_layers"]))
    tied = bool(settings.get("tie_word_embeddings"))
    names: dict[str, str] = {}
    for source, info in merged.model.infos.items():
        if source.endswith(family.ignored) or (tied and source == "lm_head.weight"):
            continue
        name = table.get_name(source, try_suffixes=(".weight", ".bias"))
        stem = (name or "").removesuffix(".bias").rpartition(".")[2]
        if name is None or (name.endswith(".bias") and stem not in family.biases):
            raise ExportError(
                f"The model holds {source}, which a {family.name} GGUF has no place for.",
                "It is not an ordinary model of its family; export it as merged instead.",
            )
        names[source] = name
        if source.endswith(EMBEDDINGS) and info.shape[0] != int(settings["vocab_size"]):
            raise ExportError(
                f"The model's embedding has {info.shape[0]} rows and its config.json says {settings['vocab_size']}.",
                "Mend vocab_size in config.json, or get the model again.",
            )
    _check_complete(set(names.values()), tied, int(settings["num_hidden_layers"]))
    return names


def _check_complete(names: set[str], tied: bool, layers: int) -> None:
    wanted = ["token_embd.weight", "output_norm.weight", *([] if tied else ["output.weight"])]
    stems = {name.partition(".")[2].partition(".")[2] for name in names if name.startswith("blk.0.")}
    wanted += [f"blk.{n}.{stem}" for n in range(layers) for stem in sorted(stems or {"attn_q.weight"})]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ExportError(
            f"The model's files lack {missing[0]}"
            + (f" and {len(missing) - 1} more tensors." if len(missing) > 1 else "."),
            "Download or train the model again.",
        )


def _is_wide(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor stays float32 in every file, as llama.cpp wants vectors and norms."""
    return len(shape) < 2 or name.endswith("_norm.weight") or not name.endswith(".weight")


def _announce(writer: Any, plan: _Plan, merged: Merged, quant: str) -> None:
    """Tells the writer of every tensor, in the order in which they will come."""
    import gguf
    import numpy as np

    kinds: dict[str, tuple[np.dtype[Any], Any]] = {
        "f32": (np.dtype(np.float32), gguf.GGMLQuantizationType.F32),
        "f16": (np.dtype(np.float16), gguf.GGMLQuantizationType.F16),
        "bf16": (np.dtype(np.uint16), gguf.GGMLQuantizationType.BF16),  # numpy has no such type: its bits
    }
    for name, tensor in plan.extra.items():
        writer.add_tensor_info(name, tuple(tensor.shape), kinds["f32"][0], tensor.nbytes)
    for source, name in plan.names.items():
        info = merged.model.infos[source]
        kind, raw = kinds["f32" if _is_wide(name, info.shape) else quant]
        writer.add_tensor_info(name, info.shape, kind, info.count * kind.itemsize, raw_dtype=raw)


def _write_tensors(writer: Any, plan: _Plan, merged: Merged, quant: str, on_bytes: Callable[[int], None]) -> None:
    """The tensors' bytes, each beginning where the file's alignment wants it."""
    out = writer.fout[0]
    writer.write_padding(out, out.tell())
    for tensor in plan.extra.values():
        writer.write_padding(out, out.write(_bytes(tensor)))
    for source, name in plan.names.items():
        wide = _is_wide(name, merged.model.infos[source].shape)
        written = 0
        for block in merged.blocks(source, plan.family.rows_together(source, plan.settings)):
            rounded = _rounded(name, plan.family.transform(source, block, plan.settings), "f32" if wide else quant)
            written += out.write(_bytes(rounded))
            on_bytes(rounded.nbytes)
        writer.write_padding(out, written)


def _rounded(name: str, block: torch.Tensor, kind: str) -> torch.Tensor:
    """The block in the file's type; an ExportError where that cannot hold its values."""
    import torch

    if kind == "f16" and block.dtype != torch.float16:
        low, high = torch.aminmax(block)
        if max(-float(low), float(high)) > LARGEST_F16:
            raise ExportError(
                f"{name} holds values beyond {LARGEST_F16:g}, which f16 cannot hold.",
                "Ask for bf16 or f32, and types made from it.",
            )
    return block.to({"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[kind])


def _bytes(tensor: torch.Tensor) -> memoryview:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def names(merged: Merged) -> dict[str, str]:
    """The model's tensors that go into a file, and llama.cpp's names for them."""
    return _plan(merged, merged.config).names


def laid_out(merged: Merged, source: str, rows: torch.Tensor) -> torch.Tensor:
    """Rows of a tensor (or of what is added to it) in llama.cpp's order."""
    plan = _plan(merged, merged.config)
    return plan.family.transform(source, rows, plan.settings)


def expected(merged: Merged) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of the model under llama.cpp's name and in its layout, one at a time."""
    plan = _plan(merged, merged.config)
    for source, name in plan.names.items():
        yield name, plan.family.transform(source, merged.tensor(source), plan.settings)
