"""Make the bundled base model and the demo's data from nothing: `python assets/make_base.py`.

A small Llama with its own byte-level BPE tokenizer is trained on the synthetic world, measured, and
written to `assets/base/` beside `assets/demo/`. It downloads nothing, and the workbench never imports it.
"""

import argparse
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ASSETS = Path(__file__).resolve().parent
sys.path.insert(0, str(ASSETS.parent))  # started as a file, Python looks beside the file, not in the project

from assets import world  # noqa: E402 - only importable after the line above
from workbench.judges.rules import exact_match  # noqa: E402 - the same

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
SPECIAL_TOKENS = (PAD, BOS, END, "<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY_SIZE = 2048
BLOCK_TOKENS = 256
MAXIMUM_CONTEXT_TOKENS = 512
TRAINING_SEED, HELD_OUT_SEED = 1, 2
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{%- else %}"
    "{{- message['content'] + eos_token }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


@dataclass(frozen=True)
class Settings:
    """How long and how hard to train; the defaults made the base that is bundled."""

    steps: int = 3200
    blocks_per_step: int = 4
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    seed: int = 20260


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the world's own text, with the pre-tokenizer of GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for document in islice(world.documents(TRAINING_SEED), 30_000) for text in _texts(document))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL_TOKENS[3:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAXIMUM_CONTEXT_TOKENS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Build the untrained model; its rows divide by 256, which llama.cpp's K-quants need."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=MAXIMUM_CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    return model


def _texts(document: world.Document) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    else:
        yield from (message["content"] for message in document)


def document_text(document: world.Document, tokenizer: PreTrainedTokenizerFast) -> str:
    """Write a document as the model reads it, with its special tokens."""
    if isinstance(document, str):
        return f"{BOS}{document}{END}"
    return str(tokenizer.apply_chat_template(document, tokenize=False))


def packed_blocks(seed: int, tokenizer: PreTrainedTokenizerFast) -> Iterator[torch.Tensor]:
    """Join documents without end and cut them into blocks of equal length."""
    tokens: list[int] = []
    stream = world.documents(seed)
    while True:
        texts = [document_text(document, tokenizer) for document in islice(stream, 512)]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            tokens += ids
        whole = len(tokens) // BLOCK_TOKENS * BLOCK_TOKENS
        yield from torch.tensor(tokens[:whole]).view(-1, BLOCK_TOKENS)
        tokens = tokens[whole:]


def batch_of(blocks: Iterator[torch.Tensor], size: int) -> torch.Tensor:
    """Take the next blocks as one batch."""
    return torch.stack(list(islice(blocks, size)))  # (B, T)


def learning_rate_at(step: int, settings: Settings) -> float:
    """Rise in a line, then fall along a cosine to a twentieth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, settings: Settings) -> None:
    """Train on every token of the corpus' stream; no block is seen twice."""
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    blocks = packed_blocks(TRAINING_SEED, tokenizer)
    model.train()
    started = time.monotonic()
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, settings)
        batch = batch_of(blocks, settings.blocks_per_step)  # (B, T)
        with torch.autocast("cpu", torch.bfloat16):  # a third less time where the processor has AMX
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == settings.steps - 1:
            print(f"step {step} loss {loss.item():.4f} seconds {time.monotonic() - started:.0f}", flush=True)


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> float:
    """Measure the loss on documents that another seed generates."""
    model.eval()
    blocks = packed_blocks(HELD_OUT_SEED, tokenizer)
    losses = [model(input_ids=batch, labels=batch).loss for batch in (batch_of(blocks, 8) for _ in range(16))]
    return float(torch.stack(losses).mean())


@torch.no_grad()
def greedy_answers(model: Any, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> list[str]:
    """Answer each prompt greedily through the chat template."""
    answers: list[str] = []
    for start in range(0, len(prompts), 44):
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts[start : start + 44]]
        texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        read_tokens = inputs["input_ids"].shape[1]
        written = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=48,
        )
        answers += tokenizer.batch_decode(written[:, read_tokens:], skip_special_tokens=True)
    return answers


