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
    """A template of the simple kind: `begin`, then for each turn before + content + after, then `opening`.

    Two things may differ with a system turn: a text that stands in its place where there is none, and a system turn
    that is put into one of the person's turns.
    """

    begin: str
    around: dict[str, tuple[str, str]]
    opening: str
    without_system: str = ""
    """What follows `begin` where the chat has no system turn."""
    folded: str = ""
    """The person's turn that takes the system turn in: "first", "last", or "" where it stands by itself."""

    def render(self, turns: Turns) -> str:
        """The chat with the answer's opening, by this form."""
        has_system = turns[0]["role"] == "system"
        asked = [place for place, turn in enumerate(turns) if turn["role"] == "user"]
        takes = {"first": asked[0], "last": asked[-1]}.get(self.folded, -1) if has_system else -1
        text = self.begin + ("" if has_system else self.without_system)
        for place, turn in enumerate(turns):
            if turn["role"] == "system" and self.folded:
                continue
            before, after = self.around[turn["role"]]
            system = turns[0]["content"].join(self.around["system"]) if place == takes else ""
            text += before + system + turn["content"] + after
        return text + self.opening


def recognise(render: Render, bos: str = "") -> Wrapping | None:
    """The template's simple form, or None where it has none and only Jinja can render it."""
    plain = _without_system(render, bos)
    forms = _with_system(plain, render) if plain is not None else []
    return next((found for found in forms if _agrees(found, render)), None)


def _without_system(render: Render, bos: str) -> Wrapping | None:
    """The form, as far as chats of persons and answers show it."""
    user, answer = {"role": "user", "content": _MARK}, {"role": "assistant", "content": _MARK}
    try:
        first, user_to_answer, answer_to_user, tail = render([user, answer, user], True).split(_MARK)
        closed = render([user, answer, user], False).split(_MARK)[-1]
    except (FormatError, ValueError):
        return None
    begin = bos if bos and first.startswith(bos) else ""
    lead = first.removeprefix(begin)
    before_user = _common_end(lead, answer_to_user)
    after_user = closed if closed and user_to_answer.startswith(closed) and tail.startswith(closed) else ""
    if after_user and before_user.startswith(after_user):  # a default system turn ends as an answer does
        before_user = before_user.removeprefix(after_user)
    around = {
        "user": (before_user, after_user),
        "assistant": (
            user_to_answer.removeprefix(after_user),
            answer_to_user[: len(answer_to_user) - len(before_user)],
        ),
    }
    return Wrapping(begin, around, tail.removeprefix(after_user), lead[: len(lead) - len(before_user)])


def _common_end(one: str, two: str) -> str:
    same = 0
    while same < min(len(one), len(two)) and one[-1 - same] == two[-1 - same]:
        same += 1
    return one[len(one) - same :]


def _with_system(plain: Wrapping, render: Render) -> list[Wrapping]:
    """The forms that a system turn may have: a turn of its own, or part of the person's first or last turn; none where
    the template refuses it."""
    try:
        turns = [{"role": "system", "content": _MARK}, {"role": "user", "content": _MARK}]
        first, between, _ = render(turns, True).split(_MARK)
    except (FormatError, ValueError):
        return [plain]
    lead = first.removeprefix(plain.begin)
    before = plain.around["user"][0]
    found = []
    if between.endswith(before):
        found.append(("", (lead, between[: len(between) - len(before)])))
    inside = lead.removeprefix(plain.without_system) if plain.without_system else lead
    if inside.startswith(before):
        found += [(folded, (inside.removeprefix(before), between)) for folded in ("first", "last")]
    return [
        Wrapping(plain.begin, {**plain.around, "system": system}, plain.opening, plain.without_system, folded)
        for folded, system in found
    ]


def _agrees(found: Wrapping, render: Render) -> bool:
    """Whether the form renders every chat as the template does; one with system turns has to render those too."""
    for chat in CHATS:
        if all(turn["role"] in found.around for turn in chat):
            try:
                if render(chat, True) != found.render(chat):
                    return False
            except FormatError:
                return False
    return True


_HAS_SYSTEM = '(eq (index $.Messages 0).Role "system")'


def ollama_template(found: Wrapping, *, with_begin: bool) -> str:
    """The form as a Go template over `.Messages`, the answer's opening after the last turn of the person."""
    roles = "".join(
        f'{"{{ if" if n == 0 else "{{ else if"} eq .Role "{role}" }}}}{_turn(found, role)}'
        for n, role in enumerate(role for role in found.around if role != "system" or not found.folded)
    )
    last = '{{ if and (eq (len (slice $.Messages $i)) 1) (ne .Role "assistant") }}' + _go(found.opening) + "{{ end }}"
    begin = _go(found.begin) if with_begin else ""
    if found.without_system:
        begin += f"{{{{ if not {_HAS_SYSTEM} }}}}{_go(found.without_system)}{{{{ end }}}}"
    return begin + "{{ range $i, $_ := .Messages }}" + roles + "{{ end }}" + last + "{{ end }}"


def _turn(found: Wrapping, role: str) -> str:
    """One role's turn in Go."""
    before, after = found.around[role]
    taken = ""
    if role == "user" and found.folded:
        place = "(eq $i 1)" if found.folded == "first" else "(eq (len (slice $.Messages $i)) 1)"
        system = "{{ (index $.Messages 0).Content }}".join(map(_go, found.around["system"]))
        taken = f"{{{{ if and {place} {_HAS_SYSTEM} }}}}{system}{{{{ end }}}}"
    return f"{_go(before)}{taken}{{{{ .Content }}}}{_go(after)}"


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
