"""Asks models for their next-token distributions: transformers (whole, merged, with adapter, in 4 bits) and llama.cpp.

One model is in memory at a time; `verify` compares what they say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.exports.verify import STOP_TOKENS

if TYPE_CHECKING:
    import numpy as np
    import torch

    from workbench.exports.tensors import Merged

ROOM = 1.25
"""Memory for activations and buffers beside the weights, as a factor."""

Pair = tuple[list[int], list[int]]
"""A prompt and its answer, as token ids."""


@dataclass(frozen=True)
class Place:
    """Where and how a model is run to judge by it."""

    device: str
    dtype: torch.dtype
    streamed: bool = False
    """Its weights are read layer by layer, for want of memory: it can read text, and is too slow to write any."""


def place_for(parameters: int, dtype: str) -> Place:
    """In float32 on the card, else on the processor, else in 16 bits there, else layer by layer."""
    import psutil
    import torch

    wide = int(parameters * 4 * ROOM)
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > wide:
        return Place("cuda", torch.float32)
    free = int(psutil.virtual_memory().available)
    if wide <= free:
        return Place("cpu", torch.float32)
    if wide // 2 <= free:
        return Place("cpu", torch.bfloat16 if dtype in ("F32", "BF16") else torch.float16)
    return Place("cpu", torch.float32, streamed=True)


@contextlib.contextmanager
def whole(folder: Path, device: str, dtype: torch.dtype, *, untied: bool = False) -> Iterator[Any]:
    """The model in a folder, and its memory given back afterwards; `untied`: with a head of its own, to be filled."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from workbench.worker import threads
    from workbench.worker.log import quiet_libraries

    quiet_libraries()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if untied:
            config.tie_word_embeddings = False
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(
            f"transformers cannot load {folder.name}: {str(error).splitlines()[0]}", "Its files are damaged or unusual."
        ) from None
    threads.suit(config.get_text_config().hidden_size)
    try:
        yield model.to(device).eval()
    finally:
        del model
        _release()


@contextlib.contextmanager
def written(merged: Merged, folder: Path, place: Place) -> Iterator[Any]:
    """The merged model as it lies in a folder."""
    from workbench.exports import streaming
    from workbench.exports.tensors import Merged as Model
    from workbench.exports.tensors import Weights

    if place.streamed:
        with streaming.merged(Model(Weights(folder)), place.dtype) as model:
            yield model
    else:
        with whole(folder, place.device, place.dtype) as model:
            yield model


@contextlib.contextmanager
def merged_in_memory(merged: Merged, place: Place) -> Iterator[Any]:
    """The base with the very tensors that are written, those rounded to the base's dtype and only then widened."""
    import torch

    from workbench.exports import streaming

    if place.streamed:
        with streaming.merged(merged, place.dtype) as model:
            yield model
        return
    changed = [*(merged.adapter.touched if merged.adapter is not None else ()), *filter(None, [merged.untied])]
    with whole(merged.model.folder, "cpu", place.dtype, untied=bool(merged.untied)) as model:
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name in dict.fromkeys(changed):
                full = name if name in parameters else f"{model.base_model_prefix}.{name}"
                if full in parameters:  # a tied head has no parameter of its own
                    parameters[full].copy_(merged.tensor(name))
        yield model.to(place.device)


@contextlib.contextmanager
def adapted(merged: Merged, adapter: Path, place: Place) -> Iterator[Any]:
    """The trained adapter, unmerged, on the unquantised base: peft's own arithmetic, which the merge is judged by."""
    import warnings

    from peft import PeftModel

    from workbench.exports import streaming

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of tied layers, which `Merged` settles
        if place.streamed:
            with streaming.adapted(merged, adapter, place.dtype) as model:
                yield model
            return
        with whole(merged.model.folder, place.device, place.dtype) as base:
            yield PeftModel.from_pretrained(base, str(adapter)).to(place.device).eval()


@contextlib.contextmanager
def as_trained(folder: Path, adapter: Path) -> Iterator[Any]:
    """The adapter on the NF4 base, as a QLoRA run saw it."""
    from peft import PeftModel

    from workbench.worker.model import load_weights, working_dtype

    base = load_weights(folder, working_dtype(), four_bit=True)
    try:
        yield PeftModel.from_pretrained(base, str(adapter)).eval()
    finally:
        del base
        _release()


