"""Asks models for their next-token distributions: transformers (whole, merged, with adapter, in 4 bits) and llama.cpp.

One model is in memory at a time; `verify` compares what they say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from workbench.errors import ExportError
from workbench.exports.plan import check_memory
from workbench.exports.verify import ANSWER_TOKENS

if TYPE_CHECKING:
    import numpy as np
    import torch

    from workbench.exports.tensors import Merged

ROOM = 1.25
"""Memory for activations and buffers beside the weights, as a factor."""


def device_and_dtype(parameters: int, dtype: str) -> tuple[str, torch.dtype]:
    """Where to run a model to judge by it: in float32 on the card, else the processor, else in 16 bits there."""
    import psutil
    import torch

    wide = int(parameters * 4 * ROOM)
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > wide:
        return "cuda", torch.float32
    free = int(psutil.virtual_memory().available)
    if wide <= free:
        return "cpu", torch.float32
    check_memory(int(parameters * 2 * ROOM), free, "Checking the export")
    return "cpu", torch.bfloat16 if dtype in ("F32", "BF16") else torch.float16


@contextlib.contextmanager
def whole(folder: Path, device: str, dtype: torch.dtype) -> Iterator[Any]:
    """The model in a folder, and its memory given back afterwards."""
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(
            f"transformers cannot load {folder.name}: {str(error).splitlines()[0]}", "Its files are damaged or unusual."
        ) from None
    try:
        yield model.to(device).eval()
    finally:
        del model
        _release()


@contextlib.contextmanager
def merged_in_memory(merged: Merged, device: str, dtype: torch.dtype) -> Iterator[Any]:
    """The base with the very tensors that are written, those rounded to the base's dtype and only then widened."""
    import torch

    with whole(merged.model.folder, "cpu", dtype) as model:
        if merged.adapter is not None:
            parameters = dict(model.named_parameters())
            with torch.no_grad():
                for name in merged.adapter.touched:
                    parameters[name].copy_(merged.tensor(name))
        yield model.to(device)


@contextlib.contextmanager
def adapted(folder: Path, adapter: Path, device: str, dtype: torch.dtype) -> Iterator[Any]:
    """The trained adapter, unmerged, on the unquantised base: peft's own arithmetic, which the merge is judged by."""
    from peft import PeftModel

    with whole(folder, device, dtype) as base:
        yield PeftModel.from_pretrained(base, str(adapter)).to(device).eval()


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


def greedy(model: Any, prompts: list[list[int]], ends: list[int]) -> list[list[int]]:
    """The model's own greedy answers, their end tokens included."""
    from workbench.worker.decoding import Rule, answer_all

    found = answer_all(model, prompts, Rule(0.0, 1.0, ANSWER_TOKENS, tuple(ends)))
    return [answer.ids + ends[:1] * answer.ended for answer in found]


def log_probs(model: Any, prompt: list[int], answer: list[int]) -> np.ndarray[Any, Any]:
    """ln p of every token at each position of the answer: (T, V), float32."""
    import torch

    ids = torch.tensor([prompt + answer[:-1]], device=model.device)  # (1, T)
    with torch.inference_mode():
        logits = model(input_ids=ids, logits_to_keep=len(answer)).logits[0].float()  # (T, V)
    found: np.ndarray[Any, Any] = torch.log_softmax(logits, dim=-1).cpu().numpy()
    return found


class LlamaCpp:
    """A GGUF opened by llama.cpp for checking, on the processor and with a float32 cache; closed on leaving."""

    def __init__(self, path: Path, context: int) -> None:
        import llama_cpp

        from workbench.worker import gguf_file

        wide = llama_cpp.GGML_TYPE_F32
        batch = {"n_ctx": context, "n_batch": context, "n_ubatch": context}
        self._open = gguf_file.opened(path, n_gpu_layers=0, logits_all=True, type_k=wide, type_v=wide, **batch)

    def __enter__(self) -> LlamaCpp:
        self._llama = self._open.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.__exit__(kind, error, at)

    def tokenise(self, text: str, *, around: bool = False, special: bool = True) -> list[int]:
        """The text's tokens; `around`: with what the file says to put around; `special`: special tokens recognised."""
        ids: list[int] = self._llama.tokenize(text.encode(), add_bos=around, special=special)
        return ids

    def log_probs(self, prompt: list[int], answer: list[int]) -> np.ndarray[Any, Any]:
        """ln p of every token at each position of the answer: (T, V), float32."""
        import numpy as np

        self._llama.reset()
        self._llama.eval(prompt + answer[:-1])
        logits = np.array(self._llama.scores[len(prompt) - 1 : self._llama.n_tokens], dtype=np.float64)
        top = logits.max(axis=-1, keepdims=True)
        found: np.ndarray[Any, Any] = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
        return found.astype(np.float32)
