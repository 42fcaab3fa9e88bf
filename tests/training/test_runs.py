"""Training runs as the worker does them: events, stopping, resuming, ways to tune, starting points."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import MakeRun, Recorder, Rows, said
from workbench.errors import MemoryFullError, RunError, StartingPointError
from workbench.events import Evaluated, Note, Phase, Planned, Saved, Started, Step, Watched
from workbench.methods.dpo import check_starting_point
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch


def weights_hash(folder: Path) -> str:
    """SHA-256 of a folder's weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def test_a_run_reports_every_step_and_measures_at_start_middle_and_end(make_run: MakeRun) -> None:
    """Each optimiser step is an event; held-out rows and watched prompts are looked at at 0, every 2, and the end."""
    run = make_run().train()

    assert [event.step for event in run.of(Step)] == [1, 2, 3, 4]
    assert [event.step for event in run.of(Evaluated)] == [0, 2, 4]
    assert [event.step for event in run.of(Watched)] == [0, 2, 4]
    assert [(event.step, event.final) for event in run.of(Saved)] == [(2, False), (4, True)]
    assert run.of(Planned)[0].total_steps == 4
    assert run.of(Planned)[0].examples == 24
    assert (run.of(Started)[0].device, run.of(Started)[0].dtype) == ("cpu", "float32")
    step = run.of(Step)[-1]
    assert {"loss", "learning_rate", "grad_norm", "mean_token_accuracy", "entropy", "tokens_per_second"} == set(
        step.metrics
    )
    assert step.seconds > 0
    assert step.tokens > 0


def test_what_a_run_leaves_behind_holds_no_path_and_no_pickled_arguments(make_run: MakeRun, tmp_path: Path) -> None:
    """The model folder has weights, tokenizer and template, and nothing that names this machine's folders."""
    run = make_run().train()

    names = {file.name for file in run.paths.model.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not list(run.paths.root.rglob("training_args.bin"))
    assert not list(run.paths.root.rglob("README.md"))
    config = json.loads((run.paths.model / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == run.job.base.path
    for file in (*run.paths.model.glob("*.json"), *run.paths.checkpoints.rglob("trainer_state.json")):
        assert str(run.paths.root) not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("action", "how"), [("sft", "qlora"), ("dpo", "qlora"), ("dpo", "full")])
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    make_run: MakeRun, action: str, how: str
) -> None:
    """Stopping at step 3 of 6 and going on gives the same losses, gradients and weights as never stopping."""
    whole = make_run(action, "0001", how=how, max_steps=6).train()
    stopped = make_run(action, "0002", how=how, max_steps=6, stop_at=3)

    with pytest.raises(StopRequested):
        stopped.train()
    assert stopped.of(Saved)[-1].step == 3
    resumed = stopped.again().train()

    assert resumed.of(Started)[0].resumed_from == 3
    assert [event.step for event in resumed.of(Step)] == [4, 5, 6]
    for name in ("loss", "grad_norm", "learning_rate"):
        both = {**stopped.metric(name), **resumed.metric(name)}
        assert whole.metric(name) == both
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_resuming_goes_on_from_the_newest_whole_checkpoint(make_run: MakeRun) -> None:
    """A checkpoint with one changed byte is skipped with a note, and the older one gives the same end."""
    whole = make_run("sft", "0001", how="lora", max_steps=6).train()
    run = make_run("sft", "0002", how="lora", max_steps=6, stop_at=4)
    with pytest.raises(StopRequested):
        run.train()
    damaged = run.paths.checkpoint(4) / "optimizer.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    resumed = run.again().train()

    assert resumed.of(Started)[0].resumed_from == 2
    assert any("step-000004" in note.text for note in resumed.of(Note))
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_a_finished_run_is_not_trained_again(make_run: MakeRun) -> None:
    """Resuming a run whose model is published touches no weight and says so."""
    run = make_run(max_steps=2).train()
    before = weights_hash(run.paths.model)

    again = run.again().train()

    assert not again.of(Step)
    assert "nothing left to train" in again.of(Note)[0].text
    assert before == weights_hash(run.paths.model)


def test_measuring_does_not_change_what_is_learnt(make_run: MakeRun) -> None:
    """bitsandbytes repacks NF4 weights at an evaluation on some CPUs, after which gradients would be wrong."""
    silent = make_run("sft", "0001", how="qlora", eval_every=0, watch_every=0, rows=None).train()
    measured = make_run("sft", "0002", how="qlora").train()

    assert silent.metric("grad_norm") == measured.metric("grad_norm")
    assert weights_hash(silent.paths.model) == weights_hash(measured.paths.model)


def test_a_quantised_base_never_takes_the_layout_without_gradients(tiny_base: Path) -> None:
    """Every 4-bit layer has bitsandbytes' repacking for AVX512-BF16 switched off, whatever this CPU has."""
    import torch
    from bitsandbytes.nn import Linear4bit

    from workbench.worker.model import load_weights

    model = load_weights(tiny_base, torch.float32, four_bit=True)
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]

    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def test_adapters_are_trained_in_fp32_on_a_quantised_base(make_run: MakeRun) -> None:
    """TRL casts them to bf16, which is slow on a CPU and loses small updates: the saved weights are fp32."""
    import torch

    run = make_run(how="qlora", max_steps=2).train()

    assert {torch.float32} == {value.dtype for value in tensors(run.paths.model).values()}
    # bf16 keeps 8 bits of the mantissa: weights that had been rounded would come back unchanged from a cast
    values = tensors(run.paths.model)
    assert any(not torch.equal(value, value.bfloat16().float()) for value in values.values())


