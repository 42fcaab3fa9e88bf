"""Training a reward model: TRL's RewardTrainer on whole rankings, with our own collator and loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from trl import RewardConfig, RewardTrainer

from workbench import calibration
from workbench.calibration import Calibration
from workbench.errors import CheckpointError
from workbench.events import Metrics
from workbench.judges import reward_model as judge
from workbench.methods import reward
from workbench.methods.reward import Choice
from workbench.tokens import ChatTokens
from workbench.worker import data, reward_start, starting_point, training
from workbench.worker.context import RunContext
from workbench.worker.model import Start
from workbench.worker.reward_loss import centring_loss, ranking_loss
from workbench.worker.reward_model import RewardModel, attach
from workbench.worker.trainers import Prepared

WATCHED_ROWS = 4
"""Held-out prompts whose answers' rewards are shown while training."""

PROBES = 8
"""Conversations that a saved reward model must score as the trained one does."""

PROBE_TOLERANCE = 1e-4
"""How far their scores may differ: files hold the very weights, so only rounding in another batch is left."""


def encoder(loss_type: str, left_out: Callable[[], None]) -> data.Encode:
    """Makes of a ranking row the token ids of its answers, and its loss as choices; None where nothing is left of it.

    `left_out` is called for each answer that is longer than the longest row.
    """

    def encode(tokens: ChatTokens, row: data.Row, max_length: int) -> dict[str, Any] | None:
        ids = [tokens.row(row["prompt"], answer).ids for answer in row["answers"]]
        lost = {place for place, answer in enumerate(ids) if len(answer) > max_length}
        for _ in lost:
            left_out()
        kept = [place for place in range(len(ids)) if place not in lost]
        new = {place: at for at, place in enumerate(kept)}
        chosen = [c for choice in reward.choices(row["rankings"], loss_type) if (c := choice.without(lost))]
        pairs = {pair for tiers in row["rankings"] for pair in reward.pairs_of(tiers) if not lost & set(pair)}
        if not chosen:
            return None
        return {
            "ids": [ids[place] for place in kept],
            "choices": [[new[member] for member in choice.members] for choice in chosen],
            "weights": [choice.weight for choice in chosen],
            "pairs": [[new[better], new[worse]] for better, worse in sorted(pairs)],
        }

    return encode


@dataclass(frozen=True)
class RankingCollator:
    """Rows of rankings as one batch: all their answers below each other, and choices as places among them."""

    pad_id: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        answers = [ids for row in rows for ids in row["ids"]]  # N
        width = max(map(len, answers))
        firsts = [sum(len(row["ids"]) for row in rows[:at]) for at in range(len(rows))]
        choices = [[first + m for m in c] for first, row in zip(firsts, rows, strict=True) for c in row["choices"]]
        most = max(map(len, choices))
        pairs = [[first + m for m in pair] for first, row in zip(firsts, rows, strict=True) for pair in row["pairs"]]
        return {
            "sizes": torch.tensor([len(row["ids"]) for row in rows]),  # (B,), first: Trainer counts rows by it
            "input_ids": torch.tensor([[*ids, *[self.pad_id] * (width - len(ids))] for ids in answers]),  # (N, T)
            "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in answers]),  # (N, T)
            "members": torch.tensor([[*c, *[0] * (most - len(c))] for c in choices]),  # (C, M)
            "present": torch.tensor([[True] * len(c) + [False] * (most - len(c)) for c in choices]),  # (C, M)
            "weights": torch.tensor([weight for row in rows for weight in row["weights"]]),  # (C,)
            "pairs": torch.tensor(pairs).reshape(-1, 2),  # (P, 2)
        }


