"""The model a run starts from, made ready to be tuned: which weights train is decided here and nowhere else.

What is trained is always fp32 (an update of 1e-5 is lost in a bf16 weight of 0.01); what is frozen has the card's
16-bit type, or NF4. Products run in the 16-bit type through autocast. A CPU does everything in fp32: bf16 there
is several times slower.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from workbench import bases
from workbench.bases import ancestry
from workbench.bases.model_folder import Base
from workbench.errors import BaseModelError, SettingError, StartingPointError
from workbench.job import Job
from workbench.methods.shared import ADAPTERS, SOFT, in_four_bits
from workbench.paths import RunPaths
from workbench.tokens import PLAIN_TEMPLATE, ChatTokens
from workbench.worker import soft_prompt, threads
from workbench.worker.bits import Linear4bit

ATTENTION = "sdpa"
"""Named always: otherwise a model's own config may ask for a kernel from the hub."""

FINAL_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm")
"""What families call the norm before the head: Llama's, GPT-2's, Phi's, GPT-NeoX's (Pythia)."""


@dataclass
class Start:
    """A model before its first step. `peft_config` is set when the adapter is still to be made, by the trainer."""

    model: Any
    tokenizer: Any
    tokens: ChatTokens
    context: int = 0
    """Tokens the base was made to read; 0 where it does not say."""
    peft_config: PeftConfig | None = None
    adapter: dict[str, torch.Tensor] = field(default_factory=dict)
    """The starting adapter's exact weights by parameter name: TRL rounds them to bf16 on a quantised base."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def working_dtype() -> torch.dtype:
    """The type in which products are computed: bf16, fp16 on cards before Ampere, fp32 on a CPU."""
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16


def base_of(job: Job) -> Base:
    """The job's base on disk; a BaseModelError where they are not those that the job was ordered with."""
    base = bases.resolve(job.base.path)
    if job.base.fingerprint and base.fingerprint != job.base.fingerprint:
        raise BaseModelError(
            f"The base {job.base.name} is not the one this run was ordered with: its files have changed.",
            "Put the former files back, or order a new run on the present ones.",
        )
    return base


