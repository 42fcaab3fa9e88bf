"""Our completions a second over `generate` for one prompt at a time: `python -m tests.benchmarks.sampling_speed`.

Both write up to 48 tokens to the same prompts of the demo at temperature 1 on the bundled base, in turns.
"""

from __future__ import annotations

import json
import statistics
import time

import torch
from transformers import AutoModelForCausalLM

from workbench.paths import BUNDLED_BASE, DEMO_DATA
from workbench.tokens import ChatTokens
from workbench.worker.decoding import Rule, answer_all, seed_of
from workbench.worker.sampling import CPU_BATCH

ROUNDS = 5
MAX_TOKENS = 48
OURS, THEIRS = 128, 16
"""Completions a round: enough for four batches of ours, few enough that theirs do not take minutes."""


def main() -> None:
    torch.set_num_threads(1)  # as our worker does for a base this small; the loop is faster for it too
    tokens = ChatTokens(BUNDLED_BASE)
    lines = (DEMO_DATA / "prompts.jsonl").read_text(encoding="utf-8").splitlines()[:OURS]
    prompts = [tokens.prompt_ids([{"role": "user", "content": json.loads(line)["prompt"]}]) for line in lines]
    prompts.sort(key=len, reverse=True)
    model = AutoModelForCausalLM.from_pretrained(BUNDLED_BASE, dtype=torch.float32).eval()
    spread = prompts[:: len(prompts) // THEIRS][:THEIRS]  # long and short ones alike
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(len(prompts) / _seconds_of_ours(model, tokens, prompts))
        theirs.append(len(spread) / _seconds_one_by_one(model, tokens, spread))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"sampling, completions/s, ours over one-by-one generate: {mine / other:.1f}")
    print("| program | completions/s |")
    print("|---|---|")
    print(f"| ours, {CPU_BATCH} at a time | {mine:.1f} |")
    print(f"| generate, one by one | {other:.1f} |")


def _seconds_of_ours(model: torch.nn.Module, tokens: ChatTokens, prompts: list[list[int]]) -> float:
    rule = Rule(1.0, 1.0, MAX_TOKENS, tuple(tokens.end_ids))
    began = time.monotonic()
    for start in range(0, len(prompts), CPU_BATCH):
        batch = prompts[start : start + CPU_BATCH]
        answer_all(model, batch, rule, [seed_of(0, start + i, 0) for i in range(len(batch))])
    return time.monotonic() - began


def _seconds_one_by_one(model: torch.nn.Module, tokens: ChatTokens, prompts: list[list[int]]) -> float:
    began = time.monotonic()
    for prompt in prompts:
        ids = torch.tensor([prompt])
        model.generate(  # type: ignore[attr-defined]  # transformers is not typed
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            max_new_tokens=MAX_TOKENS,
            eos_token_id=tokens.end_ids,
            pad_token_id=0,
        )
    return time.monotonic() - began


if __name__ == "__main__":
    main()