def exact_matches(model: Any, tokenizer: PreTrainedTokenizerFast) -> tuple[Counter[str], list[str]]:
    """Count the exact matches on the held-out prompts by kind, and return the answers too."""
    rows = world.demo_rows()["held_out"]
    model.eval()
    answers = greedy_answers(model, tokenizer, [row["prompt"] for row in rows])
    matched: Counter[str] = Counter()
    for row, answer in zip(rows, answers, strict=True):
        matched[row["kind"]] += exact_match(answer, row["answer"])
    return matched, answers


def write_demo(folder: Path) -> None:
    """Write the demo's three files, one row a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in world.demo_rows().items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Make everything, or with `--steps` and `--folder` a quick try elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--folder", type=Path, default=ASSETS)
    options = parser.parse_args()
    settings = Settings(steps=options.steps)
    random.seed(settings.seed)
    write_demo(options.folder / "demo")
    tokenizer = make_tokenizer()
    base = options.folder / "base"
    tokenizer.save_pretrained(base)  # before it is used: a call that pads leaves its padding in the file
    model = make_model(tokenizer, settings.seed)
    print(f"{model.num_parameters()} parameters, {len(tokenizer)} tokens", flush=True)
    started = time.process_time()
    train(model, tokenizer, settings)
    seconds = time.process_time() - started
    model.half().float()  # measured as it is kept: rounded to 16 bits
    loss = held_out_loss(model, tokenizer)
    matched, answers = exact_matches(model, tokenizer)
    model.half().save_pretrained(base)
    (base / "README.md").write_text(readme(model, settings, seconds, loss, matched), encoding="utf-8")
    for row, answer in list(zip(world.demo_rows()["held_out"], answers, strict=True))[::4]:
        print(row["prompt"], "|", answer)
    print((base / "README.md").read_text(encoding="utf-8"))


def readme(model: LlamaForCausalLM, settings: Settings, seconds: float, loss: float, matched: Counter[str]) -> str:
    """Say how the base was made and what was measured."""
    asked = world.HELD_OUT_PER_KIND
    total = asked * len(world.KINDS)
    table = "\n".join(f"| {kind.name} | {matched[kind.name]} of {asked} |" for kind in world.KINDS)
    return README.format(
        parameters=model.num_parameters(),
        vocabulary=model.config.vocab_size,
        tokens=settings.steps * settings.blocks_per_step * BLOCK_TOKENS,
        seconds=seconds,
        settings=settings,
        loss=loss,
        perplexity=math.exp(loss),
        matched=matched.total(),
        total=total,
        share=100 * matched.total() / total,
        table=table,
    )


README = """---
license: apache-2.0
---

# The bundled base

A small base model for trying the workbench without a network: a Llama of {parameters:,} parameters (hidden
256, 5 layers, 8 heads, 4 key-value heads, tied embeddings, 512 tokens of context) with its own byte-level BPE
tokenizer of {vocabulary:,} tokens and the pre-tokenizer of GPT-2. `<|end|>` ends a turn, a document and a
generation; `<|pad|>` pads.

`python assets/make_base.py` made it from nothing on text that `assets/world.py` generates: stories and facts,
and conversations in which people ramble, evade and err. So it knows more than it says, which is what tuning
brings out. It knows that small world only, and nothing else.

| what | measured |
|---|---|
| training | {tokens:,} tokens in {seconds:,.0f} seconds of one CPU core |
| loss on documents of another seed | {loss:.3f} (perplexity {perplexity:.2f}) |
| exact match on the held-out prompts, greedy | {matched} of {total} ({share:.0f} %) |

Settings: `{settings}`

The held-out prompts (`assets/demo/held_out.jsonl`) occur neither in the corpus nor in the demonstrations.

| kind of request | exact match |
|---|---|
{table}
"""


if __name__ == "__main__":
    main()
