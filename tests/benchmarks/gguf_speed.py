"""Our GGUF export against llama.cpp's own converter on a model of a billion parameters: seconds and peak memory.

    python -m tests.benchmarks.gguf_speed             as f16, the two in turn, three times each
    python -m tests.benchmarks.gguf_speed --save      also keeps the table in tests/benchmarks/results

Budgets: time at most the converter's, peak memory (VmHWM) at most half of it. Llama 3.2 1B's configuration and
vocabulary, random weights; each run is a process of its own, its imports included, and both find the model in the page
cache. 6 GB of disk are needed for a while.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import oracle
from tests.benchmarks.gguf_parity import write_tokenizer
from tests.benchmarks.oracle import Converted, report
from tests.gguf_models import CASES, Case, shapes_of
from tests.gguf_reading import File
from workbench.paths import PACKAGE_ROOT

ROUNDS = 3
SIZES = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
}
OURS = """
import sys
from pathlib import Path
from tests.gguf_models import write_ours
write_ours(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""


def main(words: list[str]) -> int:
    """0 where the budgets are kept, or where there is nothing to compare with."""
    began = report.conditions()
    with tempfile.TemporaryDirectory() as folder:
        try:
            converter = oracle.Oracle(Path(folder))
        except oracle.UnreachableError as error:
            print(f"skipped: llama.cpp's converter could not be got from the package index ({error})")
            return 0
        lines, kept = compare(converter, Path(folder))
    if "--save" in words:
        report.save(
            "gguf_speed",
            "GGUF of a model of a billion parameters: ours and llama.cpp's converter",
            "python -m tests.benchmarks.gguf_speed --save",
            lines,
            began,
        )
    return 0 if kept else 1


def compare(converter: oracle.Oracle, folder: Path) -> tuple[list[str], bool]:
    """The table, printed as it comes, and whether the budgets are kept."""
    found = next(case for case in CASES if case.name == "Llama 3.2")
    case = replace(found, config={**found.config, **SIZES})
    model, theirs, ours = folder / "model", folder / "theirs.gguf", folder / "ours.gguf"
    parameters = write_model(case, model)
    write_tokenizer(case, converter, model)
    table = report.Table()
    table.say(f"{parameters / 1e9:.2f} B parameters, bfloat16 to f16")
    table.say(f"{'round':<10}{'ours s':>9}{'theirs s':>10}{'ours MB':>10}{'theirs MB':>11}")
    rounds: list[tuple[Converted, Converted]] = []
    for number in range(ROUNDS):
        other = converter.convert(model, theirs, "f16", case.pre)
        mine = convert(model, ours)
        rounds.append((mine, other))
        table.say(_row(str(number + 1), mine, other))
    mine, other = _median([row[0] for row in rounds]), _median([row[1] for row in rounds])
    table.say(_row("median", mine, other))
    equal = File(ours).tensors == File(theirs).tensors
    time_ratio, peak_ratio = mine.seconds / other.seconds, mine.peak_bytes / other.peak_bytes
    table.say(f"time   {time_ratio:.2f} of the converter's (budget 1.00)")
    table.say(f"memory {peak_ratio:.2f} of the converter's (budget 0.50)")
    table.say(f"tensors {'equal, bit for bit' if equal else 'DIFFER'}")
    return table.lines, equal and time_ratio <= 1.0 and peak_ratio <= 0.5


def write_model(case: Case, folder: Path) -> int:
    """Random weights of the case's shapes, in two shards; how many numbers there are."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir()
    shapes = shapes_of(case)
    (folder / "config.json").write_text(json.dumps(case.full_config))
    names, weight_map = list(shapes), {}
    for shard, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :])):
        file = f"model-{shard + 1:05}-of-00002.safetensors"
        tensors = {name: torch.empty(shapes[name], dtype=torch.bfloat16).normal_(std=0.02) for name in part}
        save_file(tensors, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
        del tensors
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sum(torch.Size(shape).numel() for shape in shapes.values())


def convert(model: Path, target: Path) -> Converted:
    """Our export in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", OURS, str(model), str(target), "f16"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE_ROOT, check=True)
    return Converted(time.monotonic() - began, int(done.stdout) * 1024, knew_hash=True)


def _median(runs: list[Converted]) -> Converted:
    seconds = statistics.median(run.seconds for run in runs)
    return Converted(seconds, int(statistics.median(run.peak_bytes for run in runs)), knew_hash=True)


def _row(name: str, mine: Converted, other: Converted) -> str:
    sizes = f"{mine.peak_bytes / 1e6:>10.0f}{other.peak_bytes / 1e6:>11.0f}"
    return f"{name:<10}{mine.seconds:>9.2f}{other.seconds:>10.2f}{sizes}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
