"""The Modelfile of a job: the chat template's form found, the text written, and rendered beside the template itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.errors import ExportError
from workbench.events import Verified
from workbench.exports import go_template, modelfile
from workbench.exports.gguf import family
from workbench.exports.modelfile import CHATS, Wrapping

if TYPE_CHECKING:
    from workbench.exports.task import Task

NAME = "Modelfile"
PREFERRED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
"""The Modelfile names the first of these that there is, else the first file."""


def shape_of(job: Task, *, required: bool) -> Wrapping | None:
    """The chat template's simple form; None, told as a warning, where Ollama cannot express it.

    An ExportError instead where it is `required`.
    """
    tokens = job.tokens
    found = modelfile.recognise(lambda turns, ask: tokens.render(turns, ask=ask), tokens.special.get("bos_token", ""))
    if found is None and required:
        raise ExportError(
            "Ollama cannot express this model's chat template: what it puts around a turn depends on more than who "
            "speaks.",
            "Export it as gguf: llama.cpp and LM Studio use the template inside the file.",
        )
    if found is None:
        job.context.note(
            "Ollama cannot express this model's chat template; its Modelfile passes the bare prompt. llama.cpp and "
            "LM Studio use the template inside the GGUF.",
            "warning",
        )
    return found


def deliver(job: Task, found: Wrapping | None, names: Sequence[str]) -> None:
    """Writes the Modelfile for the best of those files that are there, once its template renders as it should."""
    there = [name for name in names if (job.delivery.root / name).is_file()]
    best = next((name for kind in PREFERRED for name in there if kind in name), there[0])
    tokens = job.tokens
    text = modelfile.write(
        best,
        found,
        stops=modelfile.stops(found, [tokens.tokenizer.id_to_token(number) for number in tokens.end_ids]),
        context=family.context(job.merged.config),
        adds_bos=tokens.adds_bos,
        title=job.source.title,
        others=[name for name in there if name != best],
    )
    if found is not None:
        _check(job, found)
    job.delivery.write_text(NAME, text)


def _check(job: Task, found: Wrapping) -> None:
    """The Go template rendered beside the chat template; an ExportError where they part."""
    tokens = job.tokens
    template = modelfile.ollama_template(found, with_begin=True)
    chats = [chat for chat in CHATS if all(turn["role"] in found.around for turn in chat)]
    wrong = [chat for chat in chats if go_template.render(template, chat) != tokens.render(chat, ask=True)]
    figures: dict[str, float | None] = {"texts": len(chats), "different": len(wrong)}
    job.context.emit(Verified(target=NAME, check="chat template", passed=not wrong, figures=figures))
    if wrong:
        raise ExportError(
            f"The Modelfile's template renders {len(wrong)} of {len(chats)} chats otherwise than the model's own.",
            "Report it with the model's chat_template.jinja; the GGUF files are whole and can be used.",
        )