@dataclass
class Seen:
    """Rewards since the last report, and the margins of the pairs among them."""

    rewards: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)

    def gathered(self) -> Seen:
        """Those of all processes."""
        return Seen(gather_object(self.rewards), gather_object(self.margins))

    def figures(self) -> dict[str, float]:
        rewards, margins = torch.tensor(self.rewards), torch.tensor(self.margins)
        told = calibration.calibrate(self.margins)
        return {
            "reward_mean": rewards.mean().item(),
            "reward_spread": rewards.std(correction=0).item(),
            **({"pair_accuracy": told.accuracy, "reward_margin": margins.mean().item()} if told else {}),
        }


class RankingTrainer(Prepared, RewardTrainer):
    """TRL's RewardTrainer on rows of rankings. For pairs its loss is TRL's own."""

    def __init__(self, *, margin: float, centring: float, tokens: ChatTokens, **given: Any) -> None:
        pad_id = next(number for number in range(len(tokens.end_ids) + 1) if number not in tokens.end_ids)
        super().__init__(**given, data_collator=RankingCollator(pad_id))
        self.pad_id = pad_id
        self.margin = margin
        self.centring = centring
        self.seen = {"train": Seen(), "eval": Seen()}
        self.held_out = Seen()
        """What the last measurement saw."""

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["ids", "choices", "weights", "pairs"]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The batch's loss. What the figures are made of is kept until the next report."""
        mode = "train" if self.model.training else "eval"
        mask, sizes = inputs["attention_mask"], inputs["sizes"]
        # The model reads its reward at the last token that is not padding, which must not be an answer's end. Said
        # at every step: Trainer puts the tokenizer's pad token, which may be that end, back when training begins.
        self.model.config.get_text_config().pad_token_id = self.pad_id
        outputs = model(input_ids=inputs["input_ids"], attention_mask=mask, use_cache=False)
        rewards = outputs.logits.squeeze(-1).float()  # (N,)
        loss = ranking_loss(rewards, inputs["members"], inputs["present"], inputs["weights"], len(sizes), self.margin)
        if self.centring:
            loss = loss + self.centring * centring_loss(rewards, sizes)
        if mode == "train":
            self._total_train_tokens += int(self.accelerator.gather(mask.sum()).sum())
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        seen, pairs = rewards.detach(), inputs["pairs"]
        self.seen[mode].rewards += seen.tolist()
        self.seen[mode].margins += (seen[pairs[:, 0]] - seen[pairs[:, 1]]).tolist()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the figures of all that was seen since the last report, which a mean of batches' means would not be."""
        mode = "train" if self.model.training else "eval"
        seen, self.seen[mode] = self.seen[mode].gathered(), Seen()
        if seen.rewards:
            figures = seen.figures()
            if mode == "eval":
                self.held_out = seen
                told = calibration.calibrate(seen.margins)
                figures |= {"calibration_error": told.error} if told else {}
            self._metrics[mode].update({name: [value] for name, value in figures.items()})
        super().log(logs, start_time)

    def trained(self) -> RewardModel:
        """The model as it is now, to score with."""
        model = self.accelerator.unwrap_model(self.model)
        adapter = "default" if isinstance(model, PeftModel) else None
        score = model.get_base_model().score.modules_to_save["default"] if adapter else model.score
        return RewardModel(model, score.weight.detach().float(), adapter)


