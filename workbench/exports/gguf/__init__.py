"""The GGUF export: one file for llama.cpp and Ollama, written straight from base and adapter, quantised, verified.

No merged copy is needed on the way: tensors are merged as they are written. Quantised types are made by llama.cpp
itself from an f16 (or another exact) file, which is deleted again unless it was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.events import Metrics
from workbench.exports import COMMON, Export
from workbench.exports.plan import BITS
from workbench.fields import Field

if TYPE_CHECKING:
    from workbench.worker.context import RunContext

QUANTS = Field(
    "quants",
    "Q8_0",
    "Types",
    "Which files to make, separated by commas. f16: exact, largest. Q8_0: half of it, no difference to hear. Q6_K, "
    f"Q5_K_M, Q4_K_M: smaller still, each a little worse. There are: {', '.join(BITS)}.",
    group="export",
)

EXPORT = Export(
    name="gguf",
    label="GGUF",
    summary="One file for llama.cpp, Ollama and LM Studio, with a Modelfile; quantised to a fraction of the size.",
    fields=(QUANTS, *COMMON),
)


def export(context: RunContext) -> Metrics:
    """Writes, verifies and publishes the GGUF files of the job, and returns their figures."""
    from workbench.exports import making

    return making.export(context)
