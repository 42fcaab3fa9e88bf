"""What an export was found to be, as a table: every part in a row, each figure beside the mark that it had to reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.output import Output

if TYPE_CHECKING:
    from workbench.events import Metrics
    from workbench.live import Live


def show_checks(live: Live, output: Output) -> None:
    """Every part that was written in a row: each figure beside the mark that it had to reach, and where it lies."""
    from workbench.exports.verify import toss_ups
    from workbench.hardware import human_bytes

    checks = {(v.target, v.check): v for v in live.verified}
    rows = []
    for part in live.exported:
        mine = {check: found for (target, check), found in checks.items() if target == part.target}
        passed = all(found.passed for found in mine.values())
        answers, stops = (dict(mine[name].figures) if name in mine else {} for name in ("answers", "stops"))
        ties = toss_ups(answers)
        agree = "{:.2%}" + (f"{ties} toss-ups" if ties else "") + " ≥ {:.1%}"
        texts = [found.figures for found in mine.values() if "different" in found.figures]
        same = [int(sum(row[name] or 0 for row in texts)) for name in ("texts", "different")]
        rows.append(
            (
                part.target,
                human_bytes(part.size_bytes),
                "✓ verified" if passed else "✗ failed",
                _with_mark(answers, "greedy_agreement", "mark_agreement", agree),
                _with_mark(answers, "mean_kl", "mark_kl", "{:.1e} ≤ {:g}"),
                _with_mark(stops, "share", "mark_share", "{:.0%} ≥ {:.0%}"),
                f"{same[0] - same[1]} of {same[0]}" if texts else "",
                part.path,
            )
        )
    output.table(("part", "size", "check", "same tokens", "KL", "stops", "texts and chats", "file"), rows)


def _with_mark(figures: Metrics, name: str, mark: str, words: str) -> str:
    """A figure and its mark; the figure alone where there is none."""
    value, least = figures.get(name), figures.get(mark)
    if value is None:
        return ""
    return words.format(value, least) if least is not None else words.partition(" ")[0].format(value)
