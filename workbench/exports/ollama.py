"""The Ollama export: GGUF files with a Modelfile whose template is proven to render every chat as the model's own does.

The same files as the GGUF export makes, which writes a Modelfile too; here a chat template that Ollama cannot express
is refused before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.events import Metrics
from workbench.exports import COMMON, Export
from workbench.exports.gguf import QUANTS

if TYPE_CHECKING:
    from workbench.worker.context import RunContext

EXPORT = Export(
    name="ollama",
    label="Ollama",
    summary="A GGUF and the Modelfile for `ollama create`, its chat template checked turn by turn.",
    fields=(QUANTS, *COMMON),
)


def export(context: RunContext) -> Metrics:
    """Writes, verifies and publishes the job's GGUF files and their Modelfile, and returns the figures."""
    from workbench.exports import making

    return making.export(context, for_ollama=True)
