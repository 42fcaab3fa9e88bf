"""GGUF exports of real (tiny) models: the same numbers and tokens in llama.cpp, and wrong files caught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.export_fixtures import Exporting, Limit, save_base, train_tokenizer
from workbench.errors import ExportError, MemoryFullError, VerificationError, WorkbenchError
from workbench.events import Exported, Step, Verified
from workbench.exports import answers, plan, task, verify
from workbench.exports.gguf import byte_level, quantising, vocabulary, writing
from workbench.exports.tensors import Merged, Weights
from workbench.paths import BUNDLED_BASE, RunPaths
from workbench.tokens import ChatTokens
from workbench.worker.context import StopRequested

pytestmark = pytest.mark.torch

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def write_gguf(path: Path, base: Path, quant: str = "f32") -> Path:
    """The base alone as an unquantised GGUF."""
    config = json.loads((base / "config.json").read_text())
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokens = writing.TokenFacts(tokenizer, {"bos": 1, "eos": 2, "pad": 0})
    writing.write(path, quant, Merged(Weights(base)), config, tokens, writing.Description("tiny"), lambda size: None)
    return path


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tie_word_embeddings": False, "attention_bias": True, "rope_parameters": LLAMA3_ROPE},
        {"num_key_value_heads": 4, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}},
        {"head_dim": 32, "mlp_bias": True},
    ],
    ids=["grouped heads, tied", "untied, biases, llama3 rope", "linear rope", "wide heads"],
)
def test_an_f32_gguf_gives_transformers_logits(tmp_path: Path, config: dict[str, Any]) -> None:
    """Over 90 tokens the log-probabilities of llama.cpp and transformers differ by less than 5e-4."""
    import numpy as np
    import torch

    base = save_base(tmp_path / "base", initializer_range=0.05, **config)
    path = write_gguf(tmp_path / "model.gguf", base)
    ids = torch.randint(6, 300, (90,), generator=torch.Generator().manual_seed(0)).tolist()

    with answers.whole(base, "cpu", torch.float32) as model:
        expected = answers.log_probs(model, ids[:1], ids[1:])
    with answers.LlamaCpp(path, 128) as llama:
        got = llama.log_probs(ids[:1], ids[1:])

    assert expected.shape == (89, json.loads((base / "config.json").read_text())["vocab_size"])
    assert expected.std() > 0.05
    assert np.abs(expected - got).max() < 5e-4


def _pre_tokenizer(name: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    rules = {"llama-bpe": byte_level.LLAMA3, "dbrx": byte_level.LLAMA3, "qwen2": byte_level.QWEN2}
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        return pre_tokenizers.Sequence(steps)
    split = pre_tokenizers.Split(Regex(rules[name]), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@pytest.mark.parametrize("name", sorted(byte_level.NAMES.values()))
def test_every_known_pre_tokenizer_cuts_as_llama_cpp_does(tmp_path: Path, name: str) -> None:
    """For each rule that we map to a name, all battery texts become the same tokens in both programs."""
    tokenizer = train_tokenizer(_pre_tokenizer(name), ignore_merges=name == "llama-bpe")
    base = save_base(tmp_path / "base", tokenizer=tokenizer)
    path = write_gguf(tmp_path / "model.gguf", base)
    tokens = ChatTokens(base)

    with answers.LlamaCpp(path, 64) as llama:
        different, first = verify.first_different_tokens(
            verify.TEXTS, lambda t: tokens.tokenizer.encode(t, add_special_tokens=False).ids, llama.tokenise, str
        )

    assert vocabulary.read(json.loads((base / "tokenizer.json").read_text()), 400).pre == name
    assert (different, first) == (0, None)


def test_a_run_becomes_a_verified_q8_with_its_modelfile(lora_run: RunPaths, exporting: Exporting) -> None:
    """Q8_0 is made from base and adapter, verified, delivered with Modelfile and card; the f16 on the way is gone."""
    summary = exporting.export("gguf", quants="Q8_0")

    folder = exporting.project / "exports" / "0001-sft"
    assert sorted(file.name for file in folder.iterdir()) == [
        "Modelfile",
        "README.md",
        "export.json",
        "model-Q8_0.gguf",
    ]
    assert summary["greedy_agreement_Q8_0"] >= 0.99
    assert 0 < summary["mean_kl_Q8_0"] < 1e-2
    assert summary["size_bytes_Q8_0"] == (folder / "model-Q8_0.gguf").stat().st_size
    checks = [check.check for check in exporting.of(Verified) if check.target == "Q8_0"]
    assert checks == [
        "tokens",
        "tokens with begin and end",
        "special tokens as text",
        "chat template",
        "answers",
        "stops",
    ]
    assert [event.target for event in exporting.of(Exported)] == ["Q8_0"]
    assert "FROM ./model-Q8_0.gguf" in (folder / "Modelfile").read_text()


def test_the_file_s_metadata_says_what_the_tokenizer_and_config_say(tmp_path: Path, export_base: Path) -> None:
    """Names, sizes, special tokens, flags and a template without training tags are in the file's header."""
    from gguf import GGUFReader

    fields = GGUFReader(write_gguf(tmp_path / "model.gguf", export_base, "f16")).fields
    said = {name: field.contents() for name, field in fields.items()}

    expected = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.context_length": 256,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {name: said.get(name) for name in expected} == expected
    assert said["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    assert said["tokenizer.ggml.token_type"][:6] == [vocabulary.CONTROL] * 6


@pytest.fixture
def asked(lora_run: RunPaths, exporting: Exporting) -> task.Task:
    """An export job whose merged model has answered, ready to judge files."""
    job = task.prepare(exporting.order("gguf", quants="f32"))
    job.checker.ask(answers.merged_in_memory(job.merged, job.checker.place))
    return job


def _tensor(path: Path, name: str) -> Any:
    """A tensor of a GGUF file, writable in place."""
    from gguf import GGUFReader

    return next(tensor.data for tensor in GGUFReader(path, "r+").tensors if tensor.name == name)


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("q not permuted", "blk.1.attn_q.weight"),
        ("one tensor zero", "blk.0.ffn_down.weight, by 100%"),
        ("adapter left out", "blk.0."),
    ],
)
def test_a_wrong_file_is_caught_and_the_first_wrong_token_and_layer_named(
    asked: task.Task, tmp_path: Path, export_base: Path, fault: str, where: str
) -> None:
    """A GGUF that loads and looks right, but holds wrong numbers, fails the check on answers, which names the layer."""
    job = asked
    right = Merged(job.merged.model, None if fault == "adapter left out" else job.merged.adapter)
    path = tmp_path / "model.gguf"
    tokens = writing.TokenFacts(job.tokenizer, {"bos": 1, "eos": 2}, job.tokens.template)
    writing.write(path, "f32", right, job.source.config, tokens, writing.Description("tiny"), lambda size: None)
    if fault == "q not permuted":
        data = _tensor(path, "blk.1.attn_q.weight")
        data[:] = data.reshape(4, 8, 2, 64).swapaxes(1, 2).reshape(64, 64).copy()
    elif fault == "one tensor zero":
        _tensor(path, "blk.0.ffn_down.weight")[:] = 0

    verdict = job.checker.check_gguf(path, "f32")

    assert not verdict.passed
    assert "first difference at answer" in str(verdict.error())
    assert f"The first weights that differ are {where}" in str(verdict.error())


