"""The nouns of the workbench, frozen. No behaviour beyond what a noun can say of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "held_out"]
Verdict = Literal["ranked", "tie", "both_bad", "skip"]

PERSON = "person"
"""The judge's name when a person ranked."""

REPEAT = "person again"
"""The judge's name for a person's second look, which measures how steady they are. It trains nothing."""

REWARD_MODEL = "reward:"
"""What a judge's name begins with when a reward model ranked; its run's id follows."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Role
    content: str


Conversation = tuple[Turn, ...]


def turns_to_json(turns: Conversation) -> list[dict[str, str]]:
    """A conversation in the field's usual form: a list of {role, content}."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def turns_from_json(rows: list[dict[str, Any]]) -> Conversation:
    return tuple(Turn(row["role"], row["content"]) for row in rows)


def digest(*parts: object) -> str:
    """A short name made of content: equal content, equal digest (128 bits of SHA-256, hex)."""
    import hashlib  # late: it brings OpenSSL, a hundredth of the app's start

    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Prompt:
    """What a model is asked: turns that end with the user's. `answer` is the known right one, if any."""

    id: int
    turns: Conversation
    answer: str | None = None
    kind: str = ""
    split: Split = "train"

    @property
    def text(self) -> str:
        """The last user turn, which is what fits on a line."""
        return self.turns[-1].content if self.turns else ""


@dataclass(frozen=True)
class NewPrompt:
    """A prompt on its way into the store."""

    turns: Conversation
    answer: str | None = None
    kind: str = ""
    split: Split = "train"

    @property
    def digest(self) -> str:
        return digest(turns_to_json(self.turns))


@dataclass(frozen=True)
class Demonstration:
    """A prompt with an answer worth imitating: what SFT trains on."""

    id: int
    prompt: Prompt
    text: str
    origin: str = "import"
    tags: tuple[tuple[str, str], ...] = ()
    """(name, value) of what is known of it: quality, topic, source."""


@dataclass(frozen=True)
class Origin:
    """Where a completion came from: exactly enough to make it again."""

    base: str
    run: str | None = None
    checkpoint: int | None = None
    sampler: str = "transformers"
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 128
    seed: int = 0
    tags: str = ""
    """The tags it was asked with: `quality=high`."""

    @property
    def label(self) -> str:
        """What a person calls it: `run 0003 @120`, or the base's name."""
        if self.run is None:
            return self.base
        return f"run {self.run}" + (f" @{self.checkpoint}" if self.checkpoint is not None else "")


@dataclass(frozen=True)
class Completion:
    """One answer of a model to a prompt. (`job`, `prompt_id`, `n`) is its natural key."""

    id: int
    prompt_id: int
    text: str
    origin: Origin
    job: str
    n: int
    finish: Literal["stop", "length"] = "stop"


@dataclass(frozen=True)
class Ranking:
    """One judgement of completions of one prompt, shown in the order `shown`.

    `tiers` lists completion ids from best to worst, ties sharing a tier. `unacceptable` completions are bad
    in themselves, whatever their place.
    """

    id: int
    prompt_id: int
    shown: tuple[int, ...]
    tiers: tuple[tuple[int, ...], ...]
    verdict: Verdict
    judge: str = PERSON
    unacceptable: tuple[int, ...] = ()
    seed: int = 0
    seconds: float = 0.0
    created: float = 0.0


@dataclass(frozen=True)
class Pair:
    """A prompt with a better and a worse answer: what DPO and reward models train on."""

    prompt: Conversation
    chosen: str
    rejected: str
    ranking_id: int
    prompt_id: int
    judge: str = PERSON


@dataclass(frozen=True)
class Counts:
    """How much of everything a project holds."""

    prompts: int = 0
    held_out: int = 0
    demonstrations: int = 0
    """Of training prompts; those of held-out ones never train."""
    completions: int = 0
    rankings: int = 0
    rankable: int = 0
    """Training prompts with two or more completions."""
    waiting: int = 0
    """Those of them with two or more completions that a person has not judged yet."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did: nothing is half imported, so `added` is all or nothing of the good rows."""

    path: str
    layout: str
    added: dict[str, int] = field(default_factory=dict)
    rows_ok: int = 0
    rejected: tuple[tuple[int, str], ...] = ()
    """(line, why) of rows left out."""
    runner_up: str = ""
    sha256: str = ""
