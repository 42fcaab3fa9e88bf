"""OpenAI's comparisons of summaries: a post, several summaries of it, and which one a person chose."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.formats import BadRow, Layout, Parsed, Row
from workbench.formats.turns import optional_text, prompt_of, text_of
from workbench.records import NewPrompt

PARTS = (("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post"), ("ARTICLE: ", "article"))
"""What a summary is of, in the words and the order of TRL's own script; news have an article and no post."""


def fits(row: Row) -> bool:
    return isinstance(row.get("summaries"), list) and isinstance(row.get("info"), dict) and "choice" in row


def parse(row: Row) -> Parsed:
    summaries, info = row.get("summaries"), row.get("info")
    if not isinstance(summaries, list) or not isinstance(info, dict):
        raise BadRow("there are no 'summaries' of an 'info'")
    asked = list(_asked(info))
    if not asked:
        raise BadRow("'info' has neither a post nor an article")
    texts = [text_of(summary, "text").strip() for summary in summaries if isinstance(summary, dict)]
    chosen = row.get("choice")
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(texts):
        raise BadRow(f"'choice' is not the place of one of the {len(texts)} summaries")
    others = [text for text in texts if text != texts[chosen]]
    if not others:
        raise BadRow("the summaries are the same")
    prompt = NewPrompt(prompt_of("\n\n".join([*asked, "TL;DR:"])))
    return Parsed(preferences=tuple((prompt, texts[chosen], other) for other in others))


def _asked(info: Row) -> Iterator[str]:
    if not (optional_text(info, "post") or optional_text(info, "article")):
        return
    for word, key in PARTS:
        if text := optional_text(info, key):
            yield f"{word}{text}"


LAYOUT = Layout(
    name="summaries",
    label="summaries, one of them chosen (OpenAI)",
    keys="'info', 'summaries' and the 'choice' among them",
    precedence=25,
    fits=fits,
    parse=parse,
)
