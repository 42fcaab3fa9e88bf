"""Each check of an export proven by a file that is wrong in just that: the export fails, and nothing gets its name."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.export_fixtures import Exporting
from workbench.errors import ExportError, VerificationError, WorkbenchError
from workbench.exports import gguf_lora, merged, modelfile
from workbench.exports.gguf import facts, quantising, vocabulary, writing
from workbench.paths import RunPaths

pytestmark = pytest.mark.torch

Damage = Callable[[Path], None]


def field_of(path: Path, key: str) -> Any:
    """A key of a GGUF file with its parts writable in place."""
    from gguf import GGUFReader

    return GGUFReader(path, "r+").fields[f"tokenizer.ggml.{key}"]


def zero(tensor: str) -> Damage:
    def damage(path: Path) -> None:
        from gguf import GGUFReader

        next(found.data for found in GGUFReader(path, "r+").tensors if found.name == tensor)[:] = 0

    return damage


def user_turn_is_an_ordinary_word(path: Path) -> None:
    types = field_of(path, "token_type")
    types.parts[types.data[4]][0] = vocabulary.NORMAL  # <|user|>


def user_turn_is_always_special(path: Path) -> None:
    types = field_of(path, "token_type")
    types.parts[types.data[4]][0] = 4  # <|user|>, user-defined: found in every text


def begins_every_text(path: Path) -> None:
    flag = field_of(path, "add_bos_token")
    flag.parts[flag.data[0]][0] = 1


def ends_with_another_token(path: Path) -> None:
    """Its end token is the padding; the real one is renamed, for llama.cpp knows `<|end|>` by its looks."""
    end, words = field_of(path, "eos_token_id"), field_of(path, "tokens")
    end.parts[end.data[0]][0] = 0
    words.parts[words.data[2]][:] = list(b"<|fin|>")


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES: dict[str, tuple[Damage, str, str]] = {
    "tensor": (zero("blk.0.ffn_down.weight"), "answers", "first weights that differ are blk.0.ffn_down.weight"),
    "token type, plain": (user_turn_is_an_ordinary_word, "tokens", r"token \d+ of .*<\|user\|>.*expected"),
    "token type, always": (user_turn_is_always_special, "special tokens as text", r"token \d+ of 'before <\|user\|>"),
    "begin of text": (begins_every_text, "tokens with begin and end", r"token 0 of .*got '<\|bos\|>'"),
    "end of answer": (ends_with_another_token, "stops", "does not know when to stop"),
}
"""What is wrong with the file: how, the check that has to find it, and what that has to say."""


def after(real: Callable[..., None], damage: Damage, place: int) -> Callable[..., None]:
    """Writes the file as ever, and then spoils it; `place` is the file's among the arguments."""

    def spoilt(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        damage(arguments[place])

    return spoilt


def rejected(exporting: Exporting, name: str) -> dict[str, Any]:
    """What export.json says of a part that failed, once it is sure that nothing stands under its own name."""
    folder = exporting.project / "exports" / "0001-sft"
    assert not (folder / name).exists()
    assert not list(folder.glob("*.partial"))
    assert (folder / f"{name}.unverified").exists()
    row: dict[str, Any] = json.loads((folder / "export.json").read_text())["parts"][f"{name}.unverified"]
    assert row["verified"] is False
    return row


@pytest.mark.parametrize("fault", FILES)
def test_a_wrong_file_fails_the_export_by_the_check_that_is_for_it(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The check is stored as failed with its figures, and the failure names the first token or layer that differs."""
    damage, check, words = FILES[fault]
    monkeypatch.setattr(writing, "write", after(writing.write, damage, 0))

    with pytest.raises(VerificationError, match=r"f16 export does not answer .*model-f16\.gguf\.unverified"):
        exporting.export("gguf", quants="f16")

    row = rejected(exporting, "model-f16.gguf")
    found = {name: figures["passed"] for name, figures in row["checks"].items()}
    assert found[check] == 0.0, found
    assert any(re.search(words, failure, re.DOTALL) for failure in row["failures"]), row["failures"]


def test_a_wrong_template_fails_the_export_and_names_the_first_token(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose template opens the person's turns as the system's is rendered otherwise, which is said."""
    real = facts.tokens

    def wrong(*arguments: Any) -> Any:
        found = real(*arguments)
        return dataclasses.replace(found, template=found.template.replace("message['role']", "'system'", 1))

    monkeypatch.setattr(facts, "tokens", wrong)

    with pytest.raises(VerificationError, match="chats are rendered otherwise"):
        exporting.export("gguf", quants="f16")

    row = rejected(exporting, "model-f16.gguf")
    assert [name for name, figures in row["checks"].items() if not figures["passed"]] == ["chat template"]
    assert "expected '<|user|>', got '<|system|>'" in row["failures"][0]


def test_a_wrong_quantisation_leaves_the_right_files(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Q8_0 with a tensor of nothing is kept aside, while the f16 it was made from is delivered."""
    damage = zero("blk.1.attn_q.weight")
    monkeypatch.setattr(quantising, "in_child", after(quantising.in_child, damage, 1))

    with pytest.raises(VerificationError, match=r"Q8_0 export.*first weights that differ are blk\.1\.attn_q\.weight"):
        exporting.export("gguf", quants="f16,Q8_0")

    rejected(exporting, "model-Q8_0.gguf")
    assert (exporting.project / "exports" / "0001-sft" / "model-f16.gguf").is_file()


@pytest.mark.parametrize("quants", ["f16", "Q8_0"])
def test_a_file_cut_in_half_is_a_sentence(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch, quants: str
) -> None:
    """Whether the exact or the quantised file is cut after it was written: a sentence, and nothing stays."""
    module, name, place = (writing, "write", 0) if quants == "f16" else (quantising, "in_child", 1)
    monkeypatch.setattr(module, name, after(getattr(module, name), cut_in_half, place))

    with pytest.raises(WorkbenchError, match=rf"llama\.cpp cannot load model-{quants}\.gguf"):
        exporting.export("gguf", quants=quants)

    assert not (exporting.project / "exports" / "0001-sft").exists()


def test_a_merge_without_its_adapter_fails_the_export(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bare base written as the merged model is kept aside, with the first token and the first weights named."""
    real = merged.write

    def forget(job: Any, folder: Path) -> None:
        kept, job.merged.adapter = job.merged.adapter, None
        real(job, folder)
        job.merged.adapter = kept

    monkeypatch.setattr(merged, "write", forget)

    with pytest.raises(VerificationError, match=r"merged export does not answer.*first difference at answer"):
        exporting.export("merged")

    row = rejected(exporting, "merged")
    assert "The first weights that differ from peft's merge are model.layers.0" in row["failures"][0]


def test_an_adapter_file_of_other_numbers_fails_the_export(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A LoRA file one of whose matrices is nothing does not answer like the run, and is kept aside."""
    spoil = after(gguf_lora.write, zero("blk.0.ffn_down.weight.lora_b"), 0)
    monkeypatch.setattr(gguf_lora, "write", spoil)

    with pytest.raises(VerificationError, match="gguf-lora export does not answer"):
        exporting.export("gguf-lora")

    assert rejected(exporting, gguf_lora.FILE)["checks"]["answers"]["passed"] == 0.0


def test_a_wrong_modelfile_is_not_written(
    lora_run: RunPaths, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Go template that forgets the person's turn is found before there is a Modelfile; the GGUF stays."""
    real = modelfile.ollama_template
    monkeypatch.setattr(
        modelfile, "ollama_template", lambda found, **named: real(found, **named).replace("<|user|>", "")
    )

    with pytest.raises(ExportError, match=r"Modelfile's template renders 4 of 4 chats otherwise"):
        exporting.export("ollama", quants="f16")

    assert {file.name for file in (exporting.project / "exports" / "0001-sft").iterdir()} == {
        "export.json",
        "model-f16.gguf",
    }
