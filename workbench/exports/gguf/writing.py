"""Writes one GGUF file with GGML's own `gguf` package, a tensor at a time, and quantises it through llama.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.exports import template as templates
from workbench.exports.folder import full_disk
from workbench.exports.gguf import family as families
from workbench.exports.gguf import vocabulary
from workbench.exports.plan import free_bytes

if TYPE_CHECKING:
    import numpy as np
    import torch

    from workbench.exports.tensors import Merged

FILE_TYPES = {"f32": 0, "f16": 1, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}
"""llama.cpp's `llama_ftype` of each type we write."""

LARGEST_F16 = 65504.0

SPARE_BYTES = 4_000_000
"""Less than this left on the disk after a failed quantisation means that the disk was the reason."""


@dataclass(frozen=True)
class TokenFacts:
    """What the tokenizer says beyond its vocabulary."""

    tokenizer: Mapping[str, Any]
    """tokenizer.json as the loaded tokenizer has it."""
    special: dict[str, int]
    """bos, eos, eot, pad and unk ids, those that there are."""
    template: str = ""


@dataclass(frozen=True)
class Description:
    """What a GGUF file says of itself."""

    name: str
    base: str = ""
    licence: str = ""


def write(
    path: Path,
    quant: str,
    merged: Merged,
    config: Mapping[str, Any],
    tokens: TokenFacts,
    description: Description,
    on_bytes: Callable[[int], None],
) -> None:
    """Writes the model as an f32 or f16 GGUF; `on_bytes` is called after each tensor with its size."""
    import gguf

    family = families.of(config)
    writer = gguf.GGUFWriter(path, family.NAME)
    try:
        _add_metadata(writer, family, config, quant, description)
        _add_vocabulary(writer, tokens, int(config["vocab_size"]))
        names = _tensor_names(family, merged, config)
        extra: dict[str, np.ndarray[Any, Any]] = family.extra_tensors(config)
        for name, data in extra.items():
            writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes)
        for source, name in names.items():
            shape = merged.model.infos[source].shape
            kind = _kind(name, shape, quant)
            writer.add_tensor_info(name, shape, kind, merged.model.infos[source].count * kind.itemsize)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for data in extra.values():
            writer.write_tensor_data(data)
        for source, name in names.items():
            tensor = family.transform(source, merged.tensor(source), config)
            data = _as_numpy(name, tensor, quant)
            writer.write_tensor_data(data)
            on_bytes(data.nbytes)
    finally:
        writer.close()


def _kind(name: str, shape: tuple[int, ...], quant: str) -> np.dtype[Any]:
    """Vectors (norms, biases) stay float32, as llama.cpp wants them; matrices take the file's type."""
    import numpy as np

    return np.dtype(np.float16 if quant == "f16" and len(shape) > 1 else np.float32)


def _as_numpy(name: str, tensor: torch.Tensor, quant: str) -> np.ndarray[Any, Any]:
    kind = _kind(name, tuple(tensor.shape), quant)
    wide = tensor.float()
    if kind.itemsize == 2 and float(wide.abs().max()) > LARGEST_F16:
        raise ExportError(
            f"{name} holds values beyond {LARGEST_F16:g}, which f16 cannot hold.",
            "Ask for f32, and types made from it.",
        )
    data: np.ndarray[Any, Any] = wide.contiguous().numpy().astype(kind, copy=False)
    return data


def _tensor_names(family: ModuleType, merged: Merged, config: Mapping[str, Any]) -> dict[str, str]:
    """The file's tensors and llama.cpp's names for them; an ExportError for one that has none."""
    tied = bool(config.get("tie_word_embeddings"))
    names: dict[str, str] = {}
    for source in merged.model.infos:
        if family.ignored(source) or (tied and source == "lm_head.weight"):
            continue
        name = family.tensor_name(source)
        if name is None:
            raise ExportError(
                f"The model holds {source}, which a {family.NAME} GGUF has no place for.",
                "It is not an ordinary model of its family; export it as merged instead.",
            )
        names[source] = name
    expected = ["model.embed_tokens.weight", "model.norm.weight"] + ([] if tied else ["lm_head.weight"])
    missing = [name for name in expected if name not in names]
    if missing:
        raise ExportError(f"The model's files lack {', '.join(missing)}.", "Download or train the model again.")
    return names


def _add_metadata(
    writer: Any, family: ModuleType, config: Mapping[str, Any], quant: str, description: Description
) -> None:
    writer.add_name(description.name)
    if description.base:
        writer.add_string("general.base_model.0.name", description.base)
        writer.add_uint32("general.base_model.count", 1)
    if description.licence:
        writer.add_license(description.licence)
    writer.add_file_type(FILE_TYPES[quant])
    writer.add_quantization_version(2)  # GGML's GGML_QNT_VERSION; llama.cpp refuses quantised files of another one
    for key, value in family.metadata(config).items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{family.NAME}.{key}", value)


def _add_vocabulary(writer: Any, tokens: TokenFacts, size: int) -> None:
    reason = vocabulary.unsupported(tokens.tokenizer, size)
    if reason:
        raise ExportError(f"This model cannot become a GGUF. {reason}", "Export it as merged instead.")
    words = vocabulary.read(tokens.tokenizer, size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    add = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "eot": writer.add_eot_token_id,
        "pad": writer.add_pad_token_id,
        "unk": writer.add_unk_token_id,
    }
    for name, number in tokens.special.items():
        add[name](number)
    writer.add_add_bos_token(words.adds_bos)
    writer.add_add_eos_token(words.adds_eos)
    if tokens.template:
        writer.add_chat_template(templates.for_inference(tokens.template))


def quantise(source: Path, target: Path, quant: str, threads: int = 0) -> None:
    """Makes a quantised GGUF of an f16 or f32 one with llama.cpp; an ExportError (or a full disk) where it cannot."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[quant]
    params.nthread = threads
    code = llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params))
    if code != 0:
        if free_bytes(target.parent) < SPARE_BYTES:
            raise full_disk(target.parent, target.name)
        raise ExportError(
            f"llama.cpp could not make {quant} of this model (code {code}).",
            "The worker's log holds llama.cpp's own words. Ask for Q8_0 or f16, which every model can be.",
        )
