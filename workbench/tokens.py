"""Conversations as tokens, without torch or transformers: what a row becomes, and which of its tokens carry loss.

The worker trains on exactly what this module returns, so the preview of a form cannot differ from the training.
A chat template is somebody else's program, sandboxed but free to loop: screens call this through `preview`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from workbench.errors import BaseModelError, FormatError

Turns = Sequence[Mapping[str, str]]
Part = Literal["context", "trained", "cut"]

PLAIN_TEMPLATE = (
    "{{- bos_token if add_bos else '' }}"
    "{%- for message in messages %}"
    "{{- '### ' + message['role'] | capitalize + ':\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{%- else %}{{- message['content'] }}{%- endif %}"
    "{{- '\\n\\n' if not loop.last or message['role'] != 'assistant' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '### Assistant:\\n' }}{%- endif %}"
)
"""The template of a base that has none: headings in plain text, so that no new token has to be learnt."""

OPEN, CLOSE = "\U00100002", "\U00100003"
"""Private characters round a control token that a person's text spells out, so that it is read as text."""


@dataclass(frozen=True)
class Row:
    """A conversation as tokens: `ids[:context]` is what the model is given, the rest what it learns to say."""

    ids: list[int]
    context: int
    pieces: list[str]
    """The text of each token, cut so that joined they are the rendered conversation."""

    def labels(self, max_length: int) -> list[int]:
        """The tokens that carry loss, -100 elsewhere, cut at `max_length`."""
        return ([-100] * self.context + self.ids[self.context :])[:max_length]