def test_last_layers_tunes_the_last_block_norm_and_head_only(make_run: MakeRun, tiny_base: Path) -> None:
    """With last_layers=1 of two blocks, the embeddings and block 0 stay bitwise, block 1, norm and head move."""
    import torch

    run = make_run(how="last_layers", last_layers=1).train()
    before, after = tensors(tiny_base), tensors(run.paths.model)

    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(n.startswith(("model.layers.1.", "model.norm", "lm_head")) for n in moved)
    assert {"model.norm.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"} <= moved


@pytest.mark.parametrize(("family", "norm"), [("GPT2", "transformer.ln_f"), ("GPTNeoX", "gpt_neox.final_layer_norm")])
def test_the_final_norm_is_found_whatever_it_is_called(family: str, norm: str) -> None:
    """GPT-2's and Pythia's last norms are tuned with the last blocks, like Llama's."""
    import transformers

    from workbench.worker import model as models

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = getattr(transformers, f"{family}Config")(vocab_size=32, **sizes)
    made = getattr(transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}")(config)
    models.unfreeze(made, 1)

    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert {f"{norm}.weight", f"{norm}.bias"} <= trained
    assert any(".1." in name for name in trained)
    assert not any(".0." in name for name in trained)


def test_full_tunes_every_weight(make_run: MakeRun, tiny_base: Path) -> None:
    """All parameters are trained, and the model folder can be loaded without the base."""
    from transformers import AutoModelForCausalLM

    run = make_run(how="full").train()

    planned = run.of(Planned)[0]
    assert planned.trainable_parameters == planned.total_parameters
    assert AutoModelForCausalLM.from_pretrained(run.paths.model).config.hidden_size == 64


def test_a_head_that_is_too_many_layers_is_a_sentence(make_run: MakeRun) -> None:
    """Asking for more blocks than there are names the number there is."""
    from workbench.errors import SettingError

    with pytest.raises(SettingError, match="2 blocks"):
        make_run(how="last_layers", last_layers=9).train()


