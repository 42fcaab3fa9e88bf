"""An Ollama Modelfile for a GGUF: the chat template turned into Ollama's own language, stops and context length.

Ollama does not run Jinja. A template that puts something fixed before and after every turn is recognised by rendering
probes; the form found is then rendered beside the original on several chats and must give the same text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.errors import FormatError
from workbench.tokens import Turns

Render = Callable[[Turns, bool], str]
"""(turns, whether the answer's opening is appended) -> text."""

MOST_CONTEXT = 8192
"""Ollama reserves memory for num_ctx tokens at once, so a model's full 131,072 would not load on a small card."""

_USER = {"role": "user", "content": "Where is Rome?"}
_SYSTEM = {"role": "system", "content": "Be brief."}
_ANSWER = {"role": "assistant", "content": "In Italy."}
CHATS: tuple[Turns, ...] = (
    (_USER,),
    (_SYSTEM, _USER),
    (_USER, _ANSWER, {"role": "user", "content": "And Bern?\nIn one line."}),
    (_SYSTEM, _USER, _ANSWER, {"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2."}, _USER),
)
"""Chats on which the form found has to render like the template itself."""

_MARK = "qzprobeqz"


@dataclass(frozen=True)
class Wrapping:
    """A template of the simple kind: `begin`, then for each turn before + content + after, then `opening`."""

    begin: str
    around: dict[str, tuple[str, str]]
    opening: str

    def render(self, turns: Turns) -> str:
        """The chat with the answer's opening, by this form."""
        wrapped = [(self.around[turn["role"]], turn["content"]) for turn in turns]
        return self.begin + "".join(before + text + after for (before, after), text in wrapped) + self.opening


def recognise(render: Render, bos: str = "") -> Wrapping | None:
    """The template's simple form, or None where it has none and only Jinja can render it."""
    user, answer = {"role": "user", "content": _MARK}, {"role": "assistant", "content": _MARK}
    try:
        first, user_to_answer, answer_to_user, after_user = render([user, answer, user], False).split(_MARK)
        opened = render([user], True).split(_MARK)[-1]
    except (FormatError, ValueError):
        return None
    begin = bos if bos and first.startswith(bos) else ""
    before_user = first.removeprefix(begin)
    fits = user_to_answer.startswith(after_user) and opened.startswith(after_user)
    if not (fits and answer_to_user.endswith(before_user)):
        return None
    around = {
        "user": (before_user, after_user),
        "assistant": (user_to_answer.removeprefix(after_user), answer_to_user.removesuffix(before_user)),
    }
    around |= _system_around(render, begin, before_user)
    found = Wrapping(begin, around, opened.removeprefix(after_user))
    return found if _agrees(found, render) else None


def _system_around(render: Render, begin: str, before_user: str) -> dict[str, tuple[str, str]]:
    """What stands around a system turn; nothing where the template refuses one."""
    try:
        turns = [{"role": "system", "content": _MARK}, {"role": "user", "content": _MARK}]
        first, between, _ = render(turns, False).split(_MARK)
    except (FormatError, ValueError):
        return {}
    return {"system": (first.removeprefix(begin), between.removesuffix(before_user))}


def _agrees(found: Wrapping, render: Render) -> bool:
    for chat in CHATS:
        if all(turn["role"] in found.around for turn in chat):
            try:
                if render(chat, True) != found.render(chat):
                    return False
            except FormatError:
                return False
    return True


def ollama_template(found: Wrapping, *, with_begin: bool) -> str:
    """The form as a Go template over `.Messages`, the answer's opening after the last turn of the person."""
    roles = "".join(
        f'{"{{ if" if n == 0 else "{{ else if"} eq .Role "{role}" }}}}{_go(before)}{{{{ .Content }}}}{_go(after)}'
        for n, (role, (before, after)) in enumerate(found.around.items())
    )
    last = '{{ if and (eq (len (slice $.Messages $i)) 1) (ne .Role "assistant") }}' + _go(found.opening) + "{{ end }}"
    begin = _go(found.begin) if with_begin else ""
    return begin + "{{ range $i, $_ := .Messages }}" + roles + "{{ end }}" + last + "{{ end }}"


def _go(text: str) -> str:
    """Literal text inside a Go template: braces that would open an action are written as a string."""
    return text.replace("{{", '{{ "{{" }}')


def write(
    file_name: str,
    found: Wrapping | None,
    *,
    stops: Sequence[str],
    context: int,
    adds_bos: bool,
    title: str,
    others: Sequence[str] = (),
) -> str:
    """The text of a Modelfile for `file_name` beside it."""
    lines = [f"# {title}, made by the finetune workbench.", f"# Use it:  ollama create {title} -f Modelfile"]
    lines += [f"# The same model, other precision: FROM ./{other}" for other in others]
    lines.append(f"FROM ./{file_name}")
    template = ollama_template(found, with_begin=not adds_bos) if found else "{{ .Prompt }}"
    if found is None or '"""' in template:
        lines.append("# Ollama cannot express this model's chat template; it gets the bare prompt. The GGUF holds the")
        lines.append("# template itself, which llama.cpp runs:  llama-server --jinja -m FILE")
        template = "{{ .Prompt }}"
    lines.append(f'TEMPLATE """{template}"""')
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in dict.fromkeys(stops) if stop]
    lines.append(f"PARAMETER num_ctx {min(context, MOST_CONTEXT)}")
    return "\n".join(lines) + "\n"


def stops(found: Wrapping | None, end_tokens: Sequence[str]) -> list[str]:
    """Everything that ends an answer: end tokens, what follows an answer, what opens the person's next turn."""
    texts = list(end_tokens)
    if found is not None:
        texts += [found.around["assistant"][1].strip(), found.around["user"][0].strip()]
    return [text for text in dict.fromkeys(texts) if text]
