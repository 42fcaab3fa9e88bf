"""What one model folder is: architecture, sizes, template, licence, and in a sentence each what is wrong with it.

Reads config.json, tokenizer.json and safetensors headers; never a tensor, never a pickle, and runs nothing that a model
brings along.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.bases import weights
from workbench.bases.weights import FLOATING, TensorInfo, read_header
from workbench.errors import BaseModelError

MAX_JSON_BYTES = 64_000_000
"""The largest tokenizer.json in use is about 35 MB."""
MAX_TEMPLATE_CHARACTERS = 1_000_000
"""Templates are a page or ten; a longer one is an attack on whoever renders it."""
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""How families end the name of their input embedding."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


@dataclass(frozen=True)
class Base:
    """One base model on disk. It can be used where `problems` is empty."""

    name: str
    path: Path
    spec: str
    """What names it in a job: 'bundled', a folder, or a hub id."""
    architecture: str = ""
    model_type: str = ""
    parameters: int = 0
    size_bytes: int = 0
    dtype: str = ""
    vocab: int = 0
    layers: int = 0
    hidden: int = 0
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    context: int = 0
    """Tokens it was made to read."""
    tied: bool = False
    """Whether the output head shares the embedding's weights."""
    has_template: bool = False
    has_generation_markers: bool = False
    """Whether the template marks what the assistant says, which loss on answers in a dialogue needs."""
    licence: str = ""
    fingerprint: str = ""
    exportable: str = ""
    """Why it cannot be exported as GGUF; "" where it can."""
    problems: tuple[str, ...] = ()
    """Why it cannot be used, a sentence each."""

    @property
    def usable(self) -> bool:
        return not self.problems


def read_base(folder: Path, spec: str, name: str) -> Base:
    """What a model folder holds. Whatever is wrong with it becomes one of its `problems`."""
    return _read_base(folder, spec, name, _signature(folder))


def _signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when any file of the folder does."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return ()
    found = [(path.name, path.stat()) for path in entries if path.exists()]
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


@lru_cache(maxsize=128)  # a 128,000-token tokenizer.json takes 0.3 s to read, and screens ask again and again
def _read_base(folder: Path, spec: str, name: str, signature: tuple[tuple[str, int, int], ...]) -> Base:
    problems: list[str] = []
    config = _json_of(folder / "config.json", problems)
    if not config:
        ggufs = next(folder.glob("*.gguf"), None) if folder.is_dir() else None
        why = f"It holds a GGUF ({ggufs.name}), which can be chatted with and not trained." if ggufs else problems[0]
        return Base(name, folder, spec, problems=(why,))
    tensors = _tensors(folder, problems)
    tokenizer = _tokenizer(folder, problems)
    template = _template(folder)
    _check_config(config, problems)
    _check_weights(tensors, _token_count(tokenizer), problems)
    return Base(
        name=name,
        path=folder,
        spec=spec,
        architecture=str((config.get("architectures") or [""])[0]),
        model_type=str(config.get("model_type", "")),
        parameters=_parameters(tensors),
        size_bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors") if path.exists()),
        dtype=_dtype(tensors),
        has_template=bool(template),
        has_generation_markers="{% generation" in template or "{%- generation" in template,
        licence=_licence(folder),
        fingerprint=_fingerprint(folder, problems),
        exportable=_exportable(config, tokenizer),
        problems=tuple(problems),
        **_dimensions(config),
    )


