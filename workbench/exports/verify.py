"""Does the export answer like the model that was trained? The marks it has to reach, and the arithmetic.

Everything is measured teacher-forced on one text: the merged model answers each held-out prompt greedily (up to
`ANSWER_TOKENS` tokens, its end included), and every model then reads prompt and answer and is asked, at each position
of the answer, for its next-token distribution. On a machine that cannot hold the merged model the prompts' own last
tokens take the answers' place.

- greedy agreement: the share of those positions at which both models' most likely token is the same (0 to 1); those
  that the reference holds for a toss-up (`NEAR_TIE`) are counted apart and not held against the other;
- mean KL: the mean over those positions of KL(p_ref ‖ p) = Σ_v p_ref(v) · (ln p_ref(v) − ln p(v)), in nats a token.

The reference p_ref is the trained adapter on the unquantised base when the merge is judged, and the merged model when
a GGUF is judged. What an NF4 run saw in training, its adapter on the 4-bit base, is compared as information only: the
difference is the quantisation's, not the export's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.events import Metrics
from workbench.exports.quants import ALL, Mark

if TYPE_CHECKING:
    import numpy as np

ANSWER_TOKENS = 32
PROMPT_TOKENS = 512
"""A longer prompt keeps its end: 16 of these cost a minute on two cores, and the answers are what is judged."""

STOP_TOKENS = 96
"""An answer that has not come to its end by then counts as one that does not stop by itself."""
STOP_SLACK = 0.2
"""By so much a file's share of answers that stop may be below the merged model's: answers drift apart and grow."""
STOP_SECONDS = 60.0
"""For so long a file is asked whether it stops; with a large model on two cores that is some prompts of sixteen."""

FEWEST_PROMPTS = 8

SPECIAL_TOKENS = 512
"""So many are spelt out in texts: all that any model uses; Gemma 3 keeps 6,000 more that are not used."""

NEAR_TIE = 0.05
"""Nats. Two tokens of which the reference prefers one by less than this, 5 % of its probability, are a toss-up: a model
that has learnt little is full of them, and which one wins says nothing of the export."""

MARKS: dict[str, Mark] = {
    "merged": Mark(0.98, 2e-3, "Each weight is rounded once: by 2⁻¹² of itself in float16, by 2⁻⁹ in bfloat16."),
    "gguf-lora": Mark(0.995, 1e-4, "The same small matrices in another program, on the same base."),
    **{quant.name: quant.mark for quant in ALL},
}
"""The pass marks. Measured on the bundled base they are several times looser than what a right export reaches, and a
wrong one (a tensor missing, q and k not permuted, the adapter not merged) misses them by orders of magnitude. The KL is
the sharp one; agreement leaves room for near-ties, of which free text has one in some hundred tokens."""

PROMPTS = (
    "Write a short greeting.",
    "What is 12 + 30?",
    "Name three colours.",
    "Why is the sky blue?",
    "Translate 'good night' into French.",
    "List the days of the week.",
    "Say the alphabet backwards.",
    "Tell me about the sea in two sentences.",
)
"""Asked as well when a project holds fewer than eight prompts of its own to check on."""

TEXTS = (
    "",
    " ",
    "Hello, world!",
    "   leading and trailing   ",
    "tabs\tand\nnew\n\nlines\r\n\r\n  indented\n\t\tmore",
    "a  b   c    d     e" + " " * 17 + "f",
    "It's we'll they've I'm you'd HE'S DON'T it’s ’twas",
    "0 1 12 123 1234 12345 3.14159 1,000,000 -7 1e-9 0xFF ½ ² Ⅷ ٣٤٥",
    "def f(x: int) -> str:\n    return f'{x!r:>10}'  # why?\n\nif __name__ == \"__main__\":\n    print(f(3))\n",
    '{"key": [1, 2.5, null], "nested": {"a\\"b": true}}',
    "<div class='x'>&amp;</div> https://example.org/?q=a%20b&c=#d",
    "CamelCase snake_case kebab-case SCREAMING_CASE x+=1; y**=2; a<=b!=c",
    "😀 👩‍👩‍👧‍👦 🇨🇭 ❤️ 🏳️‍🌈 👍🏽",
    "你好，世界。今天天气很好！ 日本語のテキスト、カタカナ。 안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك؟ שלום עולם हिन्दी में पाठ ภาษาไทย",
    "Ünïcödé naïve café Straße ĲSSELMEER ﬁne ǅ İı",
    "cafe\u0301 e\u0301 \u1e69\u0323 \u00a0nbsp\u2003em\u3000wide\u200bzero\ufeffbom",
    "∑∫√π≈≠≤ ←↑→ ½¾ ™©® € £ ¥ §",
    "!!!???...---===***(((  ) ) [ ]{}\\|/ ~`@#$%^&",
    "Zalgo: t\u0336e\u0322x\u0318t\u035c",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "The quick brown fox jumps over the lazy dog. " * 4,
)
"""Texts on which both tokenizers have to agree; special tokens and chat turns are added from the model itself."""


@dataclass(frozen=True)
class Difference:
    """The first place where two models or tokenizers part."""

    where: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True)
class Figures:
    """What comparing two models gave."""

    positions: int
    agreement: float
    mean_kl: float
    first: Difference | None = None
    near_ties: int = 0
    """How many of the differing positions the reference itself holds for a toss-up."""

    def metrics(self, mark: Mark | None = None) -> Metrics:
        row: Metrics = {
            "greedy_agreement": self.agreement,
            "mean_kl": self.mean_kl if math.isfinite(self.mean_kl) else None,  # JSON has no infinity
            "positions": self.positions,
            "near_ties": self.near_ties,
        }
        return row if mark is None else {**row, "mark_agreement": mark.agreement, "mark_kl": mark.mean_kl}

    def agrees(self, mark: Mark) -> bool:
        """Whether enough tokens are the same; near-ties are no difference, and one token may always differ."""
        different = round((1 - self.agreement) * self.positions) - self.near_ties
        allowed = max(1, math.floor((1 - mark.agreement) * self.positions + 1e-9))
        return self.positions > 0 and different <= allowed

    def passes(self, mark: Mark) -> bool:
        """Whether both marks are reached."""
        return self.agrees(mark) and self.mean_kl <= mark.mean_kl

    def against(self, mark: Mark) -> str:
        """The figures beside their marks, in words."""
        ties = f", {self.near_ties} more are toss-ups" if self.near_ties else ""
        return (
            f"{self.agreement:.2%} of {self.positions} greedy tokens agree (mark {mark.agreement:.1%}){ties}, "
            f"mean KL {self.mean_kl:.2g} nats (mark {mark.mean_kl:g})"
        )


def toss_ups(recorded: Mapping[str, Any]) -> str:
    """Of recorded figures, the share of tokens that differ where the reference holds two for as good: ` + 0.12%`."""
    ties, positions = recorded.get("near_ties"), recorded.get("positions")
    return f" + {ties / positions:.2%}" if ties and positions else ""


def kl(reference: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """KL(reference ‖ other) of log-probabilities (T, V) at each position, in nats: (T,)."""
    import numpy as np

    wide = reference.astype(np.float64)
    # A token that the reference excludes (probability 0) contributes nothing, whatever the other thinks of it.
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(wide), 0.0, np.exp(wide) * (wide - other.astype(np.float64)))
    divergence: np.ndarray[Any, Any] = terms.sum(axis=-1)
    return divergence


def compare(
    references: Iterable[np.ndarray[Any, Any]],
    others: Iterable[np.ndarray[Any, Any]],
    describe: Callable[[int, int, int, int], Difference],
) -> Figures:
    """Figures over all answers; `describe` words the first difference from (answer, position, token, other token)."""
    import numpy as np

    positions, same, tied, total = 0, 0, 0, 0.0
    first: Difference | None = None
    for n, (reference, other) in enumerate(zip(references, others, strict=True)):
        expected, got = reference.argmax(-1), other.argmax(-1)  # (T,)
        equal = expected == got
        if first is None and not equal.all():
            at = int(np.argmin(equal))
            first = describe(n, at, int(expected[at]), int(got[at]))
        positions += len(equal)
        same += int(equal.sum())
        places = np.arange(len(equal))
        lead = reference[places, expected] - reference[places, got]  # (T,), nats
        tied += int((~equal & (lead < NEAR_TIE)).sum())
        total += float(kl(reference, other).sum())
    share = same / positions if positions else 0.0
    mean = total / positions if positions else math.inf
    # A model of NaNs has an arbitrary argmax and no KL: it fails by its KL.
    return Figures(positions, share, mean if math.isfinite(mean) else math.inf, first, tied)


def first_different_tokens(
    texts: Sequence[str],
    expected: Callable[[str], list[int]],
    got: Callable[[str], list[int]],
    word: Callable[[int], str],
) -> tuple[int, Difference | None]:
    """How many texts two tokenizers cut differently, and the first token that differs."""
    different, first = 0, None
    for text in texts:
        left, right = expected(text), got(text)
        if left == right:
            continue
        different += 1
        if first is None:
            at = next(
                (n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
            )
            names = [repr(word(ids[at])) if at < len(ids) else "the end" for ids in (left, right)]
            first = Difference(f"token {at} of {text[:60]!r}", names[0], names[1])
    return different, first
