"""What the curves of methods that learn from a reward say: RLOO and GRPO (`groups`), and PPO (`ppo`). Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workbench.charts.verdict import (
    SURELY,
    Verdict,
    end_size,
    finite_values,
    latest,
    standard_error,
    start_and_now,
)
from workbench.live import Live
from workbench.series import Series

REWARD_MOVES = 0.1
"""A reward that has moved by less than this share of its spread has hardly moved."""
MOSTLY_EVEN, MOSTLY_STOPS = 0.7, 0.5
"""Shares of groups without a difference, and of answers that end by themselves, that are worth a word."""

LEAST_ROLLOUTS, LEAST_END = 10, 3
"""PPO's steps are few and large, each the mean over a rollout with all its passes: ten of them can be read."""
FAR_NATS = 8.0
"""KL an answer from which a rising reward is doubted: Stiennon et al. 2020 (figure 5) see people's liking fall while
the reward model's goes on rising, from some ten nats on."""
NEAR_NATS = 0.05
"""KL an answer within which the policy still says what its start says."""
KL_RISES = 1.2
"""KL that has grown by this factor since the middle of the run is still rising."""
LENGTH_MOVES = 0.5
"""Answers longer or shorter by this share have changed their shape, not their content."""
COLLAPSED = 0.2
"""Entropy at this share of its start: hardly anything new is tried."""
MUCH_CLIPPED = 0.3
"""Share of tokens clipped above which passes are mostly spent on tokens that no longer move."""
FORESEES_NOTHING = 0.0
"""An explained variance at or below this is a value no better than a constant."""
STOPS_FALL = 0.2
"""Fall in the share of answers that end by themselves that is worth a word."""
BETA_GROWS = 5.0
"""Growth of an adaptive beta that is a fight with the rate."""
HELD_OUT_FALLS = 0.1
"""Held-out reward this share of its whole gain below its best is a fall and not noise."""


def groups(live: Live) -> Iterator[Verdict]:
    """RLOO and GRPO: what answers are worth, and whether there is anything left to learn from a group."""
    ends = start_and_now(live.metrics.get("reward", Series()))
    if ends is None:
        return
    gained, spread = ends[1] - ends[0], latest(live.metrics.get("reward_std", Series())) or 0.0
    if abs(gained) <= REWARD_MOVES * spread:
        yield Verdict(f"The reward has hardly moved ({ends[0]:.2f} → {ends[1]:.2f}): not learning yet.", "info")
    elif gained < 0:
        yield Verdict(f"The reward falls: {ends[0]:.2f} → {ends[1]:.2f}. The learning rate is too high.", "warning")
    else:
        yield Verdict(f"Learning: reward {ends[0]:.2f} → {ends[1]:.2f}.", "good")
    even = latest(live.metrics.get("even_groups", Series()))
    if even is not None and even > MOSTLY_EVEN:
        yield Verdict(
            f"In {even:.0%} of the groups every answer is worth the same, so most steps teach nothing: harder prompts, "
            "a higher temperature or a finer reward would. Or it is done.",
            "info",
        )
    stopped = latest(live.metrics.get("stopped", Series()))
    if stopped is not None and stopped < MOSTLY_STOPS:
        yield Verdict(
            f"Only {stopped:.0%} of the answers end by themselves; the others are judged where they were cut. Raise "
            "max_tokens, or reward brevity.",
            "warning",
        )


def ppo(live: Live) -> Iterator[Verdict]:
    """PPO: a reward that rises is good news only while KL, length, entropy and the held-out reward agree."""
    reward = _ends(live, "reward")
    kl = _ends(live, "kl")
    if reward is None or kl is None:
        return
    moved = reward[1] - reward[0]
    sure = SURELY * standard_error(live.metrics["reward"], LEAST_END)
    hacked = list(_hacking(live, rising=moved > sure))
    yield from hacked
    if moved < -sure:
        yield Verdict(
            f"The reward falls: {reward[0]:.2f} → {reward[1]:.2f} at KL {kl[1]:.1f}. Lower the learning rate.",
            "warning",
        )
    elif moved <= sure:
        yield from _not_learning(live, reward, kl)
    elif not hacked:
        yield Verdict(f"Learning: reward {reward[0]:.2f} → {reward[1]:.2f} at KL {kl[1]:.1f} nats an answer.", "good")
    yield from _narrowing(live)
    yield from _steps_too_far(live)
    yield from _value(live)


def _ends(live: Live, name: str) -> tuple[float, float] | None:
    return start_and_now(live.metrics.get(name, Series()), LEAST_ROLLOUTS, LEAST_END)


def _now(live: Live, name: str) -> float | None:
    return latest(live.metrics.get(name, Series()), LEAST_ROLLOUTS, LEAST_END)


