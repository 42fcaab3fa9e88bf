"""What the curves say in words: each verdict appears where it should, with its figures, and not elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from workbench.charts.narration import verdicts
from workbench.charts.verdict import Verdict
from workbench.events import Evaluated, Planned, Step
from workbench.live import Live


def fed(steps: int, metrics: Callable[[int], dict[str, float | None]], held_out: list[float] | None = None) -> Live:
    """A fold of so many steps, with a measurement every ten of them."""
    live = Live()
    live.feed([Step(step=n, metrics=metrics(n), seconds=1.0, tokens=10) for n in range(1, steps + 1)])
    live.feed([Evaluated(step=10 * n, metrics={"loss": v}) for n, v in enumerate(held_out or [], 1)])
    return live


def said(found: list[Verdict]) -> str:
    return " ".join(f"[{verdict.level}] {verdict.text}" for verdict in found)


def test_a_falling_loss_is_learning() -> None:
    """From 2 to 0.5 the verdict names both ends."""
    found = verdicts(fed(100, lambda n: {"loss": 2.0 if n <= 10 else 0.5}), "sft")

    assert said(found) == "[good] Learning: training loss 2.000 → 0.500."


def test_a_flat_loss_is_not_learning_yet() -> None:
    """A loss that stays is said to have hardly moved."""
    assert "hardly moved (1.000 → 1.000)" in said(verdicts(fed(50, lambda n: {"loss": 1.0}), "sft"))


def test_a_rising_loss_blames_the_rate() -> None:
    """A loss that rises is a warning."""
    assert "[warning] Training loss rises" in said(verdicts(fed(50, lambda n: {"loss": 1.0 + n / 50}), "sft"))


def test_too_few_steps_say_nothing() -> None:
    """Under twenty steps there is no verdict on learning."""
    assert verdicts(fed(19, lambda n: {"loss": 2.0 - n / 10}), "sft") == []


def test_a_loss_that_is_not_finite_names_the_step() -> None:
    """From step 31 on the loss is null: diverged since 31, whatever else the curves say."""
    found = verdicts(fed(40, lambda n: {"loss": 1.0 if n <= 30 else None}), "sft")

    assert found[0].level == "warning"
    assert "since step 31" in found[0].text


def test_rising_held_out_loss_is_overfitting() -> None:
    """Best at step 20, clearly higher at 40: the step of the best is named; a wobble is not."""
    live = fed(40, lambda n: {"loss": 2.0 - n / 25}, [1.0, 0.9, 0.95, 1.1])
    calm = fed(40, lambda n: {"loss": 2.0 - n / 25}, [1.0, 0.9, 0.905, 0.901])

    slight = fed(40, lambda n: {"loss": 2.0 - n / 25}, [1.0, 0.9, 0.92, 0.93])

    assert "[warning] Held-out loss rises (0.900 → 1.100) since step 20: overfitting" in said(verdicts(live, "sft"))
    assert "[info] Held-out loss was lowest at step 20 (0.900, now 0.930)" in said(verdicts(slight, "sft"))
    assert "overfitting" not in said(verdicts(calm, "sft"))


def dpo(
    steps: int = 60, loss: float = math.log(2), margin: float = 0.0, accuracy: float = 0.5, fall: float = 0.0
) -> str:
    return said(
        verdicts(
            fed(
                steps,
                lambda n: {
                    "loss": loss,
                    "reward_margin": margin,
                    "reward_accuracy": accuracy,
                    "chosen_logp": -30.0 - fall * n / steps,
                },
            ),
            "dpo",
        )
    )


def test_dpo_at_ln_2_is_not_learning_yet() -> None:
    """ln 2 = 0.693 is where DPO starts: model and reference agree."""
    assert dpo() == ("[info] DPO is at ln 2 (0.693): the model still says what its reference says, not learning yet.")


def test_a_dpo_loss_that_starts_elsewhere_is_held_against_its_own_start() -> None:
    """IPO starts at 25: a loss of 24 is learning, 25.1 is the start, 27 is worse."""

    def ipo(loss: float) -> str:
        live = fed(40, lambda n: {"loss": loss, "reward_margin": 0.5, "reward_accuracy": 0.7, "chosen_logp": -30.0})
        live.feed([Evaluated(step=0, metrics={"loss": 25.0})])
        return said(verdicts(live, "dpo"))

    assert ipo(24.0).startswith("[good] Learning: prefers the chosen answer in 70% of pairs")
    assert "DPO is at its start, 25.000 (25.100)" in ipo(25.1)
    assert "above its start, 25.000" in ipo(27.0)


def test_kto_parts_good_from_bad() -> None:
    """Rewards 0.4 and -0.6 are 1.00 apart; both falling is learning by forgetting; the wrong way round is a warning."""

    def kto(good: float, bad: float) -> str:
        return said(verdicts(fed(30, lambda n: {"loss": 0.4, "chosen_reward": good, "rejected_reward": bad}), "kto"))

    assert kto(0.4, -0.6) == "[good] Learning: good answers are ahead of bad ones by 1.00."
    assert "not learning yet" in kto(0.0, 0.01)
    assert "[warning] Bad answers gain" in kto(-0.1, 0.3)
    assert "[warning] Good answers become less likely too (reward -0.30)" in kto(-0.3, -0.9)


def test_without_a_reference_falling_chosen_answers_are_a_warning() -> None:
    """From -1 to -2 nats a token: nothing holds SimPO and ORPO back."""
    live = fed(40, lambda n: {"loss": 1.0, "reward_accuracy": 0.8, "chosen_logp": -1.0 - n / 40})

    for action in ("simpo", "orpo"):
        found = said(verdicts(live, action))
        assert "likelier one in 80% of pairs" in found
        assert "[warning] Chosen answers become less likely (-1." in found


def test_groups_say_what_the_reward_does_and_when_there_is_nothing_left_to_learn() -> None:
    """Reward 1 to 2 with a spread of 1; then groups that are even in 90 of 100, and answers that are cut."""

    def rloo(end: float, even: float = 0.1, stopped: float = 1.0) -> str:
        def metrics(n: int) -> dict[str, float | None]:
            reward = 1.0 + (end - 1.0) * n / 50
            return {"loss": 0.0, "reward": reward, "reward_std": 1.0, "even_groups": even, "stopped": stopped}

        return said(verdicts(fed(50, metrics), "rloo"))

    assert rloo(2.0).startswith("[good] Learning: reward 1.")
    assert "hardly moved" in rloo(1.05)
    assert "[warning] The reward falls" in rloo(0.0)
    assert "In 90% of the groups every answer is worth the same" in rloo(2.0, even=0.9)
    assert "[warning] Only 30% of the answers end by themselves" in rloo(2.0, stopped=0.3)


def ppo(held_out: list[float] | None = None, steps: int = 20, **ends: tuple[float, float]) -> str:
    """What is said of a PPO run whose metrics go evenly from one value to the other; those not named do nothing odd."""
    usual = {
        "reward": (1.0, 2.0),
        "kl": (0.0, 2.0),
        "length": (10.0, 11.0),
        "entropy": (1.0, 0.8),
        "stopped": (1.0, 1.0),
        "clip_fraction": (0.1, 0.1),
        "explained_variance": (0.0, 0.5),
        "beta": (0.05, 0.05),
    }

    def metrics(n: int) -> dict[str, float | None]:
        share = (n - 1) / (steps - 1)
        return {"loss": 0.0, **{name: a + (b - a) * share for name, (a, b) in {**usual, **ends}.items()}}

    live = fed(steps, metrics)
    live.feed([Evaluated(step=5 * n, metrics={"reward": value}) for n, value in enumerate(held_out or [])])
    return said(verdicts(live, "ppo"))


def test_ppo_that_learns_says_reward_and_kl() -> None:
    """Both are named from ten rollouts on, a step being a whole rollout; with nine nothing is said."""
    assert ppo() == "[good] Learning: reward 1.05 → 1.95 at KL 1.9 nats an answer."
    assert ppo(steps=10).startswith("[good] Learning")
    assert ppo(steps=9) == ""


def test_ppo_names_reward_hacking_by_its_signs() -> None:
    """Reward up, KL 14 and rising, answers 60 % longer (or shorter): what is it and what to do. Far alone: read."""
    hacked = ppo(kl=(0.0, 14.5), length=(10.0, 17.0))
    far = ppo(kl=(0.0, 14.5))

    assert hacked.startswith("[warning] Reward hacking: reward rising (1.05 → 1.95), KL 14 and rising, length +6")
    assert "Raise beta or lower the learning rate" in hacked
    assert "Learning" not in hacked
    assert "length -5" in ppo(kl=(0.0, 14.5), length=(20.0, 8.0))
    assert far.startswith("[warning] Far from its start: reward rising")
    assert "hacking" not in ppo(length=(10.0, 17.0))
    assert "Far" not in ppo(kl=(10.0, 10.0))


def test_ppo_that_learns_its_prompts_by_heart_is_told_by_the_held_out_reward() -> None:
    """Best 1.8 at step 5, 1.5 at the end while training's rises: a warning; a wobble is none."""
    assert "falls on held-out ones (1.80 → 1.50 since step 5)" in ppo(held_out=[1.0, 1.8, 1.6, 1.5])
    assert "held-out" not in ppo(held_out=[1.0, 1.8, 1.75, 1.79])


