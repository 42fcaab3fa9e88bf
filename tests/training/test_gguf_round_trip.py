"""What transformers' own GGUF reader makes of our files: the merged model again, or a sentence why it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gguf_comparing import random_ids
from tests.gguf_models import CASES, Case, small, write_ours, write_small
from workbench.exports import answers
from workbench.exports.adapter import Adapter
from workbench.exports.tensors import Merged, Weights
from workbench.worker.log import quiet_libraries

pytestmark = pytest.mark.torch

TOKENS = 65
ORDER = 1e-4
"""Nats: in float32 only the order of additions differs."""
ROUNDING = 2e-2
"""Nats: what rounding each of these large random weights to float16, by 2⁻¹² of itself, may do."""

NO_FAMILY = {"Granite 3": "granite", "OLMo 2": "olmo2"}
"""Of which transformers 5.23 reads no GGUF: "GGUF model with architecture granite is not supported yet"."""

LOSES = ("Llama 3.1", "Llama 3.2", "Llama, biases, yarn", "Phi-3.5")
"""Of which transformers 5.23 reads the tensors and not the rotary scaling, which stands in tensors of its own
(rope_freqs, rope_factors_long) or in keys that integrations/ggml.py has no name for, nor that a Llama has biases. With
the merged model's config.json they come out right."""

READ = [case for case in CASES if case.name not in NO_FAMILY]


def write_adapter(case: Case, model: Path, folder: Path) -> Path:
    """A LoRA adapter of rank 4 on every linear layer."""
    import torch
    from safetensors.torch import save_file

    draw = np.random.RandomState(2)
    tensors = {}
    for name, info in Weights(model).infos.items():
        if "_proj.weight" not in name:
            continue
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        for part, shape in (("A", (4, info.shape[1])), ("B", (info.shape[0], 4))):
            numbers = draw.standard_normal(shape).astype(np.float32) * 0.2
            tensors[f"{stem}.lora_{part}.weight"] = torch.from_numpy(numbers)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "base_model_name_or_path": case.name}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def merged_of(case: Case, folder: Path) -> Merged:
    model = write_small(case, folder / "model")
    return Merged(Weights(model), Adapter(write_adapter(case, model, folder / "adapter")))


def config_read(path: Path) -> dict[str, Any]:
    """What transformers takes for the model's settings."""
    from transformers import AutoConfig

    found: dict[str, Any] = AutoConfig.from_pretrained(path.parent, gguf_file=path.name).to_dict()
    return found


def log_probs_read(path: Path, ids: list[int], config: Any = None) -> np.ndarray[Any, Any]:
    """ln p of every token after each of the ids, (T - 1, V), by the model that transformers makes of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_libraries()
    given = {} if config is None else {"config": config}
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **given)
    return answers.log_probs(model.eval(), ids[:1], ids[1:])


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
def test_transformers_reads_our_file_back_as_the_merged_model(case: Case, tmp_path: Path) -> None:
    """An f16 file of base and adapter gives the log-probabilities of the merged weights rounded to float16, which are
    those of the merged model but for that rounding. The base alone gives others."""
    import torch
    from transformers import CONFIG_MAPPING

    merged = merged_of(case, tmp_path)
    path = write_ours(tmp_path / "model", tmp_path / "model.gguf", "f16", merged)
    ids = random_ids(tmp_path / "model", TOKENS)
    made = small(case)
    config = CONFIG_MAPPING[made.config["model_type"]].from_dict(made.full_config) if case.name in LOSES else None

    got = log_probs_read(path, ids, config)

    with answers.merged_in_memory(merged, answers.Place("cpu", torch.float32)) as model:
        expected = answers.log_probs(model, ids[:1], ids[1:])
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.data = weight.data.half().float()
        rounded = answers.log_probs(model, ids[:1], ids[1:])
    with answers.whole(tmp_path / "model", "cpu", torch.float32) as model:
        base = answers.log_probs(model, ids[:1], ids[1:])
    assert np.abs(rounded - got).max() < ORDER
    assert np.abs(expected - got).max() < ROUNDING
    assert np.abs(expected - base).max() > 10 * ROUNDING


@pytest.mark.parametrize("name", LOSES)
def test_what_the_reader_loses_of_a_family_is_what_we_say(name: str, tmp_path: Path) -> None:
    """The settings that need config.json beside the file are those that the reader does not find in it."""
    case = next(case for case in CASES if case.name == name)
    path = write_ours(write_small(case, tmp_path / "model"), tmp_path / "model.gguf", "f16")

    assert config_read(path)["rope_parameters"]["rope_type"] == "default"


@pytest.mark.parametrize("name", NO_FAMILY)
def test_a_family_that_the_reader_lacks_is_refused_by_it(name: str, tmp_path: Path) -> None:
    """transformers says itself that it does not read these; the day it does, they belong to the test above."""
    case = next(case for case in CASES if case.name == name)
    path = write_ours(write_small(case, tmp_path / "model"), tmp_path / "model.gguf", "f16")

    with pytest.raises(ValueError, match=f"architecture {NO_FAMILY[name]} is not supported"):
        config_read(path)
