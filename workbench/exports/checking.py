"""Runs the checks of one export and says what they gave: the models asked, the marks held up, the events written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bases.model_folder import read_base
from workbench.errors import VerificationError
from workbench.events import Metrics, Verified
from workbench.exports import answers, chats, verify
from workbench.exports.source import Source
from workbench.exports.verify import MARKS, Difference, Figures

if TYPE_CHECKING:
    import numpy as np

    from workbench.exports.tensors import Merged
    from workbench.tokens import ChatTokens
    from workbench.worker.context import RunContext

Reading = tuple[str, list[str], Callable[[str], list[int]], Callable[[str], list[int]]]
"""A check's name, its texts, and the two ways of turning them into tokens."""


@dataclass
class Exchange:
    """A prompt, the merged model's greedy answer to it, and its distributions along that answer."""

    prompt: list[int]
    answer: list[int]
    log_probs: np.ndarray[Any, Any]
    """(T, V), float32, in nats."""
    ended: bool | None = None
    """Whether the whole answer came to its end by itself; None where the model was not asked to write."""


@dataclass
class Verdict:
    """What the checks of one part gave."""

    target: str
    figures: dict[str, Metrics] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def row(self) -> dict[str, Any]:
        """What `export.json` keeps of it: the figures with their marks, and each failure with its first difference."""
        return {"checks": self.figures, **({"failures": self.failures} if self.failures else {})}

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

    @cached_property
    def place(self) -> answers.Place:
        """Where models are asked, settled when the first is."""
        dtype = next(iter(self.merged.model.infos.values())).dtype
        found = answers.place_for(self.merged.model.parameters, dtype)
        if found.streamed:
            self.context.note(
                "The model does not fit into memory, so its checks read it layer by layer: on the prompts' own "
                "tokens, and without asking it for answers."
            )
        return found

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Token ids of the held-out prompts, filled up with general ones, each at most `PROMPT_TOKENS` long."""
        found = [row["prompt"] for row in _rows(self.context.paths.data / "check.jsonl")]
        missing = max(0, verify.FEWEST_PROMPTS - len(found))
        found += [[{"role": "user", "content": text}] for text in verify.PROMPTS[:missing]]
        model = self.source.model
        reads = read_base(model, str(model), model.name).context or verify.PROMPT_TOKENS + verify.STOP_TOKENS
        limit = min(verify.PROMPT_TOKENS, reads - verify.STOP_TOKENS)
        return [ids for ids in (self.tokens.prompt_ids(chat)[-max(8, limit) :] for chat in found) if ids]

    # -- asking

    def ask(self, merged_model: AbstractContextManager[Any], also: Callable[[Any], None] = lambda model: None) -> None:
        """Lets the merged model answer, which everything is compared with afterwards; `also` gets it then."""
        self.context.phase("asking the merged model")
        with merged_model as model:
            given, ended = self._texts(model)
            said = answers.all_log_probs(model, given, streamed=self.place.streamed)
            self.exchanges = [
                Exchange(prompt, answer, log_probs, over)
                for (prompt, answer), over, log_probs in zip(given, ended, self._watched(said), strict=True)
            ]
            also(model)

    def _texts(self, model: Any) -> tuple[list[answers.Pair], list[bool | None]]:
        """What every model will read: prompts with the merged model's answers, or where it cannot write, with their
        own last tokens."""
        if self.place.streamed:
            halves = [(ids, min(verify.ANSWER_TOKENS, len(ids) // 2)) for ids in self.prompts]
            pairs = [(ids[:-count], ids[-count:]) for ids, count in halves if count]
            return pairs, [None] * len(pairs)
        given = answers.greedy(model, self.prompts, self.tokens.end_ids)
        kept = [
            (ids, said[: verify.ANSWER_TOKENS], over) for ids, (said, over) in zip(self.prompts, given, strict=True)
        ]
        return [(ids, said) for ids, said, _ in kept if said], [over for _, said, over in kept if said]

    def _watched(self, said: Iterator[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
        for log_probs in said:
            self.context.check_stop()
            self.context.progress(self.context.step)  # a large model takes seconds a prompt: it is not stuck
            yield log_probs

    # -- judging

    def check_merge(self, *, inform: bool = True, written: Path | None = None) -> Verdict:
        """The merged model against the trained adapter, unmerged on the unquantised base.

        `inform`: measure also what separates the merge from the 4-bit model that a QLoRA run trained on. `written` is
        the merged folder, if there is one already, in which a failure is looked for.
        """
        verdict = Verdict("merged")
        adapter = self.source.adapter
        mine = [exchange.log_probs for exchange in self.exchanges]
        if adapter is None:
            return self._judge(verdict, verify.compare(mine, mine, self._describe))
        self.context.phase("asking the trained adapter")
        self._judge(verdict, self._compare_with_merged(answers.adapted(self.merged, adapter, self.place)))
        self._tell_of_stops(verdict)
        if not verdict.passed and written is not None and not self.place.streamed:
            verdict.failures[0] += f" {self._first_wrong_weight(written, adapter)}"
        if inform and self.source.trained_in_4bit and not self.place.streamed:
            self.context.phase("asking the model as it was trained")
            figures = self._compare_with_merged(answers.as_trained(self.source.model, adapter))
            self._say("merged", "as trained on 4 bits", True, figures.metrics(), "for information: what 4 bits changed")
            verdict.figures["as_trained"] = figures.metrics()
        return verdict

    def _first_wrong_weight(self, written: Path, adapter: Path) -> str:
        from workbench.exports import weighing
        from workbench.exports.tensors import Weights

        with answers.adapted(self.merged, adapter, self.place) as model:
            return weighing.first_wrong_in_folder(Weights(written), model.merge_and_unload())

    def check_gguf(self, path: Path, quant: str, lora: Path | None = None) -> Verdict:
        """A GGUF (with `lora`, an adapter beside it) against the tokenizer, the template and the merged model."""
        self.context.phase(f"checking {quant}")
        verdict = Verdict(quant)
        longest = max(len(e.prompt) + max(len(e.answer), verify.STOP_TOKENS) for e in self.exchanges)
        with answers.LlamaCpp(path, -(-longest // 64) * 64, lora) as llama:
            self._check_tokens(verdict, llama)
            self._check_chats(verdict, llama)
            mine = [exchange.log_probs for exchange in self.exchanges]
            theirs = self._watched(llama.log_probs(e.prompt, e.answer) for e in self.exchanges)
            before = len(verdict.failures)
            self._judge(verdict, verify.compare(mine, theirs, self._describe))
            wrong = len(verdict.failures) > before
            self._check_stops(verdict, llama)
        if wrong and lora is None:
            from workbench.exports import weighing

            verdict.failures[before] += f" {weighing.first_wrong_in_gguf(path, self.merged)}"
        return verdict

    def _compare_with_merged(self, model: AbstractContextManager[Any]) -> Figures:
        """The merged model's figures when `model` is the reference."""
        mine = [exchange.log_probs for exchange in self.exchanges]
        pairs = [(exchange.prompt, exchange.answer) for exchange in self.exchanges]
        with model as reference:
            said = answers.all_log_probs(reference, pairs, streamed=self.place.streamed)
            return verify.compare(self._watched(said), mine, self._describe)

    def _describe(self, n: int, at: int, expected: int, got: int) -> Difference:
        before = self.tokens.tokenizer.decode(self.exchanges[n].answer[:at], skip_special_tokens=False)
        where = f"answer {n + 1}, token {at + 1}, after {before[-40:]!r}"
        return Difference(where, repr(self._word(expected)), repr(self._word(got)))

    def _word(self, token: int) -> str:
        return str(self.tokens.tokenizer.decode([token], skip_special_tokens=False))

    def _judge(self, verdict: Verdict, figures: Figures) -> Verdict:
        """Holds the comparison of the answers up to its marks."""
        mark = MARKS[verdict.target]
        passed = figures.passes(mark)
        detail = figures.against(mark) + (f"; first difference at {figures.first}" if figures.first else "")
        if not passed:
            verdict.failures.append(detail + ".")
        self._record(verdict, "answers", passed, figures.metrics(mark), detail)
        return verdict

    # -- tokens, templates, stops

    def _check_tokens(self, verdict: Verdict, llama: answers.LlamaCpp) -> None:
        """Same token ids for every text: plain, with what the tokenizer puts around, and special tokens as text."""
        encode = self.tokens.tokenizer.encode
        special = [f"before {token} after{token}" for token in self._special_tokens]
        rendered = list(self._transformers_chats.values())

        def plain(text: str) -> list[int]:
            ids: list[int] = encode(text, add_special_tokens=False).ids
            return ids

        readings: list[Reading] = [
            ("tokens", [*verify.TEXTS, *special, *rendered], plain, llama.tokenise),
            (
                "tokens with begin and end",
                [*verify.TEXTS],
                lambda text: encode(text).ids,
                lambda text: llama.tokenise(text, around=True),
            ),
            (
                "special tokens as text",
                special,
                self.tokens_as_text,
                lambda text: llama.tokenise(text, special=False),
            ),
        ]
        for reading in readings:
            self._compare_tokens(verdict, *reading)

    @property
    def _special_tokens(self) -> list[str]:
        """Those with a name (bos, eos, ...), then every other one, such as those that open a turn."""
        added = self.tokens.tokenizer.get_added_tokens_decoder().values()
        all_of_them = [*self.tokens.special.values(), *(token.content for token in added if token.special)]
        return list(dict.fromkeys(all_of_them))[: verify.SPECIAL_TOKENS]

    def _compare_tokens(
        self,
        verdict: Verdict,
        check: str,
        texts: list[str],
        expected: Callable[[str], list[int]],
        got: Callable[[str], list[int]],
    ) -> None:
        judged = [text for text in texts if not any(known.concerns(text) for known in self._departures)]
        different, first = verify.first_different_tokens(judged, expected, got, self._word)
        if first is not None:
            verdict.failures.append(f"{different} of {len(judged)} texts become other tokens ({check}); {first}.")
        metrics: Metrics = {"texts": len(judged), "different": different, "left_out": len(texts) - len(judged)}
        self._record(verdict, check, different == 0, metrics, str(first or ""))

    @cached_property
    def _departures(self) -> tuple[Any, ...]:
        """What llama.cpp is known to do otherwise with this tokenizer, told once as a warning."""
        from workbench.exports.gguf import vocabulary
        from workbench.exports.source import read_json

        found = vocabulary.departures(read_json(self.source.tokenizer / "tokenizer.json"))
        for departure in found:
            self.context.note(departure.sentence, "warning")
        return found

    def tokens_as_text(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens are spelt out and not meant."""
        self.tokens.tokenizer.encode_special_tokens = True
        try:
            ids: list[int] = self.tokens.tokenizer.encode(text, add_special_tokens=False).ids
        finally:
            self.tokens.tokenizer.encode_special_tokens = False
        return ids

    @cached_property
    def _transformers_chats(self) -> dict[int, str]:
        return chats.by_transformers(self.source.tokenizer) if self.tokens.has_own_template else {}

    def _check_chats(self, verdict: Verdict, llama: answers.LlamaCpp) -> None:
        """The template rendered by transformers and by llama.cpp: the same token ids for every conversation."""
        mine = self._transformers_chats
        if not mine:
            return
        rendered = chats.by_llama_cpp(llama.llama)
        theirs = {text: rendered.get(number, "") for number, text in mine.items()}
        encode = self.tokens.tokenizer.encode
        different, first = verify.first_different_tokens(
            list(theirs),
            lambda text: encode(text, add_special_tokens=False).ids,
            lambda text: llama.tokenise(theirs[text]),
            self._word,
        )
        if first is not None:
            verdict.failures.append(f"{different} of {len(mine)} chats are rendered otherwise; {first}.")
        metrics: Metrics = {"texts": len(mine), "different": different}
        self._record(verdict, "chat template", different == 0, metrics, str(first or ""))
        listed = chats.by_name(llama.llama)
        odd = sum(listed[number] != mine.get(number, listed[number]) for number in listed)
        if odd:
            self.context.note(
                f"Programs that take the chat template from llama.cpp's own list instead of from the file render {odd} "
                f"of {len(listed)} chats otherwise: start llama.cpp with --jinja."
            )

    def _check_stops(self, verdict: Verdict, llama: answers.LlamaCpp) -> None:
        """How many answers come to their end by themselves, beside how many of the merged model's do."""
        asked = [exchange for exchange in self.exchanges if exchange.ended is not None]
        began, mine, theirs = time.monotonic(), 0, 0
        count = 0
        for exchange in asked:
            self.context.check_stop()
            self.context.progress(self.context.step)
            mine += bool(exchange.ended)
            theirs += llama.stops(exchange.prompt, verify.STOP_TOKENS)
            count += 1
            if time.monotonic() - began > verify.STOP_SECONDS and count >= verify.FEWEST_PROMPTS // 2:
                break
        if not count:
            return
        mark = max(0.0, mine - max(1, verify.STOP_SLACK * count)) / count
        passed = theirs / count >= mark
        shares: Metrics = {"share": theirs / count, "share_of_merged": mine / count, "mark_share": mark}
        metrics: Metrics = {**shares, "answers": count}
        detail = f"{theirs} of {count} answers stop by themselves, {mine} of the merged model's"
        if not passed:
            verdict.failures.append(f"{detail}: it does not know when to stop.")
        self._record(verdict, "stops", passed, metrics, detail)

    def _tell_of_stops(self, verdict: Verdict) -> None:
        """The merged model's own share, as information: what a model was not taught is not the export's failure."""
        ended = [exchange.ended for exchange in self.exchanges if exchange.ended is not None]
        if not ended:
            return
        share = sum(map(bool, ended)) / len(ended)
        detail = f"{sum(map(bool, ended))} of {len(ended)} answers end by themselves within {verify.STOP_TOKENS} tokens"
        self._record(verdict, "stops", True, {"share": share, "answers": len(ended)}, detail)

    def _record(self, verdict: Verdict, check: str, passed: bool, figures: Metrics, detail: str) -> None:
        verdict.figures[check] = {**figures, "passed": float(passed)}
        self._say(verdict.target, check, passed, figures, detail)

    def _say(self, target: str, check: str, passed: bool, figures: Metrics, detail: str) -> None:
        self.context.emit(Verified(target=target, check=check, passed=passed, figures=figures, detail=detail))


def _rows(path: Path) -> list[dict[str, Any]]:
    """The check prompts of the job; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
