"""A model's weights with the adapter merged in, read one tensor or one block of rows at a time.

The merge is done in float32 and rounded once to the base's own type: W' = cast(W + scale · B A)
(Hu et al. 2021, LoRA, eq. 3). Nothing here holds more than one tensor, so the peak is `peak_bytes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.bases.model_folder import EMBEDDINGS
from workbench.errors import BaseModelError, ExportError
from workbench.exports.shards import (
    BLOCK_BYTES,
    INDEX,
    SINGLE,
    Tensors,
    Weights,
    ordered,
    rows_of,
    spans,
    write_safetensors,
)

if TYPE_CHECKING:
    import torch

    from workbench.exports.adapter import Adapter

__all__ = ["INDEX", "SINGLE", "Merged", "Tensors", "Weights", "ordered", "readable", "write_safetensors"]

HEADS = ("lm_head.weight", "embed_out.weight")
"""What families call the output head."""


class Merged:
    """A model with an adapter merged in; without an adapter simply the model.

    Where embedding and head share one tensor and the adapter changed them apart, the head becomes a tensor of its own:
    `model` then has it as a copy, and `config` says that nothing is tied.
    """

    def __init__(self, model: Weights, adapter: Adapter | None = None) -> None:
        self.model = model
        self.adapter = adapter
        self.untied = ""
        """The head that is, or became, a tensor of its own although config.json says it is tied."""
        self._same: dict[str, str] = {}
        self._settle_ties()
        if adapter is not None:
            adapter.check_fits({name: info.shape for name, info in model.infos.items()})

    def _settle_ties(self) -> None:
        """Parts head from embedding where only one of them was trained, or where the files hold two different ones."""
        changed = self.adapter.touched if self.adapter is not None else []
        embedding = next((name for name in self.model.infos if name.endswith(EMBEDDINGS)), "")
        head = next((name for name in (*changed, *self.model.infos, HEADS[0]) if name in HEADS), "")
        if not embedding or self._source_config.get("tie_word_embeddings") is False:
            return
        there = head in self.model.infos
        if self.adapter is not None and {embedding, head} & set(changed):
            if self.adapter.keeps_ties:
                self.adapter.leaves_alone(head)
                self._same = {head: embedding}
                return
            if not there:
                self.model.also_as(head, embedding)
            self.untied = head
        elif there and self._source_config.get("tie_word_embeddings") and not self._alike(embedding, head):
            self.untied = head

    def _alike(self, embedding: str, head: str) -> bool:
        """Whether two tensors of the model hold the same."""
        mine, other = self.model.infos[embedding], self.model.infos[head]
        if (mine.shape, mine.dtype) != (other.shape, other.dtype):
            return False
        both = zip(self.model.blocks(embedding), self.model.blocks(head), strict=True)
        return all(bool((one == two).all()) for (_, one), (_, two) in both)

    @cached_property
    def _source_config(self) -> dict[str, Any]:
        try:
            row = json.loads((self.model.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return row if isinstance(row, dict) else {}

    @property
    def config(self) -> dict[str, Any]:
        """config.json of the merged model."""
        return {**self._source_config, **({"tie_word_embeddings": False} if self.untied else {})}

    @property
    def peak_bytes(self) -> int:
        """Memory while the largest tensor is merged: the tensor itself, some blocks, the adapter's matrices for it."""
        largest = max(info.end - info.start for info in self.model.infos.values())
        return largest + 4 * BLOCK_BYTES + (self.adapter.size_bytes if self.adapter is not None else 0)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors of the merged model."""
        return sum(info.end - info.start for info in self.model.infos.values())

    def blocks(self, name: str, together: int = 1) -> Iterator[torch.Tensor]:
        """The merged tensor in the base's type, a block of `together` rows or a multiple of them after the other.

        An ExportError where a value is not finite.
        """
        import torch

        name = self._same.get(name, name)
        if self.adapter is not None and self.adapter.touches(name):
            found = self.adapter.blocks(name, self.model, together)
        else:
            found = (block for _, block in self.model.blocks(name, together))
        for block in found:
            if block.is_floating_point() and not bool(torch.isfinite(block).all()):
                raise ExportError(
                    f"The merged weights of {name} are not all finite numbers.",
                    "The run diverged or its files are damaged; export an earlier run or train with a smaller rate.",
                )
            yield block

    def tensor(self, name: str) -> torch.Tensor:
        """The whole merged tensor in the base's type."""
        import torch

        info = self.model.infos[name]
        whole = torch.empty(0)
        for (first, last), block in zip(spans(info), self.blocks(name), strict=True):
            if first == 0:
                whole = torch.empty((rows_of(info), *info.shape[1:]), dtype=block.dtype)
            whole[first:last] = block
        return whole.reshape(info.shape)


def readable(read: Callable[[], Weights], hint: str) -> Weights:
    """What `read` gives; damage to a file becomes an ExportError with a hint that suits whose file it is."""
    try:
        return read()
    except BaseModelError as error:
        raise ExportError(error.message, hint) from None