def _dimensions(config: dict[str, Any]) -> dict[str, Any]:
    """The sizes that an estimate of memory needs, under Llama's names or GPT-2's; a model that sees keeps its text
    part's under text_config."""
    inner = config.get("text_config")
    sizes: dict[str, Any] = inner if isinstance(inner, dict) else config

    def whole(*names: str) -> int:
        return next((sizes[name] for name in names if type(sizes.get(name)) is int and sizes[name] > 0), 0)

    heads = whole("num_attention_heads", "n_head")
    hidden = whole("hidden_size", "n_embd")
    return {
        "vocab": whole("vocab_size"),
        "layers": whole("num_hidden_layers", "n_layer"),
        "hidden": hidden,
        "intermediate": whole("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden,
        "heads": heads,
        "kv_heads": whole("num_key_value_heads") or heads,
        "head_dim": whole("head_dim") or (hidden // heads if heads else 0),
        "context": whole("max_position_embeddings", "n_positions"),
        "tied": bool(config.get("tie_word_embeddings", False)),
    }


def _json_of(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON table of the model's; {} and a problem where it is missing or damaged."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            problems.append(f"{path.name} is too large to be one.")
            return {}
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        problems.append(f"There is no {path.name} in it.")
        return {}
    except (OSError, ValueError, RecursionError):
        problems.append(f"{path.name} is damaged; download the model again.")
        return {}
    if not isinstance(table, dict) or not table:
        problems.append(f"{path.name} is damaged; download the model again.")
        return {}
    return table


def _tensors(folder: Path, problems: list[str]) -> dict[str, TensorInfo]:
    """Every tensor of the weights; missing and damaged files become problems."""
    tensors: dict[str, TensorInfo] = {}
    present = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
    wanted = _wanted_shards(folder, problems) or set(present)
    missing = sorted(shard for shard in wanted if shard not in present or not present[shard].exists())
    if missing:
        problems.append(f"{len(missing)} of {len(wanted)} weight files are missing, {missing[0][:80]} first.")
    if not wanted:
        problems.append(_no_weights(folder))
    for shard in sorted(wanted - set(missing)):
        try:
            tensors.update(read_header(present[shard]))
        except BaseModelError as error:
            problems.append(error.message)
    return tensors


def _wanted_shards(folder: Path, problems: list[str]) -> set[str]:
    """The weight files that the index names; empty where there is no index."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return set()
    table = _json_of(index, problems).get("weight_map")
    return {str(shard) for shard in table.values()} if isinstance(table, dict) else set()


def lacks_weights(folder: Path) -> bool:
    """Whether weights that belong there are not there yet, as after a download that broke off."""
    present = {path.name for path in folder.glob("*.safetensors") if path.exists()}
    wanted = _wanted_shards(folder, [])
    if wanted:
        return not wanted <= present
    return not present and not _pickles(folder) and not any(folder.glob("*.gguf"))


def _pickles(folder: Path) -> bool:
    return any(path for suffix in ("bin", "pt", "pth") for path in folder.glob(f"*.{suffix}"))


def _no_weights(folder: Path) -> str:
    if _pickles(folder):
        return "Its weights are pickles (.bin), which can run code when opened; get a version with safetensors."
    if any(folder.glob("*.gguf")):
        return "It holds a GGUF only, which can be chatted with and not trained."
    return "There are no weights (*.safetensors) in it."


def _tokenizer(folder: Path, problems: list[str]) -> dict[str, Any]:
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        problems.append("It has no tokenizer (tokenizer.json).")
        return {}
    return _json_of(folder / "tokenizer.json", problems) if (folder / "tokenizer.json").exists() else {}


def _token_count(tokenizer: dict[str, Any]) -> int:
    """One more than the highest token id."""
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    highest = -1
    if isinstance(vocab, dict):
        highest = max((number for number in vocab.values() if type(number) is int), default=-1)
    elif isinstance(vocab, list):
        highest = len(vocab) - 1
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and type(token.get("id")) is int:
            highest = max(highest, token["id"])
    return highest + 1


def _check_config(config: dict[str, Any], problems: list[str]) -> None:
    if config.get("auto_map"):
        problems.append("It needs code of its own (auto_map), which the workbench does not run.")
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else "unknown"
        problems.append(f"Its weights are already quantised ({str(method)[:20]}); get the 16-bit original.")


def _check_weights(tensors: dict[str, TensorInfo], tokens: int, problems: list[str]) -> None:
    odd = {tensor.dtype for tensor in tensors.values() if tensor.dtype.startswith("F8")}
    if odd and not any("quantised" in problem for problem in problems):
        problems.append("Its weights are 8-bit floats; get the 16-bit original.")
    shapes = (tensor.shape for name, tensor in tensors.items() if name.endswith(EMBEDDINGS))
    rows = next((shape[0] for shape in shapes if len(shape) == 2), 0)
    if rows and tokens > rows:
        problems.append(f"Its tokenizer has {tokens:,} tokens and its embedding only {rows:,} rows.")


def _parameters(tensors: dict[str, TensorInfo]) -> int:
    return sum(tensor.count for tensor in tensors.values() if tensor.dtype in FLOATING)


def _dtype(tensors: dict[str, TensorInfo]) -> str:
    """The dtype that most of the weights have."""
    totals: dict[str, int] = {}
    for tensor in tensors.values():
        totals[tensor.dtype] = totals.get(tensor.dtype, 0) + tensor.count
    most = max(totals, key=lambda dtype: totals[dtype], default="")
    return FLOATING.get(most, most)


def _template(folder: Path) -> str:
    """The chat template, from its own file or the tokenizer's settings; "" where there is none."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        with own.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_TEMPLATE_CHARACTERS)
    template = _json_of(folder / "tokenizer_config.json", []).get("chat_template", "")
    if isinstance(template, list):
        template = next((t.get("template") for t in template if isinstance(t, dict) and t.get("name") == "default"), "")
    return template if isinstance(template, str) else ""


def _licence(folder: Path) -> str:
    """The licence that the model card's front matter names."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            front = card.read(20_000)
    except OSError:
        return ""
    found = re.match(r"---\s*\n(.*?)\n---", front, re.DOTALL)
    named = dict(re.findall(r"^(license|license_name):[ \t]*['\"]?([\w.+-]+)", found.group(1) if found else "", re.M))
    licence: str = named.get("license", "")
    return named.get("license_name", licence) if licence in ("", "other") else licence


def _fingerprint(folder: Path, problems: list[str]) -> str:
    try:
        return weights.fingerprint(folder)
    except BaseModelError as error:
        problems.append(error.message)
        return ""


def _exportable(config: dict[str, Any], tokenizer: dict[str, Any]) -> str:
    """What the GGUF exporter says of it before any training: "" or why not."""
    from workbench import exports

    try:
        return exports.exportable(config, tokenizer)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return "Its config.json or tokenizer.json is of a kind that the GGUF exporter does not know."