def test_ppo_that_does_not_learn_says_what_holds_it() -> None:
    """KL near 0 all along; KL that was 2 and is 0 again: beta; KL of 3 with no gain: the reward."""
    flat = (1.0, 1.0)

    assert "still says what its start says" in ppo(reward=flat, kl=(0.0, 0.01))
    assert "[warning] KL has fallen from 2.00 to " in ppo(reward=flat, kl=(2.0, -0.1))
    assert "beta holds the model at its start" in ppo(reward=flat, kl=(2.0, -0.1))
    assert "change without getting better" in ppo(reward=flat, kl=(0.0, 3.0))
    assert "[warning] The reward falls: 1.95 → 1.05" in ppo(reward=(2.0, 1.0))


def test_ppo_names_what_goes_wrong_within_its_steps() -> None:
    """Entropy, stopped share, clipped tokens, beta and the value: each is told with its figures, and only then."""
    assert "[warning] Entropy has collapsed (1.0" in ppo(entropy=(1.1, 0.05))
    assert "[warning] Fewer answers end by themselves (98% → 6" in ppo(stopped=(1.0, 0.6))
    assert "[warning] Only 30% of the answers end" in ppo(stopped=(0.3, 0.3))
    assert "[warning] 40% of the tokens are clipped" in ppo(clip_fraction=(0.4, 0.4))
    assert "[info] Beta has grown from 0.0737 to 0.476" in ppo(beta=(0.05, 0.5))
    assert "[info] The value foresees no more than a constant" in ppo(explained_variance=(-0.2, -0.1))


