"""What a model family is on its way into a GGUF; the files in `families/` are the list. No torch at module scope.

A family says what llama.cpp calls it, which of config.json's settings become which of its keys, how a tensor's rows are
laid out, and which models of it llama.cpp would not run as transformers does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.registry import Registry

if TYPE_CHECKING:
    import torch

Config = Mapping[str, Any]
Value = int | float | str | bool | list[bool]
Keys = dict[str, Value]
"""llama.cpp's metadata, without the architecture's prefix."""


def _as_it_is(name: str, block: torch.Tensor, config: Config) -> torch.Tensor:
    return block


def _single_rows(name: str, config: Config) -> int:
    return 1


def _no_tensors(config: Config) -> dict[str, torch.Tensor]:
    return {}


def _stated_context(config: Config) -> int:
    return int(config["max_position_embeddings"])


def _no_caveats(config: Config) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Family:
    """One model family: `metadata` and the rest get config.json filled up by `settings`."""

    name: str
    architecture: str
    """llama.cpp's name of it."""
    classes: tuple[str, ...]
    """What config.json calls it, in `architectures`."""
    defaults: Mapping[str, Any]
    """What transformers assumes where config.json is silent."""
    unsupported: Callable[[Config], str]
    """Why a model with these settings would be another one in llama.cpp; "" if it would not."""
    metadata: Callable[[Config], Keys]
    transform: Callable[[str, torch.Tensor, Config], torch.Tensor] = _as_it_is
    """(transformers' name, some of its rows, settings) -> the rows as llama.cpp lays them out."""
    rows_together: Callable[[str, Config], int] = _single_rows
    """How many rows `transform` needs at once, and multiples of it."""
    extra_tensors: Callable[[Config], dict[str, torch.Tensor]] = _no_tensors
    """Tensors that stand in no weight file, float32."""
    biases: tuple[str, ...] = ()
    """llama.cpp's tensors (without block and ending) that may have a bias there."""
    caveats: Callable[[Config], tuple[str, ...]] = _no_caveats
    """What llama.cpp does otherwise in cases that a file cannot help, a sentence each."""
    context: Callable[[Config], int] = _stated_context
    """The largest context at which llama.cpp reads a short text as transformers does."""
    ignored: tuple[str, ...] = field(default=("rotary_emb.inv_freq",))
    """Endings of tensors that may be left out: older files hold the rotary frequencies, which the metadata gives."""


REGISTRY: Registry[Family] = Registry(f"{__package__}.families", "FAMILY", "model family")


def of(config: Config) -> Family:
    """The family of a model by its config.json; an ExportError where there is none or it would come out wrong."""
    reason = unsupported(config)
    if reason:
        raise ExportError(f"This model cannot become a GGUF. {reason}", "Export it as merged instead.")
    found = _named(config)
    assert found is not None
    return found


def unsupported(config: Config) -> str:
    """Why this config.json names no model that can become a GGUF; "" if it does."""
    if not config:
        return "It has no config.json."
    if config.get("quantization_config"):
        return "Its own weights are quantised already; an export needs 16- or 32-bit weights."
    family = _named(config)
    if family is None:
        known = ", ".join(sorted(record.name for record in REGISTRY.all()))
        return f"Its architecture {_class(config) or 'has no name'} is not among those written so far ({known})."
    missing = [name for name in ("hidden_size", "num_hidden_layers", "num_attention_heads") if not config.get(name)]
    if missing:
        return f"Its config.json lacks {', '.join(missing)}."
    return family.unsupported(settings(family, config))


def settings(family: Family, config: Config) -> dict[str, Any]:
    """config.json with the gaps filled as transformers fills them."""
    found = {**family.defaults, **config}
    heads = int(found["num_attention_heads"])
    found["num_key_value_heads"] = int(found.get("num_key_value_heads") or heads)
    if "head_dim" in found:
        found["head_dim"] = int(found["head_dim"] or found["hidden_size"] // heads)
    return found


def vocabulary_size(config: Config) -> int:
    """How many rows the embedding of a known family has."""
    family = _named(config)
    return int(settings(family, config)["vocab_size"]) if family is not None else 0


def context(config: Config) -> int:
    """The largest context to run a model of a known family with."""
    family = of(config)
    return family.context(settings(family, config))


def head_dim(config: Config) -> int:
    """Numbers in one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _named(config: Config) -> Family | None:
    return next((family for family in REGISTRY.all() if _class(config) in family.classes), None)


def _class(config: Config) -> str:
    return str((config.get("architectures") or [""])[0])
