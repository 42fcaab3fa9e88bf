"""Tiny models for the export tests: a random Llama of two layers, its own tokenizer, and runs with adapters on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workbench import exports
from workbench.bases import weights
from workbench.events import Event, Metrics
from workbench.job import BaseRef, Job
from workbench.paths import RunPaths
from workbench.worker.context import RunContext

TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{%- else %}{{- message['content'] + eos_token }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
SPECIAL = ("<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CORPUS = ["the quick brown fox and the lazy dog, 12345 times: it's théâtre 你好 😀\n\n    def f(x):"] * 20


def train_tokenizer(pre_tokenizer: Any = None, *, ignore_merges: bool = False) -> Any:
    """A byte-level BPE tokenizer of about 330 tokens with chat tokens, as transformers has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|bos|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def save_base(
    folder: Path,
    *,
    dtype: str = "float32",
    shard: str = "5GB",
    tokenizer: Any = None,
    learnt: bool = False,
    **config: Any,
) -> Path:
    """A random Llama on disk, its weights large; or one that has learnt a sentence, whose answers are no near-ties."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer or train_tokenizer()
    torch.manual_seed(0)
    settings = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "tie_word_embeddings": True,
        **config,
    }
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **ids, **settings))
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(parameter, std=0.2)  # fresh biases are zero, which would prove nothing
    if learnt:
        _learn(model, tokenizer)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


def _learn(model: Any, tokenizer: Any) -> None:
    """Teaches the model the corpus' sentence by heart, in about a second."""
    import torch

    turns = [{"role": "user", "content": "Where is the fox?"}, {"role": "assistant", "content": CORPUS[0]}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])  # (1, T)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()


def make_run(project: Path, base: Path, number: str = "0001", *, how: str = "lora", spread: float = 0.02) -> RunPaths:
    """A finished training run whose adapter changes every linear layer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    paths = RunPaths(project / "runs" / number)
    paths.root.mkdir(parents=True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    adapter = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, adapter)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=spread)
    model.save_pretrained(paths.model)
    AutoTokenizer.from_pretrained(base).save_pretrained(paths.model)
    (paths.model / "training_args.bin").write_bytes(b"a pickled token")
    paths.job.write_text(Job(number, "train", "sft", reference(base), {"how": how, "rank": 4}).to_json())
    return paths


def reference(base: Path) -> BaseRef:
    return BaseRef(str(base), base.name, weights.fingerprint(base))


@dataclass
class Exporting:
    """An export job that runs in this process and keeps its events."""

    project: Path
    events: list[Event] = field(default_factory=list)

    def order(
        self, action: str, parent: str | None = "0001", base: BaseRef | None = None, **settings: Any
    ) -> RunContext:
        paths = RunPaths(self.project / "runs" / "0009")
        paths.data.mkdir(parents=True, exist_ok=True)
        asks = ["Where is the fox?", "the lazy dog", "12345", "it's the quick", "brown", "and", "def f(x)", "你好"]
        rows = [{"prompt": [{"role": "user", "content": text}]} for text in asks]
        (paths.data / "check.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if base is None:
            row = json.loads((self.project / "runs" / str(parent) / "job.json").read_text())
            base = BaseRef(**row["base"])
        job = Job("0009", "export", action, base, {"out": "", **settings}, parent=parent)
        return RunContext(paths, job, self.events.append)

    def export(self, action: str, parent: str | None = "0001", base: BaseRef | None = None, **settings: Any) -> Metrics:
        made: Metrics = exports.module(action).export(self.order(action, parent, base, **settings))
        return made

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="session")
def export_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama in float32, one file, which knows one sentence."""
    return save_base(tmp_path_factory.mktemp("bases") / "tiny", learnt=True, initializer_range=0.05)


@pytest.fixture
def lora_run(tmp_path: Path, export_base: Path) -> RunPaths:
    """Run 0001 in a fresh project: a LoRA adapter on the tiny base."""
    return make_run(tmp_path / "project", export_base)


@pytest.fixture
def exporting(tmp_path: Path) -> Exporting:
    """Export jobs in that project."""
    return Exporting(tmp_path / "project")


@pytest.fixture
def file_limit() -> Any:
    """Sets the largest file this process may write, which is what a full disk looks like; lifted afterwards."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


Limit = Callable[[int], None]
