"""A chat template on its way into an export: its fingerprint, and the form that programs without transformers read."""

from __future__ import annotations

import hashlib
import re

_GENERATION = re.compile(r"(\{%[-+]?\s*)(generation|endgeneration)(\s*[-+]?%\})")


def fingerprint(template: str) -> str:
    """SHA-256 of the template as it was trained with; "" for none."""
    return hashlib.sha256(template.encode()).hexdigest() if template else ""


def for_inference(template: str) -> str:
    """The template without `{% generation %}`, which marks the trained part and which other programs do not know.

    It becomes `{% if true %}`, so the whitespace control of the tags keeps its meaning.
    """
    words = {"generation": "if true", "endgeneration": "endif"}
    return _GENERATION.sub(lambda match: match[1] + words[match[2]] + match[3], template)
