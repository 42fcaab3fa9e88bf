"""Peak memory on a card against `workbench.fit`: `python -m tests.benchmarks.gpu_memory [--method sft …] [--model …]`.

Each preset trains two steps of rows that fill its longest, on random weights of a real model's shape, by a worker that
may take no more of the card than the preset's own has. Needs a CUDA card and room on the disk for the largest model
(15 GB); without a card it says so. It was written where there is none: nothing in it has been measured yet.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from workbench import fit, hardware, presets
from workbench.bases.model_folder import read_base
from workbench.events import Alive, Failed, Note
from workbench.hardware import GIB, Hardware
from workbench.job import BaseRef, Job
from workbench.paths import BUNDLED_BASE, PACKAGE_ROOT, RunPaths
from workbench.tail import Tail

ROWS = 64
LLAMA = {"architecture": "LlamaForCausalLM", "vocab_size": 128_256, "head_dim": 64, "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {
    "Llama-3.2-1B": LLAMA
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "Llama-3.2-3B": LLAMA
    | {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24}
    | {"head_dim": 128},
    "Qwen2.5-7B": {"architecture": "Qwen2ForCausalLM", "vocab_size": 152_064, "tie_word_embeddings": False}
    | {"hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28}
    | {"num_key_value_heads": 4},
}
"""The public configurations, where they shape memory; 8 key-value heads where nothing else is said."""

WORKER = """
import sys, torch
from pathlib import Path
from workbench.worker.__main__ import work
torch.cuda.set_per_process_memory_fraction(min(1.0, float(sys.argv[2]) / torch.cuda.mem_get_info()[1]))
sys.exit(work(Path(sys.argv[1])))
"""


def make_base(folder: Path, shape: dict[str, Any]) -> None:
    """Random bf16 weights of a shape, with the bundled tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    is_llama = shape["architecture"] == "LlamaForCausalLM"
    settings = {"num_key_value_heads": 8, "max_position_embeddings": 8192, "bos_token_id": 1, "eos_token_id": 2}
    settings |= {name: value for name, value in shape.items() if name != "architecture"}
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model: Any = (
            LlamaForCausalLM(LlamaConfig(**settings)) if is_llama else Qwen2ForCausalLM(Qwen2Config(**settings))
        )
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(BUNDLED_BASE / name, folder)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def rows(method: str, tokens: int) -> list[dict[str, Any]]:
    """Rows that fill so many tokens and more, which are then cut."""
    prompt = [{"role": "user", "content": "Count."}]
    answers = [[{"role": "assistant", "content": f"{word} " * tokens}] for word in ("one", "two")]
    if method == "sft":
        return [{"prompt": prompt, "completion": answers[0]}] * ROWS
    return [{"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}] * ROWS


def measure(folder: Path, base: Path, preset: presets.Preset, method: str) -> tuple[int, str]:
    """The peak in bytes of two steps under the preset's card, and what the worker had to say of memory."""
    settings = preset.settings(method, {"max_steps": 2, "eval_every": 0, "save_every": 0, "watch_every": 0})
    paths = RunPaths(folder / "runs" / "0001")
    paths.data.mkdir(parents=True)
    job = Job("0001", "train", method, BaseRef(str(base), base.name), settings)
    paths.job.write_text(job.to_json(), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows(method, int(settings["max_length"])))
    (paths.data / "train.jsonl").write_text(lines, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "WORKBENCH_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-X", "utf8", "-c", WORKER, str(paths.root), str(preset.card_gb * GIB)]
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
    events = list(Tail(paths.events).read())
    peak = max((event.memory_bytes for event in events if isinstance(event, Alive)), default=0)
    said = [event.message for event in events if isinstance(event, Failed)]
    said += [event.text for event in events if isinstance(event, Note) and "memory" in event.text]
    return peak, said[0] if said else ""


def line(base: Path, preset: presets.Preset, method: str, peak: int, said: str) -> str:
    """A row of the table: what was measured, what was estimated for a card of that size, and by how much it is off."""
    card = Hardware(preset.title, int(preset.card_gb * GIB), None, hardware.ram_bytes(), 1)
    shape = read_base(base, str(base), base.name)
    found = fit.estimate(shape, preset.settings(method), method, card)
    span = f"{found.low_bytes / GIB:.1f}-{found.high_bytes / GIB:.1f}"
    off = peak / ((found.low_bytes + found.high_bytes) / 2)
    return (
        f"| {base.name} | {preset.name} | {method} | {peak / GIB:.2f} | {span} | {found.verdict} | {off:.2f} | {said} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", nargs="+", choices=("sft", "dpo"), default=["sft", "dpo"])
    parser.add_argument("--model", nargs="+", choices=tuple(SHAPES), default=list(SHAPES))
    asked = parser.parse_args()
    card = hardware.detect()
    if card.vram_bytes is None:
        print("gpu_memory: skipped, it needs a CUDA card and nvidia-smi finds none here")
        return
    print(f"On {card.summary}, driver {card.driver}:\n")
    print("| model | preset | method | peak GiB | estimated GiB | verdict | peak / middle | said |")
    print("|---|---|---|---|---|---|---|---|")
    chosen = [p for p in presets.all_presets() if 0 < p.card_gb <= card.vram_bytes / GIB + 0.5]
    for name in asked.model:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / name
            make_base(base, SHAPES[name])
            for number, (preset, method) in enumerate((p, m) for p in chosen for m in asked.method):
                peak, said = measure(Path(folder) / str(number), base, preset, method)
                print(line(base, preset, method, peak, said), flush=True)


if __name__ == "__main__":
    main()
