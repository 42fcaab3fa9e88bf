"""Runs the checks of one export and says what they gave: the models asked, the marks held up, the events written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import FormatError, VerificationError
from workbench.events import Metrics, Verified
from workbench.exports import answers, verify
from workbench.exports.modelfile import CHATS
from workbench.exports.source import Source
from workbench.exports.verify import MARKS, Difference, Figures

if TYPE_CHECKING:
    import numpy as np

    from workbench.exports.tensors import Merged
    from workbench.tokens import ChatTokens
    from workbench.worker.context import RunContext


@dataclass
class Exchange:
    """A prompt, the merged model's greedy answer to it, and its distributions along that answer."""

    prompt: list[int]
    answer: list[int]
    log_probs: np.ndarray[Any, Any]
    """(T, V), float32, in nats."""


@dataclass
class Verdict:
    """What the checks of one part gave."""

    target: str
    figures: dict[str, Metrics] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    def error(self, kept: str = "") -> VerificationError:
        """The failure as an error, with the first difference in it."""
        where = f" Its bytes are kept as {kept}, which nothing loads." if kept else ""
        return VerificationError(
            f"The {self.target} export does not answer like the model that was trained: {self.failures[0]}",
            f"It was not given its final name.{where} Ask for a type with more bits; if f16 fails too, report it.",
        )


