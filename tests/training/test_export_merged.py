"""Merged exports of real (tiny) models: exact, sharded as the base, verified, and never half there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.export_fixtures import Exporting, Limit, make_run, reference, save_base, train_tokenizer
from workbench.errors import BaseModelError, DiskFullError, ExportError, InputError, VerificationError
from workbench.events import Exported, Step, Verified
from workbench.exports import answers, merged, task
from workbench.paths import RunPaths

pytestmark = pytest.mark.torch


def test_a_merge_is_peft_s_in_files_divided_as_the_base_s(tmp_path: Path, exporting: Exporting) -> None:
    """Each tensor equals merge_and_unload's; shards and index are the base's; nothing of the training comes along."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = save_base(tmp_path / "sharded", shard="100KB")
    run = make_run(tmp_path / "project", base)

    summary = exporting.export("merged")

    folder = tmp_path / "project" / "exports" / "0001-sft" / "merged"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run.model).merge_and_unload()
    expected = model.state_dict()
    for name, tensor in AutoModelForCausalLM.from_pretrained(folder).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-6)
    shards = {file.name for file in base.glob("*.safetensors*")}
    named = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert len(shards) > 2
    assert {file.name for file in folder.iterdir()} == shards | named
    assert summary["greedy_agreement_merged"] == 1.0
    assert summary["mean_kl_merged"] == pytest.approx(0.0, abs=1e-8)


