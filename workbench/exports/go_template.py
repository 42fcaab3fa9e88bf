"""Renders the part of Go's text/template that our Modelfiles use, to check them without Ollama.

It knows text, `{{ range $i, $_ := .Messages }}`, `if`, `else if`, `else`, `end`, fields, variables, strings, numbers
and the functions eq, ne, and, or, not, len, slice and index, as Go's documentation of text/template defines them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.errors import FormatError

Turn = Mapping[str, str]
_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|\$?\.?[\w.$]+|\S')
_RANGE = re.compile(r"range \$i, \$_ := \.Messages")

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda one, two: one == two,
    "ne": lambda one, two: one != two,
    "and": lambda *values: all(values),
    "or": lambda *values: any(values),
    "not": lambda value: not value,
    "len": len,
    "slice": lambda values, start: values[start:],
    "index": lambda values, place: values[place],
}


def render(template: str, messages: Sequence[Turn]) -> str:
    """The template's text for a chat; a FormatError for what it does not know."""
    pieces = re.split(r"(\{\{.*?\}\})", template, flags=re.DOTALL)
    turns = [{"Role": turn["role"], "Content": turn["content"]} for turn in messages]
    tree, rest = _parse([piece for piece in pieces if piece], 0)
    if rest != len([piece for piece in pieces if piece]):
        raise FormatError("The Modelfile's template has an end too many.")
    return _run(tree, {"Messages": turns}, {"$": {"Messages": turns}})


Node = tuple[str, Any]


def _parse(pieces: list[str], at: int) -> tuple[list[Node], int]:
    """The nodes from piece `at` to the next end or else, and where that is."""
    nodes: list[Node] = []
    while at < len(pieces):
        piece = pieces[at]
        if not piece.startswith("{{"):
            nodes.append(("text", piece))
            at += 1
            continue
        action = piece[2:-2].strip()
        if action == "end" or action.startswith("else"):
            return nodes, at
        if action.startswith(("if ", "range ")):
            node, at = _block(action, pieces, at)
            nodes.append(node)
        else:
            nodes.append(("value", action))
            at += 1
    return nodes, at


def _block(action: str, pieces: list[str], at: int) -> tuple[Node, int]:
    """An if with all its branches, or a range, and the place after its end."""
    if action.startswith("range "):
        if not _RANGE.fullmatch(action):
            raise FormatError(f"The Modelfile's template ranges over something else: {action}")
        body, end = _parse(pieces, at + 1)
        return ("range", body), end + 1
    branches: list[tuple[str, list[Node]]] = []
    condition = action.removeprefix("if ")
    while True:
        body, at = _parse(pieces, at + 1)
        branches.append((condition, body))
        if at >= len(pieces):
            raise FormatError("The Modelfile's template lacks an end.")
        following = pieces[at][2:-2].strip()
        if following == "end":
            return ("if", branches), at + 1
        condition = following.removeprefix("else").strip().removeprefix("if ") or "true"


def _run(nodes: list[Node], dot: Any, variables: dict[str, Any]) -> str:
    text = ""
    for kind, content in nodes:
        if kind == "text":
            text += content
        elif kind == "value":
            text += str(_value(_WORDS.findall(content), dot, variables))
        elif kind == "range":
            for place, turn in enumerate(dot["Messages"]):
                text += _run(content, turn, {**variables, "$i": place, "$_": turn})
        else:
            for condition, body in content:
                if condition == "true" or _value(_WORDS.findall(condition), dot, variables):
                    text += _run(body, dot, variables)
                    break
    return text


def _value(words: list[str], dot: Any, variables: dict[str, Any]) -> Any:
    """What an expression comes to: a function with its arguments, or a single term."""
    terms: list[Any] = []
    function = FUNCTIONS.get(words[0]) if words else None
    at = 1 if function else 0
    while at < len(words):
        if words[at] == "(":
            depth, end = 1, at + 1
            while depth:
                depth += {"(": 1, ")": -1}.get(words[end], 0)
                end += 1
            term = _value(words[at + 1 : end - 1], dot, variables)
            at = end
            while at < len(words) and words[at].startswith("."):
                term, at = _field(term, words[at]), at + 1
        else:
            term, at = _term(words[at], dot, variables), at + 1
        terms.append(term)
    if function is None and len(terms) != 1:
        raise FormatError(f"The Modelfile's template holds an expression that is not known: {' '.join(words)}")
    return function(*terms) if function else terms[0]


def _term(word: str, dot: Any, variables: dict[str, Any]) -> Any:
    if word.startswith('"'):
        return word[1:-1].replace('\\"', '"')
    if word.isdecimal():
        return int(word)
    name, _, path = word.partition(".")
    if name and name not in variables:
        raise FormatError(f"The Modelfile's template uses {word}, which is not known.")
    return _field(variables[name] if name else dot, f".{path}" if path else "")


def _field(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = value[name]
    return value
