"""Our SFT steps a second over a plain TRL script's: `python -m tests.benchmarks.sft_speed [--how qlora|lora]`.

Three programs train the same rows with the same settings in processes of their own, in turns: our worker's method
as a run, a TRL script in fp32, and one with TRL's own defaults (bf16). The ratio is of medians of the steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from workbench import presets
from workbench.job import BaseRef, Job
from workbench.paths import BUNDLED_BASE, DEMO_DATA, PACKAGE_ROOT, RunPaths

ROUNDS = 3
STEPS = 30
WARM_STEPS = 5
ROWS = 256

PLAIN = """
import json, sys, time
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer

base, data, out, how, precision, steps = sys.argv[1:]

class Clock(TrainerCallback):
    times = []
    def on_log(self, args, state, control, logs, **kwargs):
        self.times.append(time.monotonic())

four_bit = BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32 if precision == "fp32" else torch.bfloat16)
model = AutoModelForCausalLM.from_pretrained(
    base, dtype=torch.float32, quantization_config=four_bit if how == "qlora" else None)
clock = Clock()
trainer = SFTTrainer(
    model=model,
    processing_class=AutoTokenizer.from_pretrained(base),
    train_dataset=Dataset.from_list([json.loads(line) for line in open(data)]),
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    callbacks=[clock],
    args=SFTConfig(
        output_dir=out, per_device_train_batch_size=8, gradient_accumulation_steps=1, max_steps=int(steps),
        learning_rate=1e-3, max_length=256, gradient_checkpointing=False, logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True, bf16=False if precision == "fp32" else None,
        warmup_steps=0.05, lr_scheduler_type="cosine", seed=0, data_seed=0,
    ),
)
trainer.train()
print(json.dumps([b - a for a, b in zip(clock.times, clock.times[1:])]))
"""


def conversations() -> list[dict[str, object]]:
    """The demo's demonstrations as rows that both sides take."""
    lines = (DEMO_DATA / "demonstrations.jsonl").read_text(encoding="utf-8").splitlines()[:ROWS]
    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["completion"]}],
        }
        for row in map(json.loads, lines)
    ]


def environment(home: Path) -> dict[str, str]:
    """The same for every program."""
    return {
        **os.environ,
        "PYTHONPATH": str(PACKAGE_ROOT),
        "WORKBENCH_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # what our worker takes for a base this small, and faster for the other side too
        "PYTHONWARNINGS": "ignore",
    }


def ours(folder: Path, how: str) -> list[float]:
    """Seconds of each step of our run."""
    paths = RunPaths(folder / "runs" / "0001")
    paths.data.mkdir(parents=True)
    changes = {"how": how, "max_steps": STEPS, "eval_every": 0, "save_every": 0, "watch_every": 0, "max_length": 256}
    batch = {"micro_batch": 8, "accumulation": 1, "gradient_checkpointing": False, "learning_rate": 1e-3}
    settings = presets.get("cpu").settings("sft", {**changes, **batch})
    job = Job("0001", "train", "sft", BaseRef("bundled", "bundled"), settings)
    paths.job.write_text(job.to_json(), encoding="utf-8")
    _write_rows(paths.data / "train.jsonl")
    command = [sys.executable, "-P", "-X", "utf8", "-m", "workbench.worker", str(paths.root)]
    subprocess.run(command, env=environment(folder), check=True, stdout=subprocess.DEVNULL)
    events = [json.loads(line) for line in paths.events.read_text(encoding="utf-8").splitlines()]
    times = [event["t"] for event in events if event["type"] == "step"]
    return [after - before for before, after in itertools.pairwise(times)]


def plain(folder: Path, how: str, precision: str) -> list[float]:
    """Seconds of each step of the TRL script."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_rows(folder / "train.jsonl")
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
    arguments = [str(BUNDLED_BASE), str(folder / "train.jsonl"), str(folder / "out"), how, precision, str(STEPS)]
    done = subprocess.run(
        [sys.executable, str(folder / "plain.py"), *arguments],
        env=environment(folder),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _write_rows(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in conversations()), encoding="utf-8")


def measure(how: str) -> dict[str, float]:
    """The median step of each program, in seconds, over alternating rounds."""
    steps: dict[str, list[float]] = {"ours": [], "plain fp32": [], "plain defaults": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            root = Path(name) / str(number)
            steps["ours"] += ours(root / "a", how)[WARM_STEPS:]
            steps["plain fp32"] += plain(root / "b", how, "fp32")[WARM_STEPS:]
            steps["plain defaults"] += plain(root / "c", how, "bf16")[WARM_STEPS:]
    return {program: statistics.median(found) for program, found in steps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", choices=("qlora", "lora"), default="qlora")
    how = parser.parse_args().how
    found = measure(how)
    print(f"SFT steps/s, ours over a plain TRL script's ({how}): {found['plain fp32'] / found['ours']:.2f}")
    print("| program | seconds a step | ours is faster by |")
    print("|---|---|---|")
    for program, seconds in found.items():
        print(f"| {program} ({how}) | {seconds:.3f} | {seconds / found['ours']:.2f} |")


if __name__ == "__main__":
    main()
