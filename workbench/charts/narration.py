"""What a run's curves say, in a sentence each: the verdicts that an experienced eye would read off the charts.

Pure: a fold of events in, sentences out, the most urgent first. Every sentence names the figures it rests on, and a
warning what to do. It stays silent where there are too few steps to say anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log

import numpy as np

from workbench.charts import reinforcement
from workbench.charts.verdict import (
    LEAST_STEPS,
    SURELY,
    Level,
    Verdict,
    end_size,
    finite_values,
    latest,
    standard_error,
    start_and_now,
)
from workbench.live import Live
from workbench.series import Series

LN2 = log(2)
SETTLED_STEPS, SETTLED_SHARE = 50, 0.2
"""After so many steps, or so much of the plan, a loss above its start is more than a beginning."""
AT_LN2 = 0.01
"""So near ln 2 the model and its reference still say the same."""
HARDLY = 0.02
"""A loss that has fallen by less than this share has hardly moved."""
RISES = 0.02
"""Held-out loss this share above its best is a rise and not noise."""
OVERFITS = 0.1
"""A rise by this share costs answers. Below it they often still get better: the loss also counts how sure one is."""
SPIKE = 10.0
"""A gradient so many times the usual is a spike."""
SURE_ACCURACY, SURE_LOSS = 0.98, 0.05
"""Beyond both DPO has separated every pair, and further steps only widen the gap."""
FALLS_NATS = 2.0
"""The chosen answers' log-probability must fall by so many nats to be worth a word."""


PARTED = 0.02
"""Rewards of KTO (beta times nats) this near each other are not told apart."""
FALLS_A_TOKEN = 0.5
"""Nats a token by which chosen answers may become less likely before it is worth a word."""


def verdicts(live: Live, action: str) -> list[Verdict]:
    """What the curves say now, warnings first."""
    found = [*_general(live), *OWN.get(action, _loss)(live)]
    order: tuple[Level, ...] = ("warning", "good", "info")
    return sorted(found, key=lambda verdict: order.index(verdict.level))


def _general(live: Live) -> Iterator[Verdict]:
    loss = live.metrics.get("loss", Series())
    if len(loss) and not np.isfinite(loss.y[-1]):
        since = _since_not_finite(loss)
        yield Verdict(
            f"The loss is not a number since step {since:,}: the run has diverged. Start again with a lower "
            "learning rate.",
            "warning",
        )
        return
    held_out = live.evaluations.get("loss", Series())
    if len(held_out) >= 3 and (rise := _rise(held_out)) is not None:
        step, best, last = rise
        if last > best * (1 + OVERFITS):
            yield Verdict(
                f"Held-out loss rises ({best:.3f} → {last:.3f}) since step {step:,}: overfitting. "
                f"The model of step {step:,} was better; use fewer epochs.",
                "warning",
            )
        else:
            yield Verdict(
                f"Held-out loss was lowest at step {step:,} ({best:.3f}, now {last:.3f}): more epochs would not help.",
                "info",
            )
    yield from _gradients(live.metrics.get("grad_norm", Series()))


def _since_not_finite(series: Series) -> int:
    """The first step of the stretch of values at the end that are not finite."""
    finite = np.flatnonzero(np.isfinite(series.y))
    return int(series.x[finite[-1] + 1]) if finite.size else int(series.x[0])


def _rise(held_out: Series) -> tuple[int, float, float] | None:
    """(step of the best, best, last) of a held-out loss whose last value is clearly above its best."""
    seen = np.isfinite(held_out.y)
    if seen.sum() < 3:
        return None
    x, y = held_out.x[seen], held_out.y[seen]
    best = int(np.argmin(y))
    rises = best < len(y) - 1 and y[-1] > y[best] * (1 + RISES) and y[-1] >= y[-2]
    return (int(x[best]), float(y[best]), float(y[-1])) if rises else None


def _gradients(norm: Series) -> Iterator[Verdict]:
    values = finite_values(norm)
    if values.size < LEAST_STEPS:
        return
    usual = float(np.median(values))
    if usual > 0 and values[-5:].max() > SPIKE * usual:
        yield Verdict(
            f"The gradient spikes: {values[-5:].max():.3g}, usually {usual:.3g}. If the loss follows, lower the rate.",
            "warning",
        )


def _loss(live: Live) -> Iterator[Verdict]:
    """Training that lowers a loss from wherever it starts."""
    ends = start_and_now(live.metrics.get("loss", Series()))
    if ends is None:
        return
    start, now = ends
    if now > start * (1 + HARDLY):
        if _settled(live) and now - start > SURELY * standard_error(live.metrics["loss"]):
            yield Verdict(f"Training loss rises: {start:.3f} → {now:.3f}. The learning rate is too high.", "warning")
    elif now > start * (1 - HARDLY):
        yield Verdict(f"Training loss has hardly moved ({start:.3f} → {now:.3f}): not learning yet.", "info")
    else:
        yield Verdict(f"Learning: training loss {start:.3f} → {now:.3f}.", "good")


