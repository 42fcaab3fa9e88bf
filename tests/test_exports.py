"""The parts of an export that need no torch: what can be exported, plans, marks, folders, adapters."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import exports
from workbench.errors import DiskFullError, ExportError, SettingError
from workbench.exports import plan, template, verify
from workbench.exports.adapter import Adapter
from workbench.exports.portable import portable
from workbench.exports.tensors import Weights
from workbench.exports.verify import Difference, Figures, Mark


def test_the_folder_is_the_list() -> None:
    """Every file with an EXPORT is a target, and the screen gets its fields from there."""
    assert [target.name for target in exports.all_exports()] == ["gguf", "gguf-lora", "merged", "ollama"]
    assert [field.name for field in exports.get("gguf").fields] == ["quants", "out", "base16", "adapter"]


def test_quants_are_parsed_in_any_case_and_order() -> None:
    """Types are taken in any case and given by falling size; a wrong one gets the nearest name."""
    assert plan.parse_quants("q4_k_m, F16,Q8_0") == ["f16", "Q8_0", "Q4_K_M"]
    with pytest.raises(SettingError, match=r"Q4_KS.*Did you mean Q4_K_S"):
        plan.parse_quants("Q4_KS")


def test_too_little_room_is_told_with_numbers_before_anything_is_written(tmp_path: Path) -> None:
    """An export larger than the disk is refused with needed and free bytes; the intermediate file counts."""
    needed = plan.gguf_bytes(10**15, ["Q8_0"])

    assert needed.passing == {"f16": 2 * 10**15}
    with pytest.raises(DiskFullError, match=r"3062500 GB in all.* GB free"):
        needed.check(tmp_path / "not" / "there")
    assert list(tmp_path.iterdir()) == []


def test_kl_is_what_one_works_out_by_hand() -> None:
    """p = (½, ½), q = (¼, ¾): KL = ½ ln 2 + ½ ln ⅔ = 0.1438; a token that p excludes adds nothing."""
    p = np.log(np.array([[0.5, 0.5], [1.0, 1e-300]]))
    q = np.log(np.array([[0.25, 0.75], [1.0, 0.5]]))
    p[1, 1] = -np.inf

    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)

    assert verify.kl(p, q) == pytest.approx([expected, 0.0])


def _describe(n: int, at: int, expected: int, got: int) -> Difference:
    return Difference(f"answer {n}, token {at}", str(expected), str(got))


def test_agreement_is_the_share_of_equal_choices_and_the_first_difference_is_named() -> None:
    """Three positions, one with another likeliest token: two thirds agree, and that one is described."""
    reference = [np.log(np.array([[0.9, 0.1], [0.8, 0.2]])), np.log(np.array([[0.6, 0.4]]))]
    other = [np.log(np.array([[0.9, 0.1], [0.3, 0.7]])), np.log(np.array([[0.6, 0.4]]))]

    figures = verify.compare(reference, other, _describe)

    assert figures.agreement == pytest.approx(2 / 3)
    assert str(figures.first) == "answer 0, token 1: expected 0, got 1"


def test_a_toss_up_is_no_difference() -> None:
    """Where the reference prefers its token by 0.04 nats another choice counts as a near-tie; by ln 4 it does not."""
    even, sure = np.log(np.array([[0.51, 0.49]])), np.log(np.array([[0.8, 0.2]]))
    turned = np.log(np.array([[0.49, 0.51]]))

    figures = verify.compare([even, sure], [turned, turned], _describe)

    assert (figures.agreement, figures.near_ties) == (0.0, 1)


def test_a_model_of_nans_passes_no_mark() -> None:
    """Logits that are not numbers have an arbitrary argmax, so their KL counts as infinite."""
    figures = verify.compare([np.log(np.array([[0.9, 0.1]]))], [np.full((1, 2), np.nan)], _describe)

    assert not figures.passes(Mark(0.0, 1e9, ""))


@pytest.mark.parametrize(("different", "passed"), [(0, True), (1, True), (2, False)])
def test_one_token_may_tie_by_chance(different: int, passed: bool) -> None:
    """Of 50 tokens a mark of 99.9 % would allow none; one is allowed, two are not."""
    assert Figures(50, 1 - different / 50, 0.0).passes(Mark(0.999, 1e-4, "")) is passed


def test_no_positions_pass_nothing() -> None:
    """A check that compared nothing has proved nothing."""
    assert not Figures(0, 0.0, 0.0).passes(Mark(0.0, 1.0, ""))


def test_every_type_has_a_mark() -> None:
    """Nothing can be written that has no mark to reach, and fewer bits never have a stricter one."""
    marks = [verify.MARKS[name] for name in plan.BITS]

    assert [m.agreement for m in marks] == sorted((m.agreement for m in marks), reverse=True)
    assert [m.mean_kl for m in marks] == sorted(m.mean_kl for m in marks)


def test_generation_marks_become_something_every_jinja_reads() -> None:
    """The tags that mark the trained part turn into an `if true` with the same whitespace control."""
    source = "a {%- generation -%} b {% endgeneration +%} c"

    assert template.for_inference(source) == "a {%- if true -%} b {% endif +%} c"


def write_adapter(folder: Path, tensors: dict[str, tuple[int, ...]], **config: Any) -> Path:
    """An adapter of zeros on disk."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    arrays = {f"base_model.model.{name}": np.zeros(shape, dtype=np.float32) for name, shape in tensors.items()}
    save_file(arrays, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 16, **config}))
    return folder


