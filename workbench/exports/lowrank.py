"""What one adapted layer adds to its weight, a block of rows at a time: LoRA, rank-stabilised or weight-decomposed.

LoRA (Hu et al. 2021, eq. 3): W' = W + s · B A. DoRA (Liu et al. 2024, eq. 5): W' = m · V / ‖V‖ with V = W + s · B A
and the norm of each output's weights. Layers that store W transposed (embeddings, GPT-2's Conv1D) get (B A)ᵀ. All of
it in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Change:
    """The change of one weight of shape (out, in), or (in, out) where it is `transposed`."""

    a: torch.Tensor
    """(r, in), float32."""
    b: torch.Tensor
    """(out, r), float32."""
    scale: float
    transposed: bool = False
    magnitude: torch.Tensor | None = None
    """DoRA's m, (out,), float32."""
    _norms: torch.Tensor | None = None

    def needs_norms(self) -> bool:
        """Whether all blocks have to be seen once before any is changed: only a transposed weight's norms span them."""
        return self.transposed and self.magnitude is not None and self._norms is None

    def see(self, blocks: Iterable[tuple[int, torch.Tensor]]) -> None:
        """Works out the norms of a transposed weight from all its blocks (first row, rows)."""
        total = self.b.new_zeros(self.b.shape[0])  # (out,)
        for first, block in blocks:
            total += self._added(first, block).square().sum(dim=0)
        self._norms = total.sqrt()

    def apply(self, first: int, block: torch.Tensor) -> torch.Tensor:
        """The changed rows from row `first` on, in float32."""
        wide = self._added(first, block)
        if self.magnitude is None:
            return wide
        if self.transposed:
            assert self._norms is not None
            return wide.mul_((self.magnitude / self._norms)[None, :])
        last = first + len(block)
        return wide.mul_((self.magnitude[first:last] / wide.norm(dim=1))[:, None])

    def _added(self, first: int, block: torch.Tensor) -> torch.Tensor:
        last = first + len(block)
        wide = block.float() if block.dtype != self.a.dtype else block.clone()
        if self.transposed:
            return wide.add_(self.a[:, first:last].T @ self.b.T, alpha=self.scale)
        return wide.add_(self.b[first:last] @ self.a, alpha=self.scale)