def _settled(live: Live) -> bool:
    """Whether enough was trained to blame the rate: warm-up over, and enough steps for the plan's length."""
    steps = len(live.metrics["loss"])
    enough = min(SETTLED_STEPS, live.total_steps * SETTLED_SHARE) if live.total_steps else SETTLED_STEPS
    rates = finite_values(live.metrics.get("learning_rate", Series()))
    warm = not rates.size or int(np.argmax(rates)) < rates.size - end_size(rates.size)
    return warm and steps >= enough


def _dpo(live: Live) -> Iterator[Verdict]:
    """DPO starts at ln 2 (model and reference agree) and learns by widening the margin of the chosen answers.

    Its other losses start elsewhere; the measurement before the first step says where.
    """
    loss = latest(live.metrics.get("loss", Series()))
    margin = latest(live.metrics.get("reward_margin", Series()))
    accuracy = latest(live.metrics.get("reward_accuracy", Series()))
    if loss is None:
        return
    start = _measured_first(live)
    begun = "ln 2" if start is None or abs(start - LN2) < AT_LN2 else f"its start, {start:.3f}"
    start = LN2 if begun == "ln 2" or start is None else start
    if abs(loss - start) < AT_LN2 * max(1.0, start):
        yield Verdict(
            f"DPO is at {begun} ({loss:.3f}): the model still says what its reference says, not learning yet.", "info"
        )
    elif loss > start:
        yield Verdict(
            f"DPO's loss ({loss:.3f}) is above {begun}: it prefers the rejected answers more than its reference did. "
            "Lower the learning rate, and check the pairs.",
            "warning",
        )
    elif accuracy is not None and accuracy >= SURE_ACCURACY and loss < SURE_LOSS:
        yield Verdict(
            f"Every pair is told apart (accuracy {accuracy:.0%}, loss {loss:.3f}): more steps only overfit.", "info"
        )
    elif accuracy is not None and margin is not None:
        yield Verdict(f"Learning: prefers the chosen answer in {accuracy:.0%} of pairs, margin {margin:.2f}.", "good")
    yield from _chosen(live)


def _measured_first(live: Live) -> float | None:
    """The held-out loss before the first step; None where it was not measured."""
    held_out = live.evaluations.get("loss", Series())
    known = len(held_out) > 0 and held_out.x[0] == 0 and bool(np.isfinite(held_out.y[0]))
    return float(held_out.y[0]) if known else None


def _chosen(live: Live) -> Iterator[Verdict]:
    ends = start_and_now(live.metrics.get("chosen_logp", Series()))
    if ends is not None and ends[0] - ends[1] > FALLS_NATS:
        yield Verdict(
            f"Chosen log-probability is falling ({ends[0]:.1f} → {ends[1]:.1f}): both answers become less likely. "
            "A higher beta or fewer steps keeps the model nearer to its start, and an anchor of 0.2 holds them up.",
            "warning",
        )


def _kto(live: Live) -> Iterator[Verdict]:
    """KTO starts with good and bad answers alike and learns by parting them."""
    good = latest(live.metrics.get("chosen_reward", Series()))
    bad = latest(live.metrics.get("rejected_reward", Series()))
    if good is None or bad is None:
        return
    if abs(good - bad) < PARTED:
        yield Verdict(
            f"Good and bad answers are as likely as at the start (rewards {good:.2f} and {bad:.2f}): not learning yet.",
            "info",
        )
    elif good < bad:
        yield Verdict(
            f"Bad answers gain on good ones (rewards {bad:.2f} and {good:.2f}). Lower the learning rate, and check "
            "the votes.",
            "warning",
        )
    else:
        yield Verdict(f"Learning: good answers are ahead of bad ones by {good - bad:.2f}.", "good")
    if good < -PARTED and good > bad:
        yield Verdict(
            f"Good answers become less likely too (reward {good:.2f}): it learns by forgetting. A higher beta or a "
            "lower rate keeps the model nearer to its start.",
            "warning",
        )


def _without_reference(live: Live) -> Iterator[Verdict]:
    """SimPO and ORPO: told apart or not, and what nothing holds back. Log-probabilities are means over tokens."""
    accuracy = latest(live.metrics.get("reward_accuracy", Series()))
    if accuracy is not None:
        level: Level = "good" if accuracy > 0.5 else "info"
        yield Verdict(f"The chosen answer is the likelier one in {accuracy:.0%} of pairs.", level)
    ends = start_and_now(live.metrics.get("chosen_logp", Series()))
    if ends is not None and ends[0] - ends[1] > FALLS_A_TOKEN:
        yield Verdict(
            f"Chosen answers become less likely ({ends[0]:.2f} → {ends[1]:.2f} nats a token), and no reference holds "
            "the model back. Read the samples; lower the rate, or set an anchor.",
            "warning",
        )


OWN: dict[str, Callable[[Live], Iterator[Verdict]]] = {
    "dpo": _dpo,
    "kto": _kto,
    "orpo": _without_reference,
    "simpo": _without_reference,
    "rloo": reinforcement.groups,
    "grpo": reinforcement.groups,
    "ppo": reinforcement.ppo,
}
"""What a method's own curves say; the others lower a loss."""
