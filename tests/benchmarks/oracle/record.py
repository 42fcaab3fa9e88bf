"""Writes down what llama.cpp's converter makes of the small cases, for the test suite to compare with."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.oracle import Oracle
from tests.gguf_models import CASES, said, shapes_of, small, write_small
from tests.gguf_reading import File

RECORD = Path(__file__).resolve().parents[2] / "gguf_oracle.json"


def write(converter: Oracle, folder: Path) -> None:
    """Rewrites tests/gguf_oracle.json: the shapes, digests of every tensor as f16 and f32, and the f16 file's keys."""
    rows = {}
    for number, case in enumerate(CASES):
        model = write_small(case, folder / str(number))
        shapes = shapes_of(small(case))
        row: dict[str, object] = {"shapes": {name: "x".join(map(str, shape)) for name, shape in shapes.items()}}
        for kind in ("f32", "f16"):
            path = folder / f"{number}-{kind}.gguf"
            converter.convert(model, path, kind, case.pre)
            made = File(path)
            row[kind] = {name: tensor.digest for name, tensor in sorted(made.tensors.items())}
        rows[case.name] = {**row, "keys": said(made.keys)}
        print(f"recorded {case.name}", flush=True)
    RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
