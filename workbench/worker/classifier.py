"""A classifier from a folder or the hub's cache as a reward: other people's reward models, toxicity, sentiment.

A model of one number (the usual shape of a published reward model) reads prompt and answer; one of several labels reads
the answer alone, and its reward is the label's log-odds, log p - log(1 - p).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from workbench import bases
from workbench.errors import SettingError
from workbench.worker import model as models

AT_ONCE = 16
"""Texts of a batch."""


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier. `label` is the place of the label whose log-odds it gives; None for a one-number model."""

    model: Any
    tokenizer: Any
    label: int | None

    @torch.no_grad()
    def score(
        self, rows: Sequence[Mapping[str, Any]], ids: Sequence[Sequence[int]], texts: Sequence[str]
    ) -> torch.Tensor:
        """The reward of each answer, (N,) fp32 on the CPU. `ids` are the policy's tokens, which it cannot read."""
        found = []
        for start in range(0, len(texts), AT_ONCE):
            batch = self._encoded(rows[start : start + AT_ONCE], texts[start : start + AT_ONCE])
            logits = self.model(**batch.to(self.model.device)).logits.float()  # (n, labels)
            found.append((logits[:, 0] if self.label is None else _log_odds(logits, self.label)).cpu())
        return torch.cat(found) if found else torch.empty(0)

    def _encoded(self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Any:
        how: dict[str, Any] = {"padding": True, "truncation": True, "return_tensors": "pt"}
        if self.label is not None:
            return self.tokenizer(list(texts), **how)
        if self.tokenizer.chat_template:
            talks = [
                self.tokenizer.apply_chat_template(
                    [*row["prompt"], {"role": "assistant", "content": text}], tokenize=False
                )
                for row, text in zip(rows, texts, strict=True)
            ]
            return self.tokenizer(talks, add_special_tokens=False, **how)
        return self.tokenizer([row["prompt"][-1]["content"] for row in rows], list(texts), **how)


def load(name: str) -> Classifier:
    """The classifier `folder` or `org/name`, with `#label` where it has several."""
    spec, _, wanted = name.partition("#")
    folder = _folder(spec)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder,
        dtype=models.working_dtype(),
        attn_implementation=models.ATTENTION,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    model.to(models.device()).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    labels = {text: int(place) for place, text in model.config.id2label.items()}
    if model.config.num_labels == 1:
        return Classifier(model, tokenizer, None)
    if wanted not in labels:
        raise SettingError(
            f"The classifier {spec} has no label {wanted!r}.",
            f"Write which one counts: classifier:{spec}#{next(iter(labels))}. It has {', '.join(labels)}.",
        )
    return Classifier(model, tokenizer, labels[wanted])


def _folder(spec: str) -> Path:
    """The folder of a model on disk or in the hub's cache."""
    return bases.resolve(spec).path


def _log_odds(logits: torch.Tensor, label: int) -> torch.Tensor:
    """log p - log(1 - p) of a label of a softmax, (n,): its logit less the log-sum of the others'."""
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(dim=1)