def test_noise_of_a_ppo_reward_is_neither_learning_nor_its_fault() -> None:
    """Ten curves of pure noise (0.3 a rollout): hardly any is said to rise or fall."""

    def words(seed: int) -> str:
        noise = np.random.default_rng(seed).normal(1.0, 0.3, 31)
        return said(verdicts(fed(30, lambda n: {"loss": 0.0, "reward": float(noise[n]), "kl": 1.0}), "ppo"))

    said_to_move = [found for found in map(words, range(10)) if "Learning" in found or "falls" in found]

    assert len(said_to_move) <= 1


def test_dpo_that_learns_says_how_often_it_prefers_the_chosen() -> None:
    """Accuracy and margin are named."""
    assert dpo(loss=0.45, margin=0.8, accuracy=0.78) == (
        "[good] Learning: prefers the chosen answer in 78% of pairs, margin 0.80."
    )


def test_dpo_above_ln_2_and_a_falling_chosen_log_probability_are_warnings() -> None:
    """Both name what to do."""
    assert "above ln 2" in dpo(loss=0.9)
    falling = dpo(loss=0.4, margin=1.0, accuracy=0.9, fall=10.0)
    assert "[warning] Chosen log-probability is falling (-30." in falling
    assert "higher beta" in falling


def test_dpo_that_tells_every_pair_apart_warns_of_overfitting() -> None:
    """Accuracy 1 and a loss near zero: nothing left to learn."""
    assert "more steps only overfit" in dpo(loss=0.01, margin=6.0, accuracy=1.0)


def test_a_gradient_spike_is_told() -> None:
    """Fifty times the usual at the end."""
    live = fed(50, lambda n: {"loss": 1.0 / n, "grad_norm": 50.0 if n == 49 else 1.0})

    assert "gradient spikes: 50, usually 1" in said(verdicts(live, "sft"))


def noisy(start: float, end: float, plan: int, steps: int, seed: int) -> list[Verdict]:
    """Verdicts over a loss that goes evenly from one value to the other with a noise of 0.05."""
    noise = np.random.default_rng(seed).normal(0.0, 0.05, plan + 1)
    live = fed(steps, lambda n: {"loss": start + (end - start) * n / plan + float(noise[n])})
    live.feed([Planned(total_steps=plan)])
    return verdicts(live, "sft")


def test_a_noisy_loss_that_falls_is_never_said_to_rise() -> None:
    """Ten falling curves, looked at every step from the twentieth on: their noise is not blamed on the rate."""
    looks = [noisy(0.45, 0.30, 90, steps, seed) for seed in range(10) for steps in range(20, 91, 3)]

    assert not [found for found in map(said, looks) if "rises" in found]


def test_a_noisy_loss_that_truly_rises_is_a_warning() -> None:
    """A rise far beyond the same noise blames the rate."""
    assert "[warning] Training loss rises" in said(noisy(0.40, 0.90, 90, 60, seed=1))


def test_a_rise_is_not_blamed_on_the_rate_before_it_is_reached() -> None:
    """While the rate still warms up, and in the first steps of a long plan, a rising loss has no verdict yet."""
    warming = fed(60, lambda n: {"loss": 1.0 + n / 50, "learning_rate": n * 1e-6})
    beginning = fed(30, lambda n: {"loss": 1.0 + n / 50, "learning_rate": 1e-4})

    assert verdicts(warming, "sft") == []
    assert verdicts(beginning, "sft") == []
