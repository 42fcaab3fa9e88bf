"""`--set list`: every setting that a command takes, its value now, what it may be, and what it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from workbench.fields import Field, Value, defaults
from workbench.output import Output

LIST = "list"
"""What a person gives in place of key=value to see the keys."""


def asked_for(changes: Sequence[str] | None) -> bool:
    """Whether the person wants to see the settings, not to change one."""
    return LIST in (changes or ())


def show(fields: Iterable[Field], output: Output, values: Mapping[str, Value] | None = None) -> None:
    """A table of the settings. `values` are those of a preset; without them the defaults stand."""
    listed = list(fields)
    now = {**defaults(listed), **(values or {})}
    for field in listed:
        output.show(f"{field.name} = {_written(now[field.name])}   ({_allowed(field)})")
        output.show(f"    {field.help}")
    output.document(
        {
            "settings": [
                {
                    "name": field.name,
                    "value": now[field.name],
                    "default": field.default,
                    "low": field.low,
                    "high": field.high,
                    "choices": field.choices,
                    "help": field.help,
                }
                for field in listed
            ]
        }
    )


def _written(value: Value) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _allowed(field: Field) -> str:
    """What it may be, in words."""
    if field.choices:
        return ", ".join(field.choices)
    kind = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[type(field.default)]
    bounds = [f"{word} {bound:g}" for word, bound in (("from", field.low), ("to", field.high)) if bound is not None]
    zero = [f"0 is {field.zero}"] if field.zero else []
    return ", ".join([" ".join([kind, *bounds]), *zero])
