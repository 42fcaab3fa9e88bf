"""A person's keys in place of ours: `[keys]` of their config.toml, by the ids that bindings carry.

Textual's own keymap takes a key away from every binding that shares it. Ours share many: on Rank `1` is the left
answer of two, the first of six, and nothing once all is ranked, and which of them is live is decided at each press. So
a chosen key comes before what it does anyway, and takes nothing away.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from textual.binding import Binding, BindingsMap
from textual.dom import DOMNode
from textual.keys import KEY_TO_UNICODE_NAME, Keys, _character_to_key

Chosen = Mapping[str, tuple[str, ...]]
"""Keys by the id of their binding."""

MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "meta", "hyper"})
NAMES = (
    frozenset(key.value for key in Keys)
    | frozenset(KEY_TO_UNICODE_NAME)
    | {"space", "slash", "comma", "colon", "semicolon", "minus", "underscore", "plus", "apostrophe", "tilde"}
)
"""Names of keys that are more than one letter."""


def key_named(text: str) -> str | None:
    """Textual's name of a key as a person writes it (`h`, `?`, `ctrl+n`, `space`); None where there is none such."""
    *modifiers, key = ["+"] if text == "+" else text.split("+")
    if not key or not MODIFIERS.issuperset(modifiers):
        return None
    if len(key) == 1:
        return "+".join([*modifiers, _character_to_key(key)]) if key.isprintable() else None
    return text if key in NAMES or text in NAMES or _is_letter(key) else None


def _is_letter(name: str) -> bool:
    """Whether it is the Unicode name of a letter or sign, as Textual spells it: `section_sign`."""
    try:
        return bool(unicodedata.lookup(name.replace("_", " ")))
    except KeyError:
        return False


def understood(keys: Chosen) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The keys that can be used, under Textual's names, and a sentence about each that cannot."""
    found: dict[str, tuple[str, ...]] = {}
    wrong: list[str] = []
    for name, texts in keys.items():
        named = [(text, key_named(text)) for text in texts]
        wrong += [f"{name} = {text!r}: there is no such key{_near(text, NAMES)}." for text, key in named if key is None]
        if good := tuple(key for _, key in named if key is not None):
            found[name] = good
    return found, wrong


def unknown(keys: Iterable[str], known: Iterable[str]) -> list[str]:
    """A sentence about each id that no binding has, with the nearest that there is."""
    ids = set(known)
    return [f"{name}: nothing has that name{_near(name, ids)}." for name in keys if name not in ids]


def _near(text: str, names: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(text.lower(), sorted(names), n=1)
    return f"; the nearest is {near[0]}" if near else ""


def rebind(bindings: BindingsMap, chosen: Chosen) -> None:
    """Gives the chosen keys to the bindings that a widget, a screen or the app has. The order of the rest stays."""
    if not any(binding.id in chosen for _, binding in bindings):
        return
    first: dict[str, list[Binding]] = {}
    rest: dict[str, list[Binding]] = {}
    order: dict[str, None] = {}
    done: set[str | None] = set()
    for key, binding in bindings:
        if binding.id not in chosen:
            order[key] = None
            rest.setdefault(key, []).append(binding)
        elif binding.id not in done:
            done.add(binding.id)
            for new in chosen[binding.id or ""]:
                order[new] = None
                first.setdefault(new, []).append(binding.with_key(new))
    bindings.key_to_bindings = {key: [*first.get(key, []), *rest.get(key, [])] for key in order}


def known_ids() -> set[str]:
    """Ids of all bindings there are. Imports every screen and widget, so it takes a while."""
    import importlib
    import pkgutil

    import screens

    for module in pkgutil.walk_packages(screens.__path__, "screens."):
        importlib.import_module(module.name)
    found: set[str] = set()
    waiting: list[type[DOMNode]] = [DOMNode]
    while waiting:
        node = waiting.pop()
        waiting += node.__subclasses__()
        if node.__module__.startswith("screens"):
            found |= {binding.id for binding in node.BINDINGS if isinstance(binding, Binding) and binding.id}
    return found
