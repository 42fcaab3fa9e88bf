"""Our GGUF files against what llama.cpp's own converter made of the same models (`benchmarks/gguf_parity --record`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gguf_models import CASES, Case, said, write_ours, write_small
from tests.gguf_reading import File

pytestmark = pytest.mark.torch

RECORD = json.loads((Path(__file__).parent / "gguf_oracle.json").read_text(encoding="utf-8"))

OURS = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}
"""Keys that the converter leaves to llama.cpp's guess."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_is_the_one_that_llama_cpp_s_converter_makes(case: Case, tmp_path: Path) -> None:
    """Every tensor is bit for bit the converter's in f16 and f32, and every key but names and versions is equal."""
    expected = RECORD[case.name]
    shapes = {name: tuple(map(int, shape.split("x"))) for name, shape in expected["shapes"].items()}
    model = write_small(case, tmp_path / "model", shapes)

    made = {kind: File(write_ours(model, tmp_path / f"{kind}.gguf", kind)) for kind in ("f32", "f16")}

    keys = {name: value for name, value in said(made["f16"].keys).items() if name not in OURS}
    assert json.loads(json.dumps(keys)) == expected["keys"]
    for kind, file in made.items():
        assert {name: tensor.digest for name, tensor in file.tensors.items()} == expected[kind]