class Checker:
    """All checks of one export job. The merged model is asked once; everything else is compared with it."""

    def __init__(self, context: RunContext, source: Source, merged: Merged, tokens: ChatTokens) -> None:
        self.context = context
        self.source = source
        self.merged = merged
        self.tokens = tokens
        dtype = next(iter(merged.model.infos.values())).dtype
        self.device, self.dtype = answers.device_and_dtype(merged.model.parameters, dtype)

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Token ids of the held-out prompts, filled up with general ones, each at most `PROMPT_TOKENS` long."""
        chats = [row["prompt"] for row in _rows(self.context.paths.data / "check.jsonl")]
        chats += [[{"role": "user", "content": text}] for text in verify.PROMPTS[: verify.FEWEST_PROMPTS - len(chats)]]
        limit = min(verify.PROMPT_TOKENS, int(self.source.config["max_position_embeddings"]) - verify.ANSWER_TOKENS)
        return [ids for ids in (self.tokens.prompt_ids(chat)[-limit:] for chat in chats) if ids]

    def ask(self, merged_model: AbstractContextManager[Any]) -> None:
        """Lets the merged model answer, which everything is compared with afterwards."""
        self.context.phase("asking the merged model")
        with merged_model as model:
            answers_given = answers.greedy(model, self.prompts, self.tokens.end_ids)
            self.exchanges = []
            for prompt, answer in zip(self.prompts, answers_given, strict=True):
                self.context.check_stop()
                if answer:
                    self.exchanges.append(Exchange(prompt, answer, answers.log_probs(model, prompt, answer)))

    def check_merge(self, *, inform: bool = True) -> Verdict:
        """The merged model against the trained adapter, unmerged on the unquantised base.

        `inform`: measure also what separates the merge from the 4-bit model that a QLoRA run trained on.
        """
        verdict = Verdict("merged")
        adapter = self.source.adapter
        if adapter is None:
            return self._judge(verdict, "answers", self._compare(self._asked))
        self.context.phase("asking the trained adapter")
        model = answers.adapted(self.source.model, adapter, self.device, self.dtype)
        verdict = self._judge(verdict, "answers", self._compare_with_merged(model))
        if inform and self.source.trained_in_4bit:
            self.context.phase("asking the model as it was trained")
            figures = self._compare_with_merged(answers.as_trained(self.source.model, adapter))
            self._say("merged", "as trained on 4 bits", True, figures.metrics(), "for information: what 4 bits changed")
            verdict.figures["as_trained"] = figures.metrics()
        return verdict

    def check_gguf(self, path: Path, quant: str) -> Verdict:
        """A GGUF against the tokenizer and the merged model."""
        self.context.phase(f"checking {quant}")
        verdict = Verdict(quant)
        longest = max(len(e.prompt) + len(e.answer) for e in self.exchanges)
        with answers.LlamaCpp(path, -(-longest // 64) * 64) as llama:
            self._check_tokens(verdict, llama)
            figures = self._compare(llama.log_probs)
        return self._judge(verdict, "answers", figures)

    def _compare(self, ask: Callable[[list[int], list[int]], np.ndarray[Any, Any]]) -> Figures:
        mine = [exchange.log_probs for exchange in self.exchanges]
        return verify.compare(mine, self._each(ask), self._describe)

    def _compare_with_merged(self, model: AbstractContextManager[Any]) -> Figures:
        """The merged model's figures when `model` is the reference."""
        mine = [exchange.log_probs for exchange in self.exchanges]
        with model as reference:
            return verify.compare(self._each(lambda p, a: answers.log_probs(reference, p, a)), mine, self._describe)

    def _each(self, ask: Callable[[list[int], list[int]], np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
        for exchange in self.exchanges:
            self.context.check_stop()
            self.context.progress(self.context.step)  # a large model takes seconds a prompt: it is not stuck
            yield ask(exchange.prompt, exchange.answer)

    def _asked(self, prompt: list[int], answer: list[int]) -> np.ndarray[Any, Any]:
        return next(e.log_probs for e in self.exchanges if e.prompt == prompt and e.answer == answer)

    def _describe(self, n: int, at: int, expected: int, got: int) -> Difference:
        before = self.tokens.tokenizer.decode(self.exchanges[n].answer[:at], skip_special_tokens=False)
        where = f"answer {n + 1}, token {at + 1}, after {before[-40:]!r}"
        return Difference(where, repr(self._word(expected)), repr(self._word(got)))

    def _word(self, token: int) -> str:
        return str(self.tokens.tokenizer.decode([token], skip_special_tokens=False))

    def _judge(self, verdict: Verdict, check: str, figures: Figures) -> Verdict:
        mark = MARKS[verdict.target]
        passed = figures.passes(mark)
        detail = figures.against(mark) + (f"; first difference at {figures.first}" if figures.first else "")
        self._say(verdict.target, check, passed, figures.metrics(mark), detail)
        verdict.figures[check] = figures.metrics(mark)
        if not passed:
            verdict.failures.append(detail + ".")
        return verdict

    def _check_tokens(self, verdict: Verdict, llama: answers.LlamaCpp) -> None:
        """Same token ids for every text: plain, with what the tokenizer puts around, and special tokens as text."""
        encode = self.tokens.tokenizer.encode
        special = [f"before {token} after{token}" for token in self.tokens.special.values()]
        chats = self._rendered_chats()
        readings: list[tuple[str, list[str], Callable[[str], list[int]], Callable[[str], list[int]]]] = [
            (
                "tokens",
                [*verify.TEXTS, *special, *chats],
                lambda t: encode(t, add_special_tokens=False).ids,
                llama.tokenise,
            ),
            (
                "tokens with begin and end",
                [*verify.TEXTS],
                lambda t: encode(t).ids,
                lambda t: llama.tokenise(t, around=True),
            ),
            ("special tokens as text", special, self._as_text, lambda t: llama.tokenise(t, special=False)),
        ]
        for check, texts, expected, got in readings:
            different, first = verify.first_different_tokens(texts, expected, got, self._word)
            figures: Metrics = {"texts": len(texts), "different": different}
            self._say(verdict.target, check, different == 0, figures, str(first or ""))
            verdict.figures[check] = figures
            if first is not None:
                verdict.failures.append(f"{different} of {len(texts)} texts become other tokens ({check}); {first}.")

    def _as_text(self, text: str) -> list[int]:
        self.tokens.tokenizer.encode_special_tokens = True
        try:
            ids: list[int] = self.tokens.tokenizer.encode(text, add_special_tokens=False).ids
        finally:
            self.tokens.tokenizer.encode_special_tokens = False
        return ids

    def _rendered_chats(self) -> list[str]:
        texts = []
        for chat in CHATS:
            try:
                texts.append(self.tokens.render(chat, ask=True))
            except FormatError:  # a template without system turns; its other chats are checked
                continue
        return texts

    def _say(self, target: str, check: str, passed: bool, figures: Metrics, detail: str) -> None:
        self.context.emit(Verified(target=target, check=check, passed=passed, figures=figures, detail=detail))


def _rows(path: Path) -> list[dict[str, Any]]:
    """The check prompts of the job; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
