"""The types a GGUF file can have: llama.cpp's number of each, its size, what it loses, and the marks it must reach.

Sizes are bits a weight of the blocks, from llama.cpp's own dry run over models shaped like Llama 3.1 8B and 3.2 1B; the
output head is kept wider. What is lost was measured on the bundled base (3.4 M parameters, 664 greedy tokens of
held-out answers; `tests/benchmarks/quant_loss.py` prints the table): KL of the next token in nats, and how many of a
thousand greedy tokens change. Every export measures it again on its own model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """What an export has to reach, and why no more and no less."""

    agreement: float
    """Share of greedy tokens that are the same, 0 to 1."""
    mean_kl: float
    """Nats a token."""
    why: str = ""


@dataclass(frozen=True)
class Quant:
    """One type of GGUF file."""

    name: str
    file_type: int
    """llama.cpp's `llama_ftype`."""
    bits: float
    """Bits a weight in the blocks of the model."""
    loses: str
    """What a person loses, in half a line."""
    mark: Mark
    kl: float = 0.0
    """Measured on the bundled base, nats a token."""
    weighed: bool = False
    """Whether it can be made only by knowing which inputs of each layer matter (an importance matrix)."""
    any_width: bool = False
    """Whether rows of 32 weights are enough; others store what does not divide by 256 in a wider type."""

    @property
    def exact(self) -> bool:
        """Whether it is written from the model itself rather than made from another file."""
        return self.file_type in (0, 1, 32)

    @property
    def head_bits(self) -> float:
        """Bits a weight of the output head, or of an embedding that is also the head."""
        return self.bits if self.bits >= 8 else HEAD_BITS

    @property
    def said(self) -> str:
        """What is lost, with the figure it was judged by."""
        return f"{self.loses} (KL {self.kl:.0e} on the bundled base)" if self.kl else self.loses


HEAD_BITS = 6.7
"""llama.cpp keeps the output head at Q6_K or wider, whatever the type."""

_Q = Quant
ALL: tuple[Quant, ...] = (
    _Q("f32", 0, 32.0, "nothing; for comparing only", Mark(0.998, 1e-5, "Only the order of additions differs.")),
    _Q("f16", 1, 16.0, "nothing of a 16-bit model", Mark(0.995, 1e-4, "float16 is exact, or off by 2⁻¹¹."), 3e-7),
    _Q("bf16", 32, 16.0, "digits of a float16 model", Mark(0.99, 2e-3, "bfloat16 is exact, or off by 2⁻⁹."), 1e-6),
    _Q("Q8_0", 7, 8.5, "nothing to notice", Mark(0.99, 1e-2, "Too little to hear."), 1e-5, any_width=True),
    _Q("Q6_K", 18, 6.56, "next to nothing", Mark(0.97, 3e-2, "Rarely another word."), 5e-5),
    _Q("Q5_1", 9, 6.0, "a word now and then", Mark(0.94, 8e-2), 7e-5, any_width=True),
    _Q("Q5_K_M", 17, 5.64, "a word now and then", Mark(0.94, 8e-2, "Now and then another word."), 8e-5),
    _Q("Q5_K_S", 16, 5.5, "a word now and then", Mark(0.93, 1e-1), 7e-5),
    _Q("Q5_0", 8, 5.5, "a word now and then", Mark(0.93, 1e-1), 7e-5, any_width=True),
    _Q("Q4_1", 3, 5.0, "some words; Q4_K_M is better", Mark(0.88, 2e-1), 2e-4, any_width=True),
    _Q("Q4_K_M", 15, 4.77, "some words: the usual choice", Mark(0.88, 2e-1, "The smallest worth having."), 2e-4),
    _Q("IQ4_NL", 25, 4.55, "some words", Mark(0.86, 2.5e-1), 2e-4, any_width=True),
    _Q("Q4_K_S", 14, 4.53, "some words", Mark(0.86, 2.5e-1), 3e-4),
    _Q("Q4_0", 2, 4.5, "some words; the quickest on old machines", Mark(0.84, 3e-1), 3e-4, any_width=True),
    _Q("IQ4_XS", 30, 4.31, "some words: the best below Q4_K_M", Mark(0.84, 3e-1), 2e-4),
    _Q("Q3_K_L", 13, 4.12, "some sentences", Mark(0.8, 4.5e-1), 3e-4),
    _Q("Q3_K_M", 12, 3.81, "some sentences", Mark(0.78, 5e-1), 4e-4),
    _Q("IQ3_M", 27, 3.57, "some sentences", Mark(0.76, 6e-1), 1e-3),
    _Q("IQ3_S", 26, 3.46, "some sentences", Mark(0.74, 7e-1), 1e-3),
    _Q("Q3_K_S", 11, 3.44, "some sentences", Mark(0.74, 7e-1), 9e-4),
    _Q("IQ3_XS", 22, 3.29, "some sentences", Mark(0.72, 8e-1), 7e-4, weighed=True),
    _Q("IQ3_XXS", 23, 3.23, "much: models under 7 B suffer", Mark(0.68, 1.0), 2e-3, weighed=True),
    _Q("Q2_K", 10, 2.91, "much: models under 13 B suffer", Mark(0.6, 1.3), 1e-3),
    _Q("IQ2_M", 29, 2.77, "much: models under 13 B suffer", Mark(0.58, 1.4), 2e-3, weighed=True),
    _Q("Q2_K_S", 21, 2.72, "very much", Mark(0.54, 1.6), 4e-3, weighed=True),
    _Q("IQ2_S", 28, 2.57, "very much", Mark(0.52, 1.7), 3e-3, weighed=True),
    _Q("IQ2_XS", 20, 2.39, "very much", Mark(0.5, 1.8), 3e-3, weighed=True),
    _Q("IQ2_XXS", 19, 2.18, "very much: for 30 B and more", Mark(0.45, 2.2), 3e-3, weighed=True),
    _Q("IQ1_M", 31, 1.93, "most of it: for 70 B and more", Mark(0.35, 3.0), 1e-2, weighed=True),
    _Q("IQ1_S", 24, 1.78, "most of it: for 70 B and more", Mark(0.3, 3.5), 1e-2, weighed=True),
)
"""By falling size. The marks of what a person would use are several times looser than what a right export reaches."""

BY_NAME = {quant.name: quant for quant in ALL}
FILE_TYPES = {quant.name: quant.file_type for quant in ALL}
EXACT = tuple(quant.name for quant in ALL if quant.exact)

NOT_FOR_THESE = {
    "TQ1_0": "models that were trained in three values; it measured a KL of 1 nat, which is ruin",
    "TQ2_0": "models that were trained in three values; it measured a KL of 1 nat, which is ruin",
    "Q1_0": "models that were trained in two values; it measured a KL of 0.7 nats, which is ruin",
    "MXFP4_MOE": "mixtures of experts; for other models it is Q8_0 under another name",
    "NVFP4": "weights that come in it; llama.cpp cannot make it",
}
"""Types that llama.cpp has and no ordinary model can use, and what they are for."""