def load_weights(folder: Path, dtype: torch.dtype, *, four_bit: bool = False, scalar_head: bool = False) -> Any:
    """A causal language model from safetensors, on the card if there is one; NF4 with double quantisation if wished.

    With `scalar_head` it has a head of one number, random where the folder has none, instead of the vocabulary's.
    """
    quantisation = None
    if four_bit:
        quantisation = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=working_dtype(),
            llm_int8_skip_modules=["score"] if scalar_head else None,
        )
    kind = AutoModelForSequenceClassification if scalar_head else AutoModelForCausalLM
    try:
        model = kind.from_pretrained(
            folder,
            **({"num_labels": 1} if scalar_head else {}),
            dtype=dtype,
            quantization_config=quantisation,
            device_map={"": 0} if torch.cuda.is_available() else None,
            attn_implementation=ATTENTION,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(
            f"The weights in {folder.name} cannot be loaded ({_first_line(error)}).",
            "Download the base again; workbench models says what is wrong with it.",
        ) from error
    threads.suit(model.config.get_text_config().hidden_size)
    model.config.use_cache = False  # a cache is of no use to training and costs memory
    keep_quantised_layout(model)
    return model


def keep_quantised_layout(model: Any) -> None:
    """Stops bitsandbytes 0.50 from repacking NF4 weights at the first evaluation on a CPU with AVX512-BF16.

    The packed layout has no gradient (autograd only warns), so training after an evaluation would go wrong, at a
    twentieth of the speed.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def load_tokenizer(folder: Path, tokens: ChatTokens) -> Any:
    """transformers' tokenizer with a pad token and a chat template, whatever the base lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if tokenizer.eos_token is None and tokens.special.get("eos_token"):
        tokenizer.eos_token = tokens.special["eos_token"]
    if tokenizer.pad_token is None:
        # Padding carries no loss and no attention, so eos may stand in for it: which tokens carry loss is never
        # read off the pad token.
        tokenizer.pad_token = tokenizer.eos_token or tokens.tokenizer.id_to_token(0)
    if not tokens.has_own_template:
        bos = "true" if tokens.adds_bos else "false"
        tokenizer.chat_template = "{%- set add_bos = " + bos + " %}" + PLAIN_TEMPLATE
    return tokenizer


def load_start(paths: RunPaths, job: Job) -> Start:
    """The base, or the parent's weights, with exactly the weights trainable that the settings' `how` names."""
    settings = job.settings
    how = str(settings["how"])
    base = base_of(job)
    folder = ancestry.whole_weights(paths, job, base.path)
    tokens = ChatTokens(base.path, job.created or None)
    start = Start(
        load_weights(folder, _loading_dtype(how), four_bit=in_four_bits(settings)),
        load_tokenizer(base.path, tokens),
        tokens,
        base.context,
    )
    from_adapter = ancestry.is_adapter(paths.start)
    if how in SOFT:
        return _with_soft_prompt(start, paths, settings)
    if from_adapter and ancestry.is_soft_prompt(paths.start):
        raise StartingPointError(
            f"Run {job.parent} is a soft prompt, which can become part of no weight.",
            "Train on from it with its own way of tuning, or start from another run.",
        )
    if how in ADAPTERS:
        if from_adapter:
            start.model = PeftModel.from_pretrained(start.model, paths.start, is_trainable=True)
            start.adapter = {n: p.detach().clone() for n, p in start.model.named_parameters() if p.requires_grad}
        else:
            start.peft_config = lora_config(settings)
        return start
    if from_adapter:  # whole weights are tuned, so what the parent learnt becomes part of them first
        start.model = PeftModel.from_pretrained(start.model, paths.start).merge_and_unload()
    if how == "head_only":
        unfreeze_head(start.model)
    else:
        unfreeze(start.model, int(settings["last_layers"]) if how == "last_layers" else None)
    return start


def _with_soft_prompt(start: Start, paths: RunPaths, settings: Mapping[str, Any]) -> Start:
    """The model with a soft prompt to be trained, which takes its tokens of the context."""
    from_adapter = paths.start if ancestry.is_adapter(paths.start) else None
    words = first_words(paths, start.tokens, int(settings["virtual_tokens"]))
    start.model = soft_prompt.tuned(start.model, settings, from_adapter, words)
    start.adapter = {n: p.detach().clone() for n, p in start.model.named_parameters() if p.requires_grad}
    taken = start.model.active_peft_config.num_virtual_tokens
    if start.context and start.context <= taken:
        raise SettingError(
            f"{taken} virtual tokens leave no room: the base reads {start.context}.", "Set virtual_tokens lower."
        )
    start.context = max(0, start.context - taken)
    return start


def first_words(paths: RunPaths, tokens: ChatTokens, count: int) -> list[int]:
    """So many tokens of what the run trains on, repeated where there are fewer."""
    ids: list[int] = []
    with (paths.data / "train.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            ids += tokens.prompt_ids(json.loads(line)["prompt"])
            if len(ids) >= count:
                break
    return (ids * count)[:count]


def _loading_dtype(how: str) -> torch.dtype:
    """fp32 where whole weights are trained, the working type where they are frozen."""
    return torch.float32 if how == "full" else working_dtype()


def lora_config(settings: Mapping[str, Any]) -> LoraConfig:
    """A fresh adapter's shape."""
    targets: Any = str(settings["targets"]).strip()
    if targets != "all-linear":
        targets = [name.strip() for name in targets.split(",") if name.strip()]
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=int(settings["rank"]),
        lora_alpha=int(settings["alpha"]),
        lora_dropout=float(settings["dropout"]),
        target_modules=targets,
        bias="none",
        use_rslora=bool(settings.get("rslora", False)),  # jobs made before there was the setting lack it
        use_dora=bool(settings.get("dora", False)),
    )


def unfreeze_head(model: Any) -> None:
    """Trains the output head alone, in fp32. One tied to the embeddings becomes a matrix of its own first: as one,
    what the model reads would change with what it says."""
    model.requires_grad_(False)
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
        model.config.get_text_config().tie_word_embeddings = False
    head.to(torch.float32)
    head.requires_grad_(True)


def unfreeze(model: Any, last: int | None) -> None:
    """Trains every weight, or only those of the `last` blocks, the final norm and the head; the trained become fp32.

    A head tied to the embeddings brings them along.
    """
    if last is None:
        model.requires_grad_(True)
        return
    end = last_blocks(model, last)
    model.requires_grad_(False)
    for module in (*end, model.get_output_embeddings()):
        module.requires_grad_(True)
        module.to(torch.float32)


def last_blocks(model: Any, last: int) -> list[torch.nn.Module]:
    """The `last` transformer blocks and the final norm, whatever the family calls them: the blocks are the longest
    ModuleList of the backbone."""
    lists: list[Any] = [module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not lists:
        raise SettingError("This base has no list of blocks.", "Use how = full, lora or qlora.")
    blocks: list[torch.nn.Module] = [*max(lists, key=len)]
    if last > len(blocks):
        raise SettingError(
            f"last_layers = {last}, and the base has {len(blocks)} blocks.",
            f"Set last_layers to {len(blocks)} or fewer.",
        )
    norms = [module for name, module in model.base_model.named_children() if name in FINAL_NORMS]
    return [*blocks[len(blocks) - last :], *norms]


def restore_precision(model: Any, start: Start) -> None:
    """Trained weights back in fp32, exactly as they were: TRL casts an adapter on a quantised base to bf16."""
    if soft_prompt.is_soft(model):
        soft_prompt.set_values(model, next(iter(start.adapter.values())))
        soft_prompt.settle(model)
        return
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exact = start.adapter.get(name)
        parameter.data = parameter.data.float() if exact is None else exact.to(parameter.device, torch.float32)


def count_parameters(model: Any) -> tuple[int, int]:
    """Trained and all parameters; a 4-bit weight counts as the weights packed in it."""
    trained = total = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        size = state.shape.numel() if state is not None else parameter.numel()
        total += size
        trained += size if parameter.requires_grad else 0
    return trained, total


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