def test_a_model_larger_than_memory_is_checked_layer_by_layer(
    lora_run: RunPaths, tmp_path: Path, exporting: Exporting
) -> None:
    """Without room for the model its checks read prompts only: a right file passes, one without the adapter fails."""
    import torch

    job = task.prepare(exporting.order("gguf", quants="f32"))
    job.checker.place = answers.Place("cpu", torch.float32, streamed=True)
    job.checker.ask(answers.merged_in_memory(job.merged, job.checker.place))
    tokens = writing.TokenFacts(job.tokenizer, {"bos": 1, "eos": 2}, job.tokens.template)
    verdicts = []
    for model in (job.merged, Merged(job.merged.model)):
        path = tmp_path / "model.gguf"
        writing.write(path, "f32", model, model.config, tokens, writing.Description("tiny"), lambda size: None)
        verdicts.append(job.checker.check_gguf(path, "f32"))

    assert job.checker.check_merge().passed
    assert [verdict.passed for verdict in verdicts] == [True, False]
    assert "stops" not in verdicts[0].figures


def test_a_wrong_vocabulary_is_caught_with_the_text_named(asked: task.Task, tmp_path: Path) -> None:
    """A file whose merges are not the tokenizer's fails the check on tokens, which names text and token."""
    job = asked
    path = tmp_path / "model.gguf"
    model = {**job.tokenizer["model"], "merges": job.tokenizer["model"]["merges"][:5]}
    tokens = writing.TokenFacts({**job.tokenizer, "model": model}, {"bos": 1, "eos": 2})
    writing.write(path, "f32", job.merged, job.source.config, tokens, writing.Description("tiny"), lambda size: None)

    verdict = job.checker.check_gguf(path, "f32")

    assert any("become other tokens (tokens); token" in failure for failure in verdict.failures)


