"""What an export says of itself, in its card and in the files, and what it must not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import workbench
from tests.training.export_fixtures import Exporting, make_run, reference, save_base
from workbench.job import Job

pytestmark = pytest.mark.torch


def test_nothing_of_the_person_or_the_machine_travels_with_an_export(
    tmp_path: Path, exporting: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte of any exported file holds a folder of this machine, its user's name, or a token from a model's files."""
    home, secret = tmp_path / "home-of-annemarie", "hf_SecretSecretSecretSecret"
    monkeypatch.setenv("HF_TOKEN", secret)
    base = save_base(home / "models" / "tiny", learnt=True, initializer_range=0.05)
    run = make_run(tmp_path / "project", base)
    for folder, names in ((base, ("config.json", "generation_config.json")), (run.model, ("tokenizer_config.json",))):
        for name in names:
            row = json.loads((folder / name).read_text())
            more = {"_name_or_path": str(base), "name_or_path": str(base), "hf_token": secret, "cache_dir": str(home)}
            (folder / name).write_text(json.dumps({**row, **more}))
    run.job.write_text(
        Job("0001", "train", "sft", reference(base), {"how": "lora", "out": str(home), "token": secret}).to_json()
    )

    exporting.export("merged")
    exporting.export("ollama", quants="Q8_0")
    exporting.export("gguf-lora")

    files = [file for file in (exporting.project / "exports" / "0001-sft").rglob("*") if file.is_file()]
    held = {file.name: file.read_bytes() for file in files}
    assert {"README.md", "export.json", "Modelfile", "adapter.gguf", "model-Q8_0.gguf", "config.json"} <= set(held)
    for word in (str(tmp_path), "annemarie", secret):
        assert [name for name, data in held.items() if word.encode() in data] == [], word


def test_a_file_says_whose_child_it_is_and_leaves_the_author_blank(tmp_path: Path, exporting: Exporting) -> None:
    """Name, base, its licence, method, lineage and version stand in the GGUF's header, in export.json and the card."""
    from gguf import GGUFReader

    base = save_base(tmp_path / "tiny", learnt=True, initializer_range=0.05)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    run = make_run(tmp_path / "project", base)
    job = Job(
        "0001", "train", "sft", reference(base), {"how": "lora", "rank": 4}, name="polite",
        lineage=("0000",), counts={"demonstrations": 12},
    )  # fmt: skip
    run.job.write_text(job.to_json())

    exporting.export("gguf", quants="f16")
    exporting.export("gguf-lora")

    folder = exporting.project / "exports" / "0001-polite"
    adapter = {name: field.contents() for name, field in GGUFReader(folder / "adapter.gguf").fields.items()}
    said = {name: field.contents() for name, field in GGUFReader(folder / "model-f16.gguf").fields.items()}
    record = json.loads((folder / "export.json").read_text())
    card = (folder / "README.md").read_text()
    expected = {
        "general.name": "0001-polite",
        "general.license": "apache-2.0",
        "general.base_model.0.name": "tiny",
        "finetune_workbench.method": "sft",
        "finetune_workbench.lineage": ["0000", "0001"],
        "finetune_workbench.version": workbench.__version__,
    }
    assert {name: said.get(name) for name in expected} == expected
    assert {name: adapter.get(name) for name in expected} == expected
    assert not [name for name in said if "author" in name or "organization" in name]
    assert (record["base"]["licence"], record["lineage"], record["method"]) == ("apache-2.0", ["0000"], "sft")
    assert "license: apache-2.0" in card
    assert "tiny, tuned with sft (how lora, rank 4). Data: 12 demonstrations." in card
    assert "Lineage: tiny → run 0000 → run 0001." in card
    assert "| `model-f16.gguf` |" in card
