"""Exports of models that no run here made: a plain folder, an adapter from elsewhere, one tuned on a quantised base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.export_fixtures import Exporting, save_base
from tests.training.test_export_adapters import adapted, logits
from workbench.cli import main
from workbench.errors import BaseModelError
from workbench.exports import original
from workbench.job import BaseRef

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def quantised_copy(base: Path, folder: Path) -> Path:
    """What a 4-bit copy of a base looks like: packed matrices, the norms as they were, and a config that says so."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    tensors = load_file(base / "model.safetensors")
    packed = {
        name: tensor if tensor.ndim == 1 else torch.zeros(tensor.numel() // 2, 1, dtype=torch.uint8)
        for name, tensor in tensors.items()
    }
    save_file(packed, folder / "model.safetensors")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def tuned_on_4bit(tmp_path: Path) -> tuple[Path, Path, Any]:
    """A 16-bit base, the 4-bit copy that an adapter names as its base, and what the adapter says on the 16-bit one."""
    import torch

    base = save_base(tmp_path / "models" / "tiny", learnt=True, initializer_range=0.05)
    adapter = tmp_path / "adapter"
    expected = logits(adapted(base, adapter))
    with torch.no_grad():
        quantised = quantised_copy(base, tmp_path / "models" / "tiny-bnb-4bit")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(quantised)}))
    return base, adapter, expected


def test_the_16_bit_original_is_found_and_merged_into(
    tuned_on_4bit: tuple[Path, Path, Any], exporting: Exporting
) -> None:
    """An adapter whose base is a 4-bit copy is merged into the 16-bit model of that name, which lies beside it."""
    import torch
    from transformers import AutoModelForCausalLM

    base, adapter, expected = tuned_on_4bit
    found, under = original.in_folder(str(adapter))
    assert (found, under.path) == (adapter, base)

    exporting.export("merged", parent=None, base=BaseRef(under.spec, under.name), adapter=str(adapter))

    folder = exporting.project / "exports" / "adapter" / "merged"
    got = logits(AutoModelForCausalLM.from_pretrained(folder).eval())
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)


def test_an_original_that_is_not_there_is_asked_for(tuned_on_4bit: tuple[Path, Path, Any]) -> None:
    """Without the 16-bit model the sentence says why it is needed, its likely name, and how to give it."""
    base, adapter, _ = tuned_on_4bit
    base.rename(base.parent / "elsewhere")

    with pytest.raises(BaseModelError, match=r"tiny-bnb-4bit is quantised.*probably .*tiny.*base16="):
        original.in_folder(str(adapter))
    assert original.in_folder(str(adapter), str(base.parent / "elsewhere"))[1].name == "elsewhere"


def test_another_model_of_the_same_shape_is_not_taken(tuned_on_4bit: tuple[Path, Path, Any]) -> None:
    """A 16-bit model whose norms are others is refused, also when a person names it; so is one of another shape."""
    base, adapter, _ = tuned_on_4bit
    other = save_base(base.parent / "other", learnt=False)
    wide = save_base(base.parent / "wide", intermediate_size=256)

    with pytest.raises(BaseModelError, match=r"other is not the 16-bit original of tiny-bnb-4bit: their .*norm"):
        original.in_folder(str(adapter), str(other))
    with pytest.raises(BaseModelError, match=r"intermediate_size is 256 in one and 128 in the other"):
        original.in_folder(str(adapter), str(wide))


def test_a_plain_folder_is_exported_from_the_command_line_outside_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`workbench export FOLDER --to ollama` leaves a verified GGUF, its Modelfile and card, and no project."""
    base = save_base(tmp_path / "tiny", learnt=True, initializer_range=0.05)
    monkeypatch.chdir(tmp_path)

    code = main(["export", str(base), "--to", "ollama", "--quant", "Q8_0", "--json"])

    told = json.loads(capsys.readouterr().out)
    folder = tmp_path / "tiny-export"
    assert code == 0
    assert {file.name for file in folder.iterdir()} == {"Modelfile", "README.md", "export.json", "model-Q8_0.gguf"}
    assert told["files"] == {"Q8_0": str(folder / "model-Q8_0.gguf")}
    assert {check["check"] for check in told["checks"]} >= {"tokens", "chat template", "answers", "stops"}
    assert set(json.loads((folder / "export.json").read_text())["chain"]) == {"merged", "f16"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny", "tiny-export"]