def _kl_rising(live: Live) -> bool:
    """Whether the KL is clearly higher than it was half way."""
    values = finite_values(live.metrics["kl"])
    count = end_size(values.size, LEAST_END)
    middle = values[values.size // 2 - count // 2 :][:count].mean()
    return bool(values[-count:].mean() > KL_RISES * middle)


def _hacking(live: Live, *, rising: bool) -> Iterator[Verdict]:
    """A reward that rises while the answers leave the start behind: what judges them may be fooled."""
    reward, kl, length = _ends(live, "reward"), _ends(live, "kl"), _ends(live, "length")
    if not rising or reward is None or kl is None:
        return
    climbs = _kl_rising(live)
    grown = (length[1] / length[0] - 1) if length is not None and length[0] else 0.0
    words = f"reward rising ({reward[0]:.2f} → {reward[1]:.2f}), KL {kl[1]:.0f}{' and rising' if climbs else ''}"
    if kl[1] > FAR_NATS and abs(grown) >= LENGTH_MOVES:
        yield Verdict(
            f"Reward hacking: {words}, length {grown:+.0%}. Raise beta or lower the learning rate, and read the "
            "samples.",
            "warning",
        )
    elif kl[1] > FAR_NATS and climbs:
        yield Verdict(f"Far from its start: {words}. Read the samples; raise beta if they are worse.", "warning")
    yield from _held_out_falls(live.evaluations.get("reward", Series()))


def _held_out_falls(held_out: Series) -> Iterator[Verdict]:
    seen = np.isfinite(held_out.y)
    if seen.sum() < 3:
        return
    x, y = held_out.x[seen], held_out.y[seen]
    best = int(np.argmax(y))
    gain, fall = float(y[best] - y[0]), float(y[best] - y[-1])
    if best < len(y) - 1 and gain > 0 and fall > HELD_OUT_FALLS * gain and y[-1] <= y[-2]:
        yield Verdict(
            f"The reward rises on its own prompts and falls on held-out ones ({y[best]:.2f} → {y[-1]:.2f} since step "
            f"{int(x[best]):,}): it learns these prompts by heart. Use more prompts, fewer epochs or a higher beta.",
            "warning",
        )


def _not_learning(live: Live, reward: tuple[float, float], kl: tuple[float, float]) -> Iterator[Verdict]:
    """A reward that stays where it was, and which of rate and beta holds it there."""
    highest = float(finite_values(live.metrics["kl"]).max())
    stays = f"The reward has hardly moved ({reward[0]:.2f} → {reward[1]:.2f})"
    if abs(kl[1]) < NEAR_NATS and highest > 10 * NEAR_NATS:
        yield Verdict(
            f"KL has fallen from {highest:.2f} to {kl[1]:.2f} and the reward stays: beta holds the model at its start. "
            "Lower beta, or aim at a higher KL.",
            "warning",
        )
    elif abs(kl[1]) < NEAR_NATS:
        yield Verdict(f"{stays} and KL is {kl[1]:.2f}: the model still says what its start says.", "info")
    else:
        yield Verdict(
            f"{stays} at KL {kl[1]:.1f}: the answers change without getting better. Is there anything to gain, and "
            "does the reward tell the answers of one prompt apart?",
            "info",
        )


def _narrowing(live: Live) -> Iterator[Verdict]:
    """Answers that all come out the same, or that no longer end."""
    entropy, stopped = _ends(live, "entropy"), _ends(live, "stopped")
    if entropy is not None and 0 <= entropy[1] < COLLAPSED * entropy[0]:
        yield Verdict(
            f"Entropy has collapsed ({entropy[0]:.2f} → {entropy[1]:.2f} nats a token): all answers are alike, and "
            "nothing new is tried. Raise beta or lower the learning rate.",
            "warning",
        )
    if stopped is None:
        return
    if stopped[0] - stopped[1] > STOPS_FALL:
        yield Verdict(
            f"Fewer answers end by themselves ({stopped[0]:.0%} → {stopped[1]:.0%}). Raise end_penalty, or reward "
            "brevity.",
            "warning",
        )
    elif stopped[1] < MOSTLY_STOPS:
        yield Verdict(
            f"Only {stopped[1]:.0%} of the answers end by themselves; the others are judged where they were cut. "
            "Raise max_tokens or end_penalty.",
            "warning",
        )


def _steps_too_far(live: Live) -> Iterator[Verdict]:
    """Passes that go further than the ratio's clip lets them, and a beta that grows against them."""
    clipped, beta = _now(live, "clip_fraction"), _ends(live, "beta")
    if clipped is not None and clipped > MUCH_CLIPPED:
        yield Verdict(
            f"{clipped:.0%} of the tokens are clipped: a step goes further than it may. Fewer passes or a lower rate.",
            "warning",
        )
    if beta is not None and beta[0] > 0 and beta[1] > BETA_GROWS * beta[0]:
        yield Verdict(
            f"Beta has grown from {beta[0]:.3g} to {beta[1]:.3g} to hold the KL at its target. Lower the learning "
            "rate, or aim at a higher KL.",
            "info",
        )


def _value(live: Live) -> Iterator[Verdict]:
    foreseen = _now(live, "explained_variance")
    if foreseen is not None and foreseen <= FORESEES_NOTHING:
        yield Verdict(
            f"The value foresees no more than a constant would (explained variance {foreseen:.2f}), so advantages are "
            "noisy. Raise value_rate, write more answers a step, or set value=adapter.",
            "info",
        )