def test_a_file_that_fails_its_marks_keeps_no_final_name(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A type below its mark is kept as .unverified, the others are delivered, and the job fails."""
    monkeypatch.setitem(verify.MARKS, "Q4_K_M", verify.Mark(1.0, 1e-12, "unreachable"))

    with pytest.raises(VerificationError, match=r"Q4_K_M export does not answer.*model-Q4_K_M\.gguf\.unverified"):
        exporting.export("gguf", quants="Q8_0,Q4_K_M")

    names = {file.name for file in (exporting.project / "exports" / "0001-sft").iterdir()}
    assert names == {"Modelfile", "README.md", "export.json", "model-Q8_0.gguf", "model-Q4_K_M.gguf.unverified"}


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    lora_run: RunPaths, exporting: Exporting, file_limit: Limit
) -> None:
    """When writing fails in the middle, the earlier file stands and no partial one is left."""
    exporting.export("gguf", quants="f16")
    folder = exporting.project / "exports" / "0001-sft"
    before = (folder / "model-f16.gguf").read_bytes()
    file_limit(60_000)

    with pytest.raises(WorkbenchError):
        exporting.export("gguf", quants="f16")

    assert (folder / "model-f16.gguf").read_bytes() == before
    assert not list(folder.glob("*.partial"))


def test_a_model_that_is_not_of_a_known_family_is_refused(
    lora_run: RunPaths, tmp_path: Path, exporting: Exporting
) -> None:
    """A base of another architecture is refused by name before anything is written."""
    base = save_base(tmp_path / "odd")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "architectures": ["OddForCausalLM"]}))

    with pytest.raises(ExportError, match="OddForCausalLM"):
        exporting.export("gguf", parent=None, base=save_reference(base), quants="f16")


def save_reference(base: Path) -> Any:
    from workbench.job import BaseRef

    return BaseRef(str(base), base.name)


def test_too_little_memory_is_told_with_numbers() -> None:
    """Needed and free memory are in the sentence."""
    with pytest.raises(MemoryFullError, match=r"needs about 32 GB of memory; 8\.0 GB are free"):
        plan.check_memory(32 * 10**9, 8 * 10**9, "Checking the export")


def test_the_bundled_base_reaches_its_marks_in_every_type(tmp_path: Path, exporting: Exporting) -> None:
    """The bundled base as it is: exact types agree on every token, Q8_0 on 99 %, 4 and 2 bits by their marks."""
    from workbench.job import BaseRef

    summary = exporting.export(
        "gguf", parent=None, base=BaseRef("bundled", "bundled"), quants="f16,bf16,Q8_0,Q4_K_M,IQ2_XXS"
    )

    assert ChatTokens(BUNDLED_BASE).has_own_template
    assert summary["greedy_agreement_f16"] == 1.0
    assert summary["mean_kl_f16"] < 1e-5
    assert summary["greedy_agreement_Q8_0"] >= 0.99
    sizes = [summary[f"size_bytes_{name}"] for name in ("IQ2_XXS", "Q4_K_M", "Q8_0", "bf16")]
    assert sizes == sorted(sizes)
    assert [step.metrics["bytes"] for step in exporting.of(Step)][-1] == exporting.of(Step)[-1].metrics["bytes_total"]


def test_a_type_that_cannot_be_made_is_a_sentence_and_a_stop_ends_the_child(tmp_path: Path, export_base: Path) -> None:
    """llama.cpp's refusal names the type; what is raised while it works ends its process and comes through."""
    source = write_gguf(tmp_path / "source.gguf", export_base, "f16")

    cut = tmp_path / "cut.gguf"
    cut.write_bytes(source.read_bytes()[:50_000])

    with pytest.raises(ExportError, match=r"could not make it: no Q4_K_M of this model"):
        quantising.in_child(cut, tmp_path / "target.gguf", "Q4_K_M")

    def stop(size: int) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        quantising.in_child(source, tmp_path / "target.gguf", "Q8_0", on_bytes=stop)
