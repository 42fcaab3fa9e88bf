"""Answers from a model, many at once, each by its own seed: the same answer whatever shares its batch.

One random number a token drawn from the sequence's own generator picks from the cumulative distribution, where
`generate` draws from one generator for the whole batch. Sequences leave the batch as they end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from workbench.worker import soft_prompt

COMPACT_BELOW = 0.75
"""Ended sequences are dropped when less than this share of the batch still runs: copying the cache costs a step."""

NUCLEUS_GUESS = 1024
"""Tokens sorted for top-p at first: sorting a vocabulary of 128,000 costs a CPU more than the model's own step."""

CHECK_STOP_STEPS = 16
"""Tokens between looks at whether the person asked to stop."""


@dataclass(frozen=True)
class Rule:
    """How the next token is chosen. `temperature` 0 takes the likeliest."""

    temperature: float
    top_p: float
    max_tokens: int
    end_ids: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """Token ids of an answer without its end, and whether it ended by itself."""

    ids: list[int]
    ended: bool
    end: int | None = None
    """The token that ended it."""
    logps: list[float] = field(default_factory=list)
    """Log-probabilities of its tokens, the end included, at the rule's temperature; where they were asked for."""


class Interrupted(Exception):  # noqa: N818 - not an error: the person asked
    """The person asked to stop in the middle of a batch."""


def seed_of(seed: int, prompt_id: int, n: int) -> np.random.Generator:
    """The generator of the n-th answer to a prompt."""
    return np.random.default_rng([seed, prompt_id & 0xFFFFFFFF, n])


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as (B, T) ids and mask, padded on the left so that every last token is a real one."""
    length = max(map(len, prompts))
    ids = torch.zeros(len(prompts), length, dtype=torch.long)  # 0 is any token: the mask hides it
    mask = torch.zeros(len(prompts), length, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


@torch.inference_mode()
def answer_all(
    model: Any,
    prompts: Sequence[Sequence[int]],
    rule: Rule,
    generators: Sequence[np.random.Generator] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    with_logps: bool = False,
) -> list[Answer]:
    """One answer to each prompt, in order. `generators` may be left out when the temperature is 0.

    An answer is also cut where prompt and answer are as long as the model was made to read.
    """
    device = next(model.parameters()).device
    ids, mask = left_padded(prompts, device)  # (B, T)
    model, filled = soft_prompt.taken_off(model)
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    cache, before = soft_prompt.cache_of(model, filled, len(prompts))
    mask = torch.cat([mask.new_ones(len(mask), before), mask], dim=1)
    limits = _limits(model, [before + len(prompt) for prompt in prompts], rule, device)  # (B,)
    draws = _uniforms(generators, rule.max_tokens, device)
    ends = torch.tensor(rule.end_ids, dtype=torch.long, device=device)
    written: list[list[int]] = [[] for _ in prompts]
    ended: list[int | None] = [None] * len(prompts)
    logps: list[list[float]] = [[] for _ in prompts]
    rows = torch.arange(len(prompts), device=device)  # which prompt each sequence of the batch belongs to
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(rule.max_tokens):
        if step % CHECK_STOP_STEPS == CHECK_STOP_STEPS - 1 and should_stop():
            raise Interrupted
        positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]} if takes_positions else {}
        logits = model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **positions
        ).logits[:, -1]  # (B, V)
        chosen = pick(logits, rule, draws[rows, step] if draws is not None else None)  # (B,)
        over = torch.isin(chosen, ends)
        likely = logps_of(logits, chosen, rule).tolist() if with_logps else None
        for place, (row, token, was_done, is_over) in enumerate(
            zip(rows.tolist(), chosen.tolist(), done.tolist(), over.tolist(), strict=True)
        ):
            if was_done:
                continue
            if likely is not None:
                logps[row].append(likely[place])
            if is_over:
                ended[row] = token
            else:
                written[row].append(token)
        done |= over | (limits[rows] <= step + 1)
        running = int((~done).sum())
        if running == 0:
            break
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if running < COMPACT_BELOW * len(done):
            kept = (~done).nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            ids, mask, rows, done = ids[kept], mask[kept], rows[kept], done[kept]
    return [Answer(tokens, end is not None, end, said) for tokens, end, said in zip(written, ended, logps, strict=True)]


def _limits(model: Any, taken: Sequence[int], rule: Rule, device: torch.device) -> torch.Tensor:
    """(B,) tokens that each answer may have: as many as the rule says, and as the context has beside what is taken."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    room = [context - count if context else rule.max_tokens for count in taken]
    return torch.tensor(room, device=device).clamp(max=rule.max_tokens)


def logps_of(logits: torch.Tensor, chosen: torch.Tensor, rule: Rule) -> torch.Tensor:
    """Log-probability of each chosen token, (B,), in the distribution that the rule's temperature makes of (B, V)."""
    scaled = logits.float() / (rule.temperature or 1.0)
    return scaled.gather(1, chosen[:, None]).squeeze(1) - scaled.logsumexp(dim=1)


def _uniforms(
    generators: Sequence[np.random.Generator] | None, count: int, device: torch.device
) -> torch.Tensor | None:
    """(B, count) numbers in [0, 1), a row from each generator."""
    if generators is None:
        return None
    return torch.from_numpy(np.stack([g.random(count) for g in generators])).to(device)


def pick(logits: torch.Tensor, rule: Rule, draw: torch.Tensor | None) -> torch.Tensor:
    """The next token of each sequence: the likeliest, or where the draw falls in the (nucleus') distribution.

    `logits` (B, V), `draw` (B,) in [0, 1). Top-p keeps the likeliest tokens whose mass before them is below top_p
    (Holtzman et al. 2020).
    """
    if rule.temperature == 0 or draw is None:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.double() / rule.temperature, dim=-1)  # (B, V)
    if rule.top_p >= 1:
        return _at(probabilities.cumsum(dim=-1), draw)
    ordered, order = probabilities.topk(min(NUCLEUS_GUESS, probabilities.shape[-1]), dim=-1)
    if ordered.sum(dim=-1).min() < rule.top_p:
        ordered, order = probabilities.sort(dim=-1, descending=True)
    outside = ordered.cumsum(dim=-1) - ordered >= rule.top_p
    outside[:, 0] = False  # a top_p of 0 still leaves the likeliest
    place = _at(ordered.masked_fill(outside, 0).cumsum(dim=-1), draw)
    return order.gather(1, place[:, None]).squeeze(1)


def _at(cumulative: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
    """The first place of each row where the cumulative mass exceeds the draw's share of the whole."""
    total = cumulative[:, -1:].contiguous()
    place = torch.searchsorted(cumulative, draw[:, None].to(cumulative) * total, right=True)
    last = torch.searchsorted(cumulative, total)  # rounding must not step past the last token that has any mass
    end = cumulative.shape[-1] - 1  # nor, where weights have become NaN, past the vocabulary
    return torch.minimum(place, last).clamp(max=end).squeeze(1)
