"""A model kept in memory to talk to: through transformers (a base or a run) or llama.cpp (a GGUF file)."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from workbench import hardware, precision
from workbench.bases.model_folder import read_base
from workbench.errors import InputError, RunError
from workbench.tokens import CLOSE, OPEN, PLAIN_TEMPLATE, ChatTokens, Turns, compile_template
from workbench.worker.limits import bounded
from workbench.worker.turn import Turn

GGUF_CONTEXT = 8192
"""Tokens of context for a GGUF: its cache takes memory for all of them at once."""


class Warm(Protocol):
    """A model that answers."""

    device: str
    dtype: str
    context: int
    template: str
    note: str

    def prompt(self, turns: Turns) -> list[int]: ...

    def answer(self, prompt: list[int], rule: Asked) -> Iterator[str]: ...


class Asked:
    """How an answer is to be given, and what became of it."""

    def __init__(self, temperature: float, top_p: float, max_tokens: int, seed: int, stop: Sequence[str]) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.max_tokens = max_tokens
        self.seed = seed
        self.stop = tuple(text for text in stop if text)
        self.tokens = 0
        self.finish = "length"


class TransformersModel:
    """Whole weights and the adapters that they wear: 16-bit on a card with room, NF4 on one with less, fp32 on the
    processor."""

    def __init__(self, folder: Path, adapter: Path | None, tokenizer: Path, turn: Turn) -> None:
        four_bit, self.note = _take_the_card(folder, turn)
        from workbench.worker import model
        from workbench.worker.adapters import Wardrobe
        from workbench.worker.log import quiet_libraries

        quiet_libraries()
        dtype = model.working_dtype()
        self.folder = folder
        whole = model.load_weights(folder, dtype, four_bit=four_bit).eval()
        whole.config.use_cache = True
        self._wardrobe = Wardrobe(whole)
        self.device, self.dtype = str(model.device()), "nf4" if four_bit else str(dtype).removeprefix("torch.")
        if not self.device.startswith("cuda"):
            turn.give_back()
        self.wear(adapter, tokenizer)

    @property
    def model(self) -> Any:
        return self._wardrobe.base

    def can_wear(self, folder: Path, adapter: Path | None) -> bool:
        """Whether a model of these weights with this adapter needs nothing loaded but the adapter."""
        return folder == self.folder and self._wardrobe.can_wear(adapter)

    def wear(self, adapter: Path | None, tokenizer: Path) -> None:
        """Goes on with another adapter of the same weights, or with none, and the tokenizer it was tuned with."""
        self.tokens = ChatTokens(tokenizer)
        self._wardrobe.wear(adapter)
        whole = int(self.model.config.get_text_config().max_position_embeddings)
        self.context = whole - self._wardrobe.taken_tokens
        self.template = "its own" if self.tokens.has_own_template else "plain"

    def prompt(self, turns: Turns) -> list[int]:
        """The conversation as tokens, the template run within limits."""
        with bounded("The model's chat template"):
            return self.tokens.prompt_ids(turns)

    def answer(self, prompt: list[int], rule: Asked) -> Iterator[str]:
        """Pieces of text as their tokens are drawn."""
        from tokenizers.decoders import DecodeStream

        stream, ids, sent = DecodeStream(skip_special_tokens=True), [], ""
        for token in self._draw(prompt, rule):
            ids.append(token)
            piece = stream.step(self.tokens.tokenizer, token)
            if piece:
                sent += piece
                yield piece
        whole = self.tokens.decode(ids)
        if whole.startswith(sent) and whole != sent:  # the answer was cut within a character
            yield whole[len(sent) :]

    def _draw(self, prompt: list[int], rule: Asked) -> Iterator[int]:
        import numpy as np
        import torch

        from workbench.worker import soft_prompt
        from workbench.worker.decoding import Rule, pick

        how = Rule(rule.temperature, rule.top_p, rule.max_tokens, tuple(self.tokens.end_ids))
        generator = np.random.default_rng(rule.seed)
        ids = torch.tensor([prompt], device=self.model.device)  # (1, T)
        with torch.inference_mode():
            cache, _ = soft_prompt.cache_of(self.model, self._wardrobe.filled, 1)
            for _ in range(rule.max_tokens):
                out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
                draw = torch.tensor([generator.random()], dtype=torch.float64, device=ids.device)
                token = int(pick(out.logits[:, -1], how, draw))
                if token in how.end_ids:
                    rule.finish = "stop"
                    return
                rule.tokens += 1
                yield token
                ids = torch.tensor([[token]], device=ids.device)


def _take_the_card(folder: Path, turn: Turn) -> tuple[bool, str]:
    """Waits for the card if there is one for torch; whether the model has to be there in 4 bits, and why.

    Where not even that fits beside other programs, the card is left alone. Before torch looks for it: afterwards it
    cannot be hidden any more.
    """
    import torch

    if hardware.free_vram_bytes() is None or not torch.backends.cuda.is_built():
        return False, ""
    turn.take()
    free, base = hardware.free_vram_bytes() or 0, read_base(folder, str(folder), folder.name)
    bits = precision.bits_for(base, free)
    if bits == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        turn.give_back()
        return False, "The card has no room for the model, not even in 4 bits: it answers on the processor, slowly."
    return bits == 4, precision.note_of(base, free) if bits == 4 else ""


class GgufModel:
    """A GGUF file in llama.cpp, with the chat template that the file brings along."""

    note = ""

    def __init__(self, path: Path, turn: Turn) -> None:
        from workbench.worker import gguf_file

        gguf_file.limit_memory(path)
        import llama_cpp

        on_card = bool(llama_cpp.llama_supports_gpu_offload())
        if on_card and hardware.free_vram_bytes() is not None:
            turn.take()
        self._stack = ExitStack()
        opened = gguf_file.opened_to_chat(path, GGUF_CONTEXT, n_gpu_layers=-1 if on_card else 0)
        try:
            self.llama = self._stack.enter_context(opened)
        except RunError as error:  # no run of ours: the file is what a person gave
            raise InputError(error.message, error.hint) from None
        self._control = gguf_file.control_tokens(self.llama)
        self._ends = gguf_file.ends(self.llama)
        vocab = llama_cpp.llama_model_get_vocab(self.llama.model)
        self._adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(vocab))
        source = self.llama.metadata.get("tokenizer.chat_template") or PLAIN_TEMPLATE
        with bounded("Reading the file's chat template"):
            self._template = compile_template(source)
        self.template = "plain" if source is PLAIN_TEMPLATE else "its own"
        self.device, self.dtype = "llama.cpp" + (" on the card" if on_card else ""), _file_type(path)
        room = int(self.llama.n_ctx())
        self.context = min(room, int(self.llama.metadata.get(f"{self._family}.context_length", room)))

    @property
    def _family(self) -> str:
        return str(self.llama.metadata.get("general.architecture", ""))

    def prompt(self, turns: Turns) -> list[int]:
        """The conversation as tokens, as llama.cpp does it: bos first if the file says so.

        Control tokens that a person's text spells out are read as text.
        """
        with bounded("The file's chat template"):
            text = self._render(turns)
        ids: list[int] = []
        for number, part in enumerate(_parts(text)):
            if part:
                ids += self.llama.tokenize(part.encode("utf-8", "replace"), add_bos=False, special=number % 2 == 0)
        bos = self.llama.token_bos()
        return [bos, *ids] if self._adds_bos and ids[:1] != [bos] else ids

    def _render(self, turns: Turns) -> str:
        from jinja2 import TemplateError

        names = {number: text for text, number in self._control.items()}
        messages = [{**turn, "content": _marked(turn["content"], self._control)} for turn in turns]
        try:
            rendered: str = self._template.render(
                messages=messages,
                add_generation_prompt=True,
                add_bos=self._adds_bos,
                bos_token=names.get(self.llama.token_bos(), ""),
                eos_token=names.get(self.llama.token_eos(), ""),
            )
        except (TemplateError, TypeError, ValueError, KeyError, RecursionError) as error:
            raise InputError(
                f"The file's chat template refuses this conversation ({error}).", "Drop the system turn, or start anew."
            ) from None
        return rendered

    def answer(self, prompt: list[int], rule: Asked) -> Iterator[str]:
        """Pieces of text as their tokens are drawn; a character's bytes are joined first."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.llama.set_seed(rule.seed)
        # Only temperature and top-p, as in transformers: llama-cpp-python's own defaults cut the tail as well.
        drawn = self.llama.generate(prompt, temp=rule.temperature, top_p=rule.top_p, top_k=0, min_p=0.0)
        for token in drawn:
            if token in self._ends:
                rule.finish = "stop"
                break
            rule.tokens += 1
            piece = decoder.decode(self.llama.detokenize([token]))
            if piece:
                yield piece
            if rule.tokens >= rule.max_tokens:
                break
        rest = decoder.decode(b"", final=True)
        if rest:
            yield rest


def _file_type(path: Path) -> str:
    """The precision that a file's name tells: `model-Q8_0.gguf` is Q8_0."""
    return path.stem.rpartition("-")[2] if "-" in path.stem else "GGUF"


def _marked(text: str, control: dict[str, int]) -> str:
    """The text with private characters round every control token that it spells out."""
    text = text.replace(OPEN, "").replace(CLOSE, "")
    for word in sorted(control, key=len, reverse=True):
        if word and word in text:
            text = text.replace(word, f"{OPEN}{word}{CLOSE}")
    return text


def _parts(text: str) -> list[str]:
    """Text outside and inside the marks, by turns."""
    parts: list[str] = []
    for chunk in text.split(OPEN):
        inside, mark, outside = chunk.partition(CLOSE)
        parts += [inside, outside] if mark else [chunk]
    return parts