class ChatTokens:
    """A base's tokenizer and chat template, as the files in its folder have them."""

    def __init__(self, folder: Path, moment: float | None = None) -> None:
        """`moment` (Unix seconds) is the day that templates may mention: a run fixes it, so a resume repeats it."""
        from tokenizers import Tokenizer

        if "model" not in _read_json(folder / "tokenizer.json"):  # checked here: the Rust library raises bare Exception
            raise BaseModelError(
                f"{folder.name} has no readable tokenizer.json.",
                "Download it again, or save its tokenizer with transformers, which converts older layouts.",
            )
        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.config = _read_json(folder / "tokenizer_config.json")
        self._folder = folder
        self._moment = moment

    @cached_property
    def special(self) -> dict[str, str]:
        """The named special tokens (bos_token, eos_token, ...) as their texts."""
        found: dict[str, str] = {}
        for source in (_read_json(self._folder / "special_tokens_map.json"), self.config):
            for name, value in source.items():
                text = value.get("content") if isinstance(value, dict) else value
                if name.endswith("_token") and isinstance(text, str):
                    found[name] = text
        if "eos_token" not in found and self._declared_ends:
            found["eos_token"] = self.tokenizer.id_to_token(self._declared_ends[0]) or ""
        return found

    @cached_property
    def template(self) -> str:
        """The chat template; our plain one where the base has none."""
        file = self._folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        given = self.config.get("chat_template")
        if isinstance(given, list):  # several, by name
            given = {row["name"]: row["template"] for row in given}.get("default")
        return given if isinstance(given, str) else PLAIN_TEMPLATE

    @property
    def has_own_template(self) -> bool:
        return self.template is not PLAIN_TEMPLATE

    @cached_property
    def _declared_ends(self) -> list[int]:
        """Token ids that config.json and generation_config.json call the end."""
        ends: list[int] = []
        for name in ("generation_config.json", "config.json"):
            value = _read_json(self._folder / name).get("eos_token_id")
            ends += value if isinstance(value, list) else [value] if isinstance(value, int) else []
        return list(dict.fromkeys(ends))

    @cached_property
    def end_of_turn(self) -> int | None:
        """The special token with which the template closes an assistant's turn, if it does with one."""
        try:
            whole = self.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "bxb"}])
        except FormatError:
            return None
        closing = self.tokenizer.encode(whole[whole.rfind("bxb") + 3 :], add_special_tokens=False).ids
        return next((token for token in closing if token in self._control_ids), None)

    @cached_property
    def end_ids(self) -> list[int]:
        """Every token that ends an answer: the template's end of turn, the tokenizer's eos, the model's list."""
        eos = self.special.get("eos_token")
        named = self.tokenizer.token_to_id(eos) if eos else None
        return list(dict.fromkeys(i for i in (self.end_of_turn, named, *self._declared_ends) if i is not None))

    @cached_property
    def _control_ids(self) -> dict[int, str]:
        added = self.tokenizer.get_added_tokens_decoder()
        return {number: token.content for number, token in added.items() if token.special}

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        texts = sorted(self._control_ids.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or "(?!)")

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer begins every text with bos, which our plain template must then do itself."""
        bos = self.special.get("bos_token")
        return bool(bos) and self.tokenizer.encode("a").ids[:1] == [self.tokenizer.token_to_id(bos)]

    def render(self, turns: Turns, *, ask: bool = False) -> str:
        """The conversation as the template writes it; `ask` ends it where the assistant begins."""
        from jinja2 import TemplateError

        messages = [{**turn, "content": self._mark(turn["content"])} for turn in turns]
        try:
            text: str = self._compiled.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=ask,
                add_bos=self.adds_bos,
                **{"bos_token": "", "eos_token": "", **self.special},
            )
            return text
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise FormatError(
                f"The base's chat template refuses a conversation ({error}).",
                "Its roles may not alternate, or the template knows no system turn.",
            ) from None

    def _mark(self, content: str) -> str:
        content = content.replace(OPEN, "").replace(CLOSE, "")
        return self._control_pattern.sub(f"{OPEN}\\g<0>{CLOSE}", content)

    @cached_property
    def _compiled(self) -> Any:
        return compile_template(self.template, self._moment)

    def prompt_ids(self, turns: Turns) -> list[int]:
        """What a model is given to answer these turns."""
        return self.asked(turns)[0]

    def asked(self, turns: Turns) -> tuple[list[int], list[str]]:
        """The same, with the text of each token."""
        return self._encode(self.render(turns, ask=True))

    def row(self, prompt: Turns, answer: Turns) -> Row:
        """The prompt with its answer. The answer begins where prompt and whole differ, and ends with its end of turn.

        Where a template renders the prompt otherwise when an answer follows, that end of the prompt is left out, as
        TRL's `common_prefix_length` does.
        """
        asked, _ = self._encode(self.render(prompt, ask=True))
        ids, pieces = self._encode(self.render([*prompt, *answer]))
        context = next(
            (i for i, (a, b) in enumerate(zip(asked, ids, strict=False)) if a != b), min(len(asked), len(ids))
        )
        last = max((i for i in range(context, len(ids)) if ids[i] in self.end_ids), default=None)
        if last is not None:
            return Row(ids[: last + 1], context, pieces[: last + 1])
        if not self.end_ids:
            return Row(ids, context, pieces)
        return Row([*ids, self.end_ids[0]], context, [*pieces, self.tokenizer.id_to_token(self.end_ids[0]) or ""])

    def _encode(self, text: str) -> tuple[list[int], list[str]]:
        """Token ids and their texts. Marked control tokens are encoded as the text they are."""
        ids: list[int] = []
        pieces: list[str] = []
        for number, part in enumerate(re.split(f"{OPEN}(.*?){CLOSE}", text)):
            if not part:
                continue
            self.tokenizer.encode_special_tokens = number % 2 == 1
            encoding = self.tokenizer.encode(part, add_special_tokens=False)
            ids += encoding.ids
            pieces += _cut(part, encoding.offsets)
        self.tokenizer.encode_special_tokens = False
        return ids, pieces

    def decode(self, ids: Iterable[int]) -> str:
        """The text of an answer, without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text


def _cut(text: str, offsets: list[tuple[int, int]]) -> list[str]:
    """The text cut at the tokens' ends; a token inside a character (a byte of it) shows as nothing."""
    pieces, start = [], 0
    for _, end in offsets:
        pieces.append(text[start:end])
        start = max(start, end)
    if pieces and start < len(text):
        pieces[-1] += text[start:]
    return pieces


def compile_template(source: str, moment: float | None = None) -> Any:
    """A chat template compiled as transformers compiles it: sandboxed, with `generation` blocks and loop controls."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.ext import loopcontrols as loop_controls
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Reads `{% generation %}...{% endgeneration %}` as its body."""

        tags = {"generation"}  # noqa: RUF012  # jinja2 declares it a set

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loop_controls]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda pattern: time.strftime(pattern, time.localtime(moment))
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise BaseModelError(
            f"The base's chat template is not valid ({error}).", "Mend chat_template.jinja in its folder, or delete it."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