class _Training:
    """One training run of a reward model: what its parts tell each other."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.settings = context.job.settings
        self.left_out = 0
        self.trainer: RankingTrainer | None = None

    def recipe(self) -> training.Recipe:
        encode = encoder(str(self.settings["loss_type"]), self._leave_out)
        return training.Recipe(self._build, encode, self._check_start, load=reward_start.load_start, watch=self._watch)

    def _leave_out(self) -> None:
        self.left_out += 1

    def _build(self, start: Start, arguments: dict[str, Any], rows: Any, held_out: Any) -> RankingTrainer:
        if self.left_out:
            self.context.note(
                f"{self.left_out} answers are longer than max_length and are left out of their rankings.", "warning"
            )
            self.left_out = 0
        trainer = RankingTrainer(
            model=start.model,
            processing_class=start.tokenizer,
            train_dataset=rows,
            eval_dataset=held_out,
            args=RewardConfig(**arguments, disable_dropout=not float(self.settings["dropout"]), max_length=None),
            margin=float(self.settings["margin"]),
            centring=float(self.settings["centring"]),
            tokens=start.tokens,
        )
        trainer.save_beside = lambda folder: self._save_beside(trainer, folder)
        self.trainer = trainer
        return trainer

    def _check_start(self, trainer: RankingTrainer) -> None:
        count = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
        rows = [trainer.train_dataset[at] for at in range(count)]
        made = [[Choice(tuple(c), w) for c, w in zip(r["choices"], r["weights"], strict=True)] for r in rows]
        loss = starting_point.first_loss(trainer)
        trainer.seen["eval"] = Seen()
        reward.check_starting_point(loss, reward.starting_loss(made, trainer.margin))

    def _watch(self, trainer: RankingTrainer, start: Start) -> Callable[[], list[list[str]]] | None:
        """The rewards of a few held-out prompts' answers, best first."""
        rows = data.read_rows(self.context.paths.data / "held_out.jsonl")[:WATCHED_ROWS]
        if not rows:
            return None
        limit = training.longest_row(self.settings, start)
        ids = [[start.tokens.row(row["prompt"], answer).ids[:limit] for answer in row["answers"]] for row in rows]

        def watch() -> list[list[str]]:
            scores = trainer.trained().score([answer for row in ids for answer in row]).tolist()
            found = []
            for row in rows:
                scored = sorted(((scores.pop(0), answer[-1]["content"]) for answer in row["answers"]), reverse=True)
                told = "\n".join(f"{score:+.2f}  {text}" for score, text in scored)
                found.append([row["prompt"][-1]["content"], told])
            return found

        return watch

    def _save_beside(self, trainer: RankingTrainer, folder: Path) -> None:
        """The card; and proof that the files score as the model does, the head that others have lost among them."""
        self._check_saved(trainer, folder)
        job, held_out = self.context.job, trainer.held_out
        told = calibration.calibrate(held_out.margins)
        figures = held_out.figures() if held_out.rewards else {"reward_mean": 0.0, "reward_spread": 1.0}
        judge.write_card(
            folder,
            judge.Card(
                base=job.base,
                four_bit=self.settings["how"] == "qlora",
                mean=figures["reward_mean"],
                spread=figures["reward_spread"],
                pairs=told.pairs if told else 0,
                accuracy=told.accuracy if told else None,
                calibration_error=told.error if told else None,
                reliability=tuple((b.low, b.high, b.pairs, b.claimed, b.right) for b in told.bins) if told else (),
            ),
        )

    def _check_saved(self, trainer: RankingTrainer, folder: Path) -> None:
        trained = trainer.trained()
        if trained.adapter is None:
            return
        rows = trainer.eval_dataset if trainer.eval_dataset is not None else trainer.train_dataset
        probes = [ids for at in range(min(PROBES, len(rows))) for ids in rows[at]["ids"]][:PROBES]
        saved = attach(trained.model, folder, "saved")
        off = float((trained.score(probes) - saved.score(probes)).abs().max())
        trained.model.delete_adapter("saved")
        if not off <= PROBE_TOLERANCE:
            raise CheckpointError(
                f"The saved reward model scores otherwise than the trained one: by up to {off:.3g}.",
                "Nothing was published. Resume the run; if it happens again, report it with the run's worker.log.",
            )

    def tell(self) -> None:
        """What was learnt, in words."""
        told: Calibration | None = calibration.calibrate(self.trainer.held_out.margins) if self.trainer else None
        if told is not None:
            self.context.note(told.sentence)
            self.context.note(f"Calibration on held-out pairs: {told.table}.")


def run(context: RunContext) -> Metrics:
    """Trains the reward model of `context`, and returns the last step's metrics."""
    work = _Training(context)
    metrics = training.run(context, work.recipe())
    work.tell()
    return metrics
