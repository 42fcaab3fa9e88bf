"""The demo's judge stands in a person's place, and says so."""

from __future__ import annotations

from workbench.commands.project import demo_in_words
from workbench.demo import JUDGE, ranking, share
from workbench.judges import rules
from workbench.records import PERSON, Completion, Origin, Prompt, Turn

PROMPT = Prompt(7, (Turn("user", "Name the opposite of tall."),), answer="The opposite of tall is short.")


def completions(*texts: str) -> list[Completion]:
    return [Completion(n + 1, 7, text, Origin("bundled"), "0002", n) for n, text in enumerate(texts)]


def test_the_rule_ranks_right_and_courteous_before_right_before_wrong():
    """Completions of equal score share a tier, better tiers come first, and all that were seen are named."""
    judged = ranking(
        PROMPT,
        completions(
            "The opposite of tall is wide.",
            "The opposite of tall is short.",
            "Sure! The opposite of tall is short.",
            "The opposite of tall is round.",
        ),
    )

    assert judged.shown == (1, 2, 3, 4)
    assert judged.tiers == ((3,), (2,), (1, 4))
    assert judged.verdict == "ranked"


def test_equal_completions_are_a_tie():
    """Where the rule sees no difference there is no preference."""
    judged = ranking(PROMPT, completions("The opposite of tall is short.", "The opposite of tall is short."))

    assert (judged.verdict, judged.tiers) == ("tie", ((1, 2),))


def test_the_rule_is_never_taken_for_a_person():
    """The rule's rankings carry its own name."""
    assert ranking(PROMPT, completions("a", "b")).judge == JUDGE != PERSON


def test_tiers_agree_with_the_rules_preferences():
    """Of two completions in different tiers the rule prefers the one in the better tier."""
    texts = (
        "Short.",
        "Sure! The opposite of tall is short. I hope that helps!",
        "The opposite of tall is short, I say.",
    )
    judged = ranking(PROMPT, completions(*texts))
    best, worst = judged.tiers[0][0], judged.tiers[-1][0]

    assert rules.prefer(texts[best - 1], texts[worst - 1], PROMPT.answer or "") == 1


def test_a_share_of_nothing_is_nothing():
    """No held-out prompts is a share of 0, not an error after minutes of work."""
    assert (share([]), share([True, False, True, True])) == (0.0, 0.75)


def test_the_report_in_words_names_the_rule():
    """A person who reads only the summary learns that no person judged."""
    told = demo_in_words(
        {
            "sft": {"seconds": 60.0, "exact_match_before": 0.28, "exact_match_after": 0.71},
            "sample": {"seconds": 20.0, "completions": 1056},
            "rank": {"pairs": 800, "judge": JUDGE},
            "dpo": {"seconds": 90.0, "win_rate": 0.75},
            "reward": {"seconds": 50.0, "pair_accuracy": 0.91},
            "ppo": {
                "seconds": 80.0,
                "score_before": 2.1,
                "score_after": 2.6,
                "kl": 3.2,
                "episodes_per_second": 17.0,
            },
            "export": {
                "seconds": 40.0,
                "files": {"Q8_0": "model-Q8_0.gguf"},
                "greedy_agreement": {"Q8_0": 0.998},
                "mean_kl": {"Q8_0": 0.0004},
            },
        }
    )

    assert any(JUDGE in line and "a rule" in line for line in told)
    assert any("99.80%" in line and "Q8_0" in line for line in told)