def _release() -> None:
    import gc

    import torch

    gc.collect()  # a model is full of reference cycles: without this the next one is loaded beside it
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def greedy(model: Any, prompts: list[list[int]], ends: list[int]) -> list[tuple[list[int], bool]]:
    """The model's own greedy answers, their end tokens included, and whether each ended by itself."""
    from workbench.worker.decoding import Rule, answer_all

    found = answer_all(model, prompts, Rule(0.0, 1.0, STOP_TOKENS, tuple(ends)))
    return [(answer.ids + ends[:1] * answer.ended, answer.ended) for answer in found]


def log_probs(model: Any, prompt: list[int], answer: list[int]) -> np.ndarray[Any, Any]:
    """ln p of every token at each position of the answer: (T, V), float32."""
    import torch

    ids = torch.tensor([prompt + answer[:-1]], device=model.device)  # (1, T)
    with torch.inference_mode():
        logits = model(input_ids=ids, logits_to_keep=len(answer)).logits[0].float()  # (T, V)
    found: np.ndarray[Any, Any] = torch.log_softmax(logits, dim=-1).cpu().numpy()
    return found


TOGETHER = 4
"""Texts that a streamed model reads at once: each reading costs the whole model from the disk."""


def all_log_probs(model: Any, pairs: Sequence[Pair], *, streamed: bool = False) -> Iterator[np.ndarray[Any, Any]]:
    """`log_probs` of every pair, in order."""
    if not streamed:
        for prompt, answer in pairs:
            yield log_probs(model, prompt, answer)
        return
    for start in range(0, len(pairs), TOGETHER):
        yield from _together(model, pairs[start : start + TOGETHER])


def _together(model: Any, pairs: Sequence[Pair]) -> Iterator[np.ndarray[Any, Any]]:
    """The same for a few texts in one forward, padded on the left."""
    import torch

    from workbench.worker.decoding import left_padded

    device = torch.device("cpu")
    ids, mask = left_padded([prompt + answer[:-1] for prompt, answer in pairs], device)  # (B, T)
    kept = max(len(answer) for _, answer in pairs)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=kept).logits
    for row, (_, answer) in zip(logits, pairs, strict=True):
        yield torch.log_softmax(row[-len(answer) :].float(), dim=-1).numpy()


class LlamaCpp:
    """A GGUF opened by llama.cpp for checking, on the processor and with a float32 cache; closed on leaving."""

    def __init__(self, path: Path, context: int, lora: Path | None = None) -> None:
        import llama_cpp

        from workbench.worker import gguf_file

        wide = llama_cpp.GGML_TYPE_F32
        batch = {"n_ctx": context, "n_batch": context, "n_ubatch": context}
        adapter = {"lora_path": str(lora)} if lora is not None else {}
        self._ends: set[int] = set()
        self._open = gguf_file.opened(
            path, n_gpu_layers=0, logits_all=True, type_k=wide, type_v=wide, **batch, **adapter
        )

    def __enter__(self) -> LlamaCpp:
        self.llama = self._open.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def tokenise(self, text: str, *, around: bool = False, special: bool = True) -> list[int]:
        """The text's tokens; `around`: with what the file says to put around; `special`: special tokens recognised."""
        ids: list[int] = self.llama.tokenize(text.encode(), add_bos=around, special=special)
        return ids

    def log_probs(self, prompt: list[int], answer: list[int]) -> np.ndarray[Any, Any]:
        """ln p of every token at each position of the answer: (T, V), float32."""
        import numpy as np

        self.llama.reset()
        self.llama.eval(prompt + answer[:-1])
        logits = np.array(self.llama.scores[len(prompt) - 1 : self.llama.n_tokens], dtype=np.float64)
        top = logits.max(axis=-1, keepdims=True)
        found: np.ndarray[Any, Any] = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
        return found.astype(np.float32)

    def stops(self, prompt: list[int], limit: int) -> bool:
        """Whether its greedy answer comes to one of the file's own end tokens within `limit` tokens."""
        from workbench.worker import gguf_file

        self._ends = self._ends or gguf_file.ends(self.llama)
        self.llama.reset()
        new = prompt
        for _ in range(limit):
            self.llama.eval(new)
            token = int(self.llama.scores[self.llama.n_tokens - 1].argmax())
            if token in self._ends:
                return True
            new = [token]
        return False
