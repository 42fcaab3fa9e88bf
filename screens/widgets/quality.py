"""The panel beside the answers on a wide screen: how the judging goes. It says nothing that numbers do not carry."""

from __future__ import annotations

from dataclasses import dataclass, field

from textual.content import Content
from textual.reactive import reactive

from screens.safe import one_line
from screens.widgets.text_pane import TextPane
from workbench.next_step import identical
from workbench.ranking.agreement import LEAST_REPEATS, LEAST_VOTES, Agreement, Bias, Standing

BAR_CELLS = 20


@dataclass(frozen=True)
class Quality:
    """What is known of the judging so far."""

    bias: Bias = field(default_factory=Bias)
    longer: Bias = field(default_factory=Bias)
    agreement: Agreement | None = None
    repeats: int = 0
    median_seconds: float | None = None
    skipped: int = 0
    same: int = 0
    sources: tuple[Standing, ...] = ()


class QualityPanel(TextPane):
    """Position bias, agreement with oneself, pace, and what the votes say of the sources."""

    quality: reactive[Quality] = reactive(Quality())

    def watch_quality(self, quality: Quality) -> None:
        parts = [_bias(quality.bias), *_length(quality.longer), _agreement(quality), _pace(quality)]
        if quality.sources:
            parts.append(_sources(quality.sources))
        self.show(Content("\n\n").join(parts), keep_place=True)


def _bias(bias: Bias) -> Content:
    head = Content.styled("position", "$quiet")
    if bias.votes < LEAST_VOTES:
        return Content.assemble(head, f"\n{bias.votes} of {LEAST_VOTES} votes until this says anything")
    words = f"left chosen {bias.share:.0%} of {bias.votes:,} (±{bias.margin:.0%})"
    verdict = (
        Content.styled("! more than chance: you favour a side", "bold $accent")
        if bias.flagged
        else Content.styled("within chance", "$quiet")
    )
    return Content.assemble(head, "\n", _scale(bias), f"\n{words}\n", verdict)


def _length(longer: Bias) -> list[Content]:
    """Whether longer answers win. They may deserve to, so it is only told."""
    if longer.votes < LEAST_VOTES:
        return []
    words = f"the longer one chosen {longer.share:.0%} of {longer.votes:,} (±{longer.margin:.0%})"
    which = "longer" if longer.share > 0.5 else "shorter"
    verdict = f"{which} answers win more than by chance" if longer.flagged else "within chance"
    told = Content.styled(verdict, "$foreground" if longer.flagged else "$quiet")
    return [Content.assemble(("length", "$quiet"), "\n", _scale(longer), f"\n{words}\n", told)]


def _scale(bias: Bias) -> Content:
    won = round(bias.share * BAR_CELLS)
    return Content.assemble(("█" * won, "$primary"), ("░" * (BAR_CELLS - won), "$rule"))


def _agreement(quality: Quality) -> Content:
    head = Content.styled("self-agreement", "$quiet")
    found = quality.agreement
    if found is None:
        return Content.assemble(head, f"\n{quality.repeats} of {LEAST_REPEATS} second looks until this says anything")
    word = "slight" if found.kappa < 0.4 else "fair" if found.kappa < 0.6 else "good" if found.kappa < 0.8 else "high"
    return Content.assemble(
        head,
        (f"\nκ {found.kappa:.2f}", "bold $strong"),
        f" ({found.low:.2f}–{found.high:.2f}, n={found.repeats})  {word}",
    )


def _pace(quality: Quality) -> Content:
    rows = []
    if quality.median_seconds is not None:
        rows.append(f"{quality.median_seconds:.1f} s a vote (median)")
    if quality.skipped:
        rows.append(f"{quality.skipped:,} skipped, for later")
    if quality.same:
        rows.append(identical(quality.same))
    return Content.assemble(("pace", "$quiet"), "\n", "\n".join(rows) or "no vote yet")


def _sources(sources: tuple[Standing, ...]) -> Content:
    rows = [Content.styled("sources, by your votes (log-odds)", "$quiet")]
    for standing in sources[:6]:
        name = one_line(standing.source, 18).ljust(19)
        rows.append(
            Content.assemble((name, "$strong"), f"{standing.strength:+.2f} ±{standing.margin:.2f}  n={standing.votes}")
        )
    return Content("\n").join(rows)