@pytest.mark.parametrize("how", ["qlora", "full"])
def test_the_first_dpo_loss_is_ln_2_from_the_base(make_run: MakeRun, how: str) -> None:
    """Model and reference are the same at step 0, so every log-ratio is 0 and -log sigmoid(0) = ln 2 = 0.6931."""
    run = make_run("dpo", how=how, max_steps=2).train()

    assert run.of(Evaluated)[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert run.metric("loss")[1] == pytest.approx(math.log(2), abs=1e-6)
    assert run.of(Evaluated)[-1].metrics["loss"] < math.log(2)
    assert {"reward_margin", "reward_accuracy", "chosen_logp", "rejected_logp"} <= set(run.of(Step)[0].metrics)


@pytest.mark.parametrize(("how", "precompute"), [("qlora", False), ("lora", True)])
def test_dpo_from_a_run_takes_that_run_as_its_reference(make_run: MakeRun, how: str, precompute: bool) -> None:
    """The reference is the starting adapter, not the base: ln 2 at step 0, and one adapter on the base afterwards."""
    parent = make_run("sft", "0001", how=how, learning_rate=0.02).train()
    child = make_run("dpo", "0002", how=how, parent=parent, max_steps=2, precompute_reference=precompute).train()

    assert child.of(Evaluated)[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert set(tensors(parent.paths.model)) == set(tensors(child.paths.model))
    assert not (child.paths.model / "ref").exists()
    assert weights_hash(parent.paths.model) != weights_hash(child.paths.model)


def test_a_resumed_child_keeps_its_starting_adapter_as_the_reference(make_run: MakeRun) -> None:
    """Resuming DPO that began from an adapter rebuilds the reference from `start`, not from the checkpoint."""
    parent = make_run("sft", "0001", how="lora").train()
    whole = make_run("dpo", "0002", how="lora", parent=parent).train()
    stopped = make_run("dpo", "0003", how="lora", parent=parent, stop_at=3)
    with pytest.raises(StopRequested):
        stopped.train()
    resumed = stopped.again().train()

    assert whole.metric("loss")[4] == resumed.metric("loss")[4]
    assert weights_hash(whole.paths.model) == weights_hash(resumed.paths.model)


def test_a_run_from_whole_weights_starts_from_them(make_run: MakeRun) -> None:
    """A child of a full fine-tune begins with the parent's weights: its first held-out loss is the parent's last."""
    parent = make_run("sft", "0001", how="full", learning_rate=1e-2).train()
    child = make_run("sft", "0002", how="lora", parent=parent, max_steps=2).train()
    grandchild = make_run("dpo", "0003", how="lora", parent=child, max_steps=2).train()

    assert child.of(Evaluated)[0].metrics["loss"] == pytest.approx(parent.of(Evaluated)[-1].metrics["loss"], abs=1e-5)
    assert grandchild.of(Evaluated)[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_a_wrong_reference_ends_the_run_before_its_first_step(make_run: MakeRun) -> None:
    """If the adapter is not what the reference is a copy of, the run fails in a sentence and has trained nothing."""
    import torch

    from workbench.worker import data, starting_point, training
    from workbench.worker.trainers import PreferenceTrainer

    parent = make_run("sft", "0001", how="lora").train()
    child = make_run("dpo", "0002", how="lora", parent=parent)

    def build(start: Any, arguments: dict[str, Any], rows: Any, held_out: Any) -> Any:
        from trl import DPOConfig

        trainer = PreferenceTrainer(
            model=start.model,
            processing_class=start.tokenizer,
            train_dataset=rows,
            args=DPOConfig(**arguments, max_length=None),
        )
        start.adapter = {name: torch.randn_like(value) for name, value in start.adapter.items()}
        return trainer

    def check(trainer: Any) -> None:
        check_starting_point(starting_point.first_loss(trainer), "sigmoid", 0.1)

    with pytest.raises(StartingPointError, match="the first loss is"):
        training.run(child, training.Recipe(build, data.dpo_row, check))
    assert not child.of(Step)


def test_too_little_memory_halves_the_micro_batch_and_keeps_the_batch(make_run: MakeRun) -> None:
    """An out-of-memory with 4 rows at once goes on with 2 × 2 accumulations: as many rows a step, one note."""
    from workbench.worker.arguments import Batch

    run = make_run(how="lora", micro_batch=4, accumulation=1, max_steps=2)
    tried = _train_with_memory_for(run, rows=2)

    assert tried == [Batch(4, 1), Batch(2, 2)]
    assert [event.step for event in run.of(Step)] == [1, 2]
    assert any("a step still sees 4 rows" in note.text for note in run.of(Note))


def test_a_run_that_never_fits_gives_up_after_four_attempts(make_run: MakeRun) -> None:
    """Memory for no row at all ends in one sentence after micro-batches 16, 8, 4, 2, not in a loop."""
    run = make_run(how="lora", micro_batch=16, accumulation=1, max_steps=2)

    with pytest.raises(MemoryFullError, match="does not fit"):
        _train_with_memory_for(run, rows=0)
    assert [int(n.text.split("Trying ")[1].split(",")[0]) for n in run.of(Note)] == [8, 4, 2, 1]


def _train_with_memory_for(run: Recorder, rows: int) -> list[Any]:
    """Trains on a machine that holds so many rows at once; the batches that were tried."""
    import torch

    from workbench.worker import data, training
    from workbench.worker.arguments import Batch
    from workbench.worker.trainers import SupervisedTrainer

    tried = []

    class Small(SupervisedTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if self.args.per_device_train_batch_size > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().training_step(*args, **kwargs)

    def build(start: Any, arguments: dict[str, Any], train: Any, held_out: Any) -> Any:
        from trl import SFTConfig

        tried.append(Batch(arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]))
        kwargs = {"skip_prepare_dataset": True}
        return Small(
            model=start.model,
            peft_config=start.peft_config,
            processing_class=start.tokenizer,
            train_dataset=train,
            args=SFTConfig(**arguments, dataset_kwargs=kwargs, max_length=None),
        )

    training.run(run, training.Recipe(build, data.sft_row))
    return tried


def test_rows_that_lose_their_answer_are_left_out_and_counted(make_run: MakeRun, demonstrations: Rows) -> None:
    """A prompt that fills the row is dropped with a note; nothing but such rows is a failure with a hint."""
    long = {"prompt": said("user", "word " * 100), "completion": said("assistant", "yes")}
    run = make_run("sft", "0001", how="lora", rows=[*demonstrations[:4], long], max_length=40, max_steps=1).train()

    assert run.of(Planned)[0].examples == 4
    assert any("1 rows lose their whole answer" in note.text for note in run.of(Note))
    with pytest.raises(RunError, match="no row to train on"):
        make_run("sft", "0002", how="lora", rows=[long], max_length=40).train()


def test_a_loss_that_is_no_number_is_never_saved_and_ends_the_run(make_run: MakeRun) -> None:
    """NaN weights make every loss NaN: events carry null, no checkpoint follows, the third such step ends it."""
    from workbench.worker import data, training
    from workbench.worker.trainers import SupervisedTrainer

    class Breaking(SupervisedTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            return loss * float("nan") if self.model.training and self.state.global_step >= 2 else loss

    def build(start: Any, arguments: dict[str, Any], train: Any, held_out: Any) -> Any:
        from trl import SFTConfig

        return Breaking(
            model=start.model,
            peft_config=start.peft_config,
            processing_class=start.tokenizer,
            train_dataset=train,
            args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None),
        )

    run = make_run(how="lora", max_steps=9, save_every=1)
    with pytest.raises(RunError, match="diverged"):
        training.run(run, training.Recipe(build, data.sft_row))

    assert [event.step for event in run.of(Saved)] == [1, 2]
    assert list(run.metric("loss")) == [1, 2, 3, 4, 5]
    assert run.metric("loss")[3] is None
    assert not run.paths.model.exists()


def test_a_run_that_is_asked_to_stop_while_loading_stops_before_training(make_run: MakeRun) -> None:
    """A stop before the first step ends as Stopped with nothing trained."""
    run = make_run(stop_at=0)

    with pytest.raises(StopRequested):
        run.train()
    assert "loading the base" in [phase.name for phase in run.of(Phase)]
    assert not run.of(Step)


def test_another_base_under_the_same_name_is_refused(make_run: MakeRun) -> None:
    """A job that names a fingerprint does not run on a base with another one."""
    from workbench.errors import BaseModelError

    run = make_run()
    run.job = dataclasses.replace(run.job, base=dataclasses.replace(run.job.base, fingerprint="0" * 64))

    with pytest.raises(BaseModelError, match="not the one this run was ordered with"):
        run.train()
