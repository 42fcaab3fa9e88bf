"""Log-probabilities of answers' tokens without the logits of whole answers: from hidden states, chunk by chunk.

B rows of T tokens in a micro-batch, M answer tokens among them, R tokens of the longest answer, V words in the
vocabulary, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

CHUNK_LOGITS = {"cpu": 2**21, "cuda": 2**24}
"""Logits that stand in memory at once: 8 MB and 64 MB in fp32. A card needs more of them to be busy."""


@dataclass(frozen=True)
class Sequences:
    """Prompts with their answers, padded on the right, where no real token sees the padding."""

    ids: torch.Tensor  # (B, T)
    mask: torch.Tensor  # (B, T), 1 on real tokens
    before: torch.Tensor  # (B, T), true on the token before each answer token: there it is predicted
    targets: torch.Tensor  # (M,), the answer tokens, row after row
    valid: torch.Tensor  # (B, R), true on answer tokens

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """(M,) values as (B, R), 0 on padding."""
        found = values.new_zeros(self.valid.shape)
        found[self.valid] = values
        return found


def sequences(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], longest: int, device: torch.device
) -> Sequences:
    """A micro-batch; `longest` is R, the tokens of the longest answer of the whole rollout."""
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    width = max(lengths)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    before = torch.zeros(len(prompts), width, dtype=torch.bool)
    valid = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : lengths[row]] = torch.tensor([*prompt, *answer])
        mask[row, : lengths[row]] = 1
        before[row, len(prompt) - 1 : lengths[row] - 1] = True
        valid[row, : len(answer)] = True
    targets = torch.tensor([token for answer in answers for token in answer])
    return Sequences(*(tensor.to(device) for tensor in (ids, mask, before, targets, valid)))


@dataclass(frozen=True)
class Vocabulary:
    """A model's output head, with what its family does to the logits (Gemma caps them, Cohere and Granite scale)."""

    head: Any
    words: int
    scale: float = 1.0
    cap: float = 0.0

    @classmethod
    def of(cls, model: Any) -> Vocabulary:
        """The head of a causal language model."""
        config = model.config.get_text_config()
        times, over, cap = (
            float(getattr(config, name, None) or default)
            for name, default in (("logit_scale", 1), ("logits_scaling", 1), ("final_logit_softcapping", 0))
        )
        return cls(model.get_output_embeddings(), config.vocab_size, times / over, cap)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(m, V) in fp32, of (m, H)."""
        logits = self.head(hidden).float() * self.scale
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits

    def _chunk(self, hidden: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
        logits = self.logits(hidden) / temperature  # (m, V)
        return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)

    def logps(self, hidden: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
        """Log-probability of each target, (M,), of hidden states (M, H); backward makes each chunk's logits again."""
        parts = [
            checkpoint(self._chunk, h, t, temperature, use_reentrant=False, preserve_rng_state=False)
            for h, t in self._chunks(hidden, targets)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def logps_and_entropy(
        self, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each target and entropy of its distribution in nats, (M,) each."""
        logps, entropies = [], []
        for h, t in self._chunks(hidden, targets):
            logits = self.logits(h) / temperature  # (m, V)
            total = logits.logsumexp(dim=1)
            logps.append(logits.gather(1, t[:, None]).squeeze(1) - total)
            entropies.append(torch.special.entr(torch.exp(logits - total[:, None])).sum(1))
        return torch.cat(logps), torch.cat(entropies)

    def _chunks(self, hidden: torch.Tensor, targets: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        size = max(1, CHUNK_LOGITS[hidden.device.type] // self.words)
        return list(zip(hidden.split(size), targets.split(size), strict=True))
