"""What a GGUF file says of one particular model: its name and lineage, and its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.exports import card
from workbench.exports.gguf import token_files
from workbench.exports.gguf.metadata import Description, TokenFacts

if TYPE_CHECKING:
    from workbench.exports.source import Source
    from workbench.tokens import ChatTokens


def description(source: Source) -> Description:
    """What the file says of the model."""
    trained = source.job
    return Description(
        name=source.title,
        base=card.base_name(source),
        licence=source.licence,
        lineage=[*trained.lineage, trained.run] if trained else [],
        method=trained.action if trained else "",
        sampling=token_files.sampling(_places(source)),
    )


def tokens(source: Source, chat: ChatTokens, tokenizer: Mapping[str, Any]) -> TokenFacts:
    """What it says of the tokens."""
    return token_files.read(chat, tokenizer, _places(source))


def _places(source: Source) -> list[Path]:
    """Where the model's files are, those that the run was tuned with first."""
    return [source.tokenizer, source.model]