Q = "model.layers.0.self_attn.q_proj"
LORA = {f"{Q}.lora_A.weight": (4, 64), f"{Q}.lora_B.weight": (64, 4)}


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"use_qalora": True}, "QA-LoRA"),
        ({"use_dora": True}, "magnitudes"),
        ({"r": 8}, "has rank 4, and its settings say 8"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"peft_type": "PREFIX_TUNING"}, "soft prompt"),
        ({"trainable_token_indices": [1, 2]}, "single trained tokens"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_an_adapter_that_a_merge_would_get_wrong_is_refused(tmp_path: Path, config: dict[str, Any], word: str) -> None:
    """Every variant of LoRA that we cannot merge exactly is refused by name."""
    with pytest.raises(ExportError, match=word):
        Adapter(write_adapter(tmp_path / "a", LORA, **config))


def test_half_an_adapter_is_refused(tmp_path: Path) -> None:
    """A matrix without its other half is named."""
    with pytest.raises(ExportError, match=r"other half of .*q_proj"):
        Adapter(write_adapter(tmp_path / "a", {f"{Q}.lora_A.weight": (4, 64)}))


def test_a_cut_adapter_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """An adapter file that ends too early is called damaged, with what to do."""
    folder = write_adapter(tmp_path / "a", LORA)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(ExportError, match=r"cut short.*checkpoint"):
        Adapter(folder)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    """Shapes that do not fit name the tensor, what the adapter changes and what the base has."""
    adapter = Adapter(write_adapter(tmp_path / "a", LORA))

    with pytest.raises(ExportError, match=r"another base.*q_proj.weight as \[64, 64\], and the base has \[32, 32\]"):
        adapter.check_fits({f"{Q}.weight": (32, 32)})
    adapter.check_fits({f"{Q}.weight": (64, 64)})


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 4.0),
        ({"use_rslora": True}, 8.0),
        ({"alpha_pattern": {"q_proj": 8}}, 2.0),
        ({"alpha_pattern": {"k_proj": 8}}, 4.0),
    ],
)
def test_the_scale_of_an_adapter_is_peft_s(tmp_path: Path, config: dict[str, Any], scale: float) -> None:
    """alpha 16 at rank 4 scales by 4; rank-stabilised by 16 / √4 = 8; a pattern changes alpha for its layers only."""
    assert Adapter(write_adapter(tmp_path / "a", LORA, **config)).scale(f"{Q}.weight") == scale


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """An index that names a file which is not there is a half-finished download, and says which file."""
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-1.safetensors").write_bytes(b"")

    with pytest.raises(ExportError, match=r"lacks the weight file model-2.safetensors \(1 of 2"):
        Weights(tmp_path)


def test_a_shard_of_the_hub_s_cache_whose_bytes_changed_is_named(tmp_path: Path) -> None:
    """The cache names a file by its SHA-256: one flipped bit in a tensor is found before anything is merged."""
    from safetensors.numpy import save_file

    save_file({"w": np.ones((4, 4), dtype=np.float32)}, tmp_path / "first")
    data = bytearray((tmp_path / "first").read_bytes())
    blob = tmp_path / hashlib.sha256(data).hexdigest()
    (tmp_path / "model.safetensors").symlink_to(blob)
    blob.write_bytes(data)
    Weights(tmp_path).check_content(lambda size: None)
    data[-3] ^= 1
    blob.write_bytes(data)

    with pytest.raises(ExportError, match=r"model\.safetensors is damaged: its content is not what was downloaded"):
        Weights(tmp_path).check_content(lambda size: None)


def test_a_shard_cut_after_it_was_opened_is_named(tmp_path: Path) -> None:
    """A file that ends in the middle of a tensor while it is read is a sentence, not a crash."""
    from safetensors.numpy import save_file

    save_file({"w": np.ones((64, 64), dtype=np.float32)}, tmp_path / "model.safetensors")
    weights = Weights(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 1000)

    with pytest.raises(ExportError, match=r"model\.safetensors ends in the middle of w"):
        weights.tensor("w")


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [("Q8_0", 525_336_576, 8.501), ("Q4_K_M", 525_336_576, 4.894), ("IQ2_XS", 525_336_576, 2.588)],
)
def test_sizes_are_llama_cpp_s_own(name: str, head: int, expected: float) -> None:
    """For Llama 3.1 8B the estimates are within 4 % above what llama.cpp's dry run says (bits a weight)."""
    bits = plan.quantised_bytes(8_030_261_248, name, head=head) * 8 / 8_030_261_248

    assert expected * 0.999 < bits < expected * 1.04


def test_a_divergence_without_end_is_json() -> None:
    """A model of NaNs diverges infinitely, which export.json holds as null: JSON has no word for it."""
    figures = verify.compare([np.log(np.array([[0.9, 0.1]]))], [np.full((1, 2), np.nan)], _describe)

    assert json.dumps(figures.metrics(), allow_nan=False)
    assert figures.metrics()["mean_kl"] is None


def test_settings_that_say_where_or_as_whom_do_not_travel() -> None:
    """Folders, names of loaders' settings and secrets are dropped at any depth; tokens that look a little so stay."""
    kept = {"eos_token": "</s>", "pad_token": "/", "unk_token": "~", "chat_template": "/{{ a }}/", "n": 1, "sub": {}}
    private = {
        "name_or_path": "gpt2",
        "vocab": "/srv/a/b.model",
        "windows": "C:\\models\\a",
        "sub": {"at": "~/models/x", "token": "t"},
        "hub": "hf_abcdefghijklmnop",
    }

    assert portable({**kept, **private}) == kept