def test_a_bfloat16_base_is_merged_in_float32_and_rounded_once(tmp_path: Path, exporting: Exporting) -> None:
    """The written tensor is cast(W + scale·BA) with the sum in float32, and the export reaches its mark."""
    import torch
    from safetensors.torch import load_file

    base = save_base(tmp_path / "half", dtype="bfloat16", learnt=True)
    run = make_run(tmp_path / "project", base)

    exporting.export("merged")

    name = "model.layers.1.mlp.down_proj"
    adapter = load_file(run.model / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.{name}.lora_{letter}.weight"] for letter in "AB")
    weight = load_file(base / "model.safetensors")[f"{name}.weight"]
    expected = (weight.float() + 8 / 4 * (b @ a)).to(torch.bfloat16)
    folder = tmp_path / "project" / "exports" / "0001-sft" / "merged"
    assert torch.equal(load_file(folder / "model.safetensors")[f"{name}.weight"], expected)
    assert all(check.passed for check in exporting.of(Verified))


def test_a_base_with_gpt_2_s_names_is_merged(tmp_path: Path, exporting: Exporting) -> None:
    """Its config.json says n_positions for its context, and its layers lie transposed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = train_tokenizer()
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, **sizes))
    model.save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    make_run(tmp_path / "project", tmp_path / "gpt2")

    assert exporting.export("merged")["mean_kl_merged"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("own", "asked"), [(2, 8), (8, 8), (9, 9), (16, 16)])
def test_general_prompts_are_asked_where_a_project_has_few(
    lora_run: RunPaths, exporting: Exporting, own: int, asked: int
) -> None:
    """Two prompts are filled up to eight; nine need none beside them."""
    job = task.prepare(exporting.order("merged"))
    row = json.dumps({"prompt": [{"role": "user", "content": "Where is the fox?"}]})
    (job.context.paths.data / "check.jsonl").write_text(f"{row}\n" * own)

    assert len(job.checker.prompts) == asked


def test_a_qlora_run_also_tells_what_its_four_bits_changed(
    tmp_path: Path, export_base: Path, exporting: Exporting
) -> None:
    """The merge is judged on the unquantised base; the distance to the NF4 model is reported for information."""
    make_run(tmp_path / "project", export_base, how="qlora")

    exporting.export("merged")

    checks = {check.check: check for check in exporting.of(Verified)}
    assert checks["answers"].figures["mean_kl"] < 1e-7
    assert checks["as trained on 4 bits"].figures["mean_kl"] > 1e-6


def test_whole_weights_are_copied_without_the_run_s_leftovers(
    tmp_path: Path, export_base: Path, exporting: Exporting
) -> None:
    """A run that tuned all weights is exported bit for bit, without manifest, pickles or a switched-off cache."""
    run = make_run(tmp_path / "project", export_base, how="full")
    for file in run.model.glob("adapter*"):
        file.unlink()
    whole = save_base(tmp_path / "tuned", initializer_range=0.3)
    for file in whole.iterdir():
        file.rename(run.model / file.name)
    config = json.loads((run.model / "config.json").read_text())
    (run.model / "config.json").write_text(json.dumps({**config, "use_cache": False, "_name_or_path": str(whole)}))
    (run.model / "MANIFEST.json").write_text(json.dumps({"facts": {}, "files": {}}))

    exporting.export("merged")

    folder = tmp_path / "project" / "exports" / "0001-sft" / "merged"
    exported = json.loads((folder / "config.json").read_text())
    assert (folder / "model.safetensors").read_bytes()[-1000:] == (run.model / "model.safetensors").read_bytes()[-1000:]
    assert exported["use_cache"] is True
    assert "_name_or_path" not in exported
    assert not {"MANIFEST.json", "training_args.bin"} & {file.name for file in folder.iterdir()}


def test_what_is_written_about_an_export_holds_no_path(lora_run: RunPaths, exporting: Exporting) -> None:
    """export.json and the model card have lineage, hashes and figures, and no folder of this machine."""
    exporting.export("merged")

    folder = exporting.project / "exports" / "0001-sft"
    record = json.loads((folder / "export.json").read_text())
    texts = (folder / "export.json").read_text() + (folder / "README.md").read_text()
    part = record["parts"]["merged"]
    assert (record["run"], record["base"]["name"], part["verified"]) == ("0001", "tiny", True)
    assert len(record["template_sha256"]) == len(part["files"]["model.safetensors"]["sha256"]) == 64
    assert str(exporting.project.parent) not in texts
    assert [event.target for event in exporting.of(Exported)] == ["merged"]
    assert exporting.of(Step)[-1].metrics["bytes"] == exporting.of(Step)[-1].metrics["bytes_total"]


def test_a_merge_that_lost_the_adapter_fails_its_check(lora_run: RunPaths, exporting: Exporting) -> None:
    """If the merged folder holds the bare base, the check against the trained adapter says so, and where first."""
    job = task.prepare(exporting.order("merged"))
    partial = job.delivery.partial("merged")
    job.merged.adapter = None  # what a broken merge amounts to
    merged.write(job, partial)
    checker = job.checker
    checker.ask(answers.written(job.merged, partial, checker.place))

    verdict = checker.check_merge()

    with pytest.raises(VerificationError, match=r"first difference at answer \d+, token \d+.*expected .* got"):
        merged.deliver(job, verdict, 1)
    assert not (job.delivery.root / "merged").exists()
    assert (job.delivery.root / "merged.unverified").is_dir()


def test_a_full_disk_leaves_the_old_export_alone(lora_run: RunPaths, exporting: Exporting, file_limit: Limit) -> None:
    """When the disk fills up in the middle, the earlier export still stands and nothing half done is left."""
    exporting.export("merged")
    folder = exporting.project / "exports" / "0001-sft"
    before = (folder / "merged" / "model.safetensors").read_bytes()
    file_limit(100_000)

    with pytest.raises(DiskFullError, match="filled up"):
        exporting.export("merged")

    assert (folder / "merged" / "model.safetensors").read_bytes() == before
    assert not list(folder.glob("*.partial"))


def test_another_base_under_the_same_name_is_refused(tmp_path: Path, exporting: Exporting) -> None:
    """A base whose files have changed since the run is not merged into."""
    base = save_base(tmp_path / "changing")
    make_run(tmp_path / "project", base)
    save_base(base, initializer_range=0.1)

    with pytest.raises(BaseModelError, match="files have changed"):
        exporting.export("merged")


def test_a_cut_shard_is_named(lora_run: RunPaths, tmp_path: Path, exporting: Exporting) -> None:
    """Whole weights whose file ends too early are refused by name, and nothing is written."""
    base = save_base(tmp_path / "cut")
    order = reference(base)
    file = base / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])

    with pytest.raises(BaseModelError, match=r"cut short|cannot be used"):
        exporting.export("merged", parent=None, base=order)
    assert not (exporting.project / "exports").exists()


def test_an_adapter_that_diverged_is_refused_with_its_tensor(lora_run: RunPaths, exporting: Exporting) -> None:
    """A NaN in the adapter would be a NaN in the model: the export names the tensor and leaves nothing."""
    import torch
    from safetensors.torch import load_file, save_file

    path = lora_run.model / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "layers.1.self_attn.v_proj.lora_B" in name)
    tensors[name][0, 0] = torch.nan
    save_file(tensors, path)

    with pytest.raises(ExportError, match=r"layers\.1\.self_attn\.v_proj.*not all finite"):
        exporting.export("merged")
    assert not (exporting.project / "exports" / "0001-sft").exists()


def test_a_damaged_tokenizer_is_a_sentence(lora_run: RunPaths, exporting: Exporting) -> None:
    """A tokenizer.json with a merge of unknown tokens is refused before anything is written."""
    path = lora_run.model / "tokenizer.json"
    row = json.loads(path.read_text())
    row["model"]["merges"].insert(0, ["nosuch", "token"])
    path.write_text(json.dumps(row))

    with pytest.raises(ExportError, match=r"tokenizer of 0001-sft is damaged.*'nosuch'"):
        exporting.export("merged")


def test_a_folder_with_other_files_is_not_written_into(
    lora_run: RunPaths, tmp_path: Path, exporting: Exporting
) -> None:
    """A chosen folder that holds a person's files is refused, so that no README of theirs is overwritten."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")

    with pytest.raises(InputError, match="holds other files"):
        exporting.export("merged", out=str(tmp_path / "mine"))
