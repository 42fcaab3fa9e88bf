"""Our PPO beside TRL 1.12's PPOTrainer, the last release that has one: `python -m tests.benchmarks.ppo_peer`.

Both start from the same merged SFT model, ask the same prompts, are rewarded by the same rule and write answers of the
same greatest length; LoRA on the policy, fp32, on the CPU. TRL 1.12 goes into a virtual environment of its own, beside
the workbench's data, with the pins of constraints.txt. Two tables:

1. speed and memory: 128 episodes, rollouts of 16, 4 passes; episodes a second of the loop, and the process's peak
   (VmHWM). Once with the tuned base, whose answers end after a dozen tokens, and once with random weights of its shape,
   whose answers run to the full length.
2. quality: 1,024 episodes, rollouts of 64, three seeds; the rule's mean score where both are equally far (KL) from the
   start, read off a curve through all rollouts of each, and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from workbench import presets
from workbench.job import BaseRef, Job
from workbench.paths import BUNDLED_BASE, DEMO_DATA, PACKAGE_ROOT, RunPaths, home

PEER = "trl==1.12.0"
PINNED = ("torch", "transformers", "peft", "accelerate", "datasets")
TOKENS = 32
PASSES = 4
SPEED = {"episodes": 128, "rows": 16, "rollout": 16}
QUALITY = {"episodes": 1024, "rows": 16, "rollout": 64}
SEEDS = (0, 1, 2)
RATE = 3e-4
BETA = 0.05

PROGRAM = '''
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from types import SimpleNamespace
from trl.experimental.ppo import PPOConfig, PPOTrainer

o = json.loads(sys.argv[1])
sys.path.insert(0, o["root"])
from workbench.judges.rules import score

torch.manual_seed(o["seed"])
tokenizer = AutoTokenizer.from_pretrained(o["base"], padding_side="left")
rows = [json.loads(line) for line in open(o["prompts"])]
def ids(row):
    return tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False)
asked = [ids(row) for row in rows]
answers = {tuple(found): row["answer"] for found, row in zip(asked, rows)}
assistant = tokenizer.convert_tokens_to_ids("<|assistant|>")

class Rule(torch.nn.Module):
    """The rule in the shape of a reward model: its 'hidden states' are the tokens."""
    base_model_prefix = "tokens"
    def tokens(self, input_ids, attention_mask, **_):
        real = torch.where(attention_mask.bool(), input_ids, torch.full_like(input_ids, tokenizer.pad_token_id))
        return SimpleNamespace(hidden_states=[real.float()[..., None]])
    def score(self, hidden):
        worth = []
        for row in hidden[..., 0].long().tolist():
            said = [token for token in row if token != tokenizer.pad_token_id]
            begin = said.index(assistant) + 1
            worth.append(score(tokenizer.decode(said[begin:], skip_special_tokens=True), answers[tuple(said[:begin])]))
        return torch.tensor(worth)[:, None, None].expand(-1, hidden.shape[1], 1)

curve = []
class Log(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        if logs and "objective/kl" in logs:
            curve.append([logs["objective/kl"], logs["objective/scores"]])

policy = AutoModelForCausalLM.from_pretrained(o["base"], dtype=torch.float32)
value = AutoModelForSequenceClassification.from_pretrained(o["base"], num_labels=1, dtype=torch.float32)
trainer = PPOTrainer(
    args=PPOConfig(
        output_dir=o["out"], per_device_train_batch_size=o["rows"],
        gradient_accumulation_steps=o["rollout"] // o["rows"],
        num_mini_batches=o["rollout"] // o["rows"], num_ppo_epochs=o["passes"], total_episodes=o["episodes"],
        response_length=o["tokens"], stop_token="eos" if o["ends"] else None, temperature=1.0, learning_rate=o["rate"],
        kl_coef=o["beta"], missing_eos_penalty=1.0 if o["ends"] else None, num_sample_generations=0, seed=o["seed"],
        report_to="none", save_strategy="no", use_cpu=True, bf16=False, disable_tqdm=True, logging_steps=1,
        gradient_checkpointing=False, lr_scheduler_type="cosine", warmup_steps=0,
    ),
    processing_class=tokenizer, model=policy, ref_model=None, reward_model=Rule(), value_model=value,
    train_dataset=Dataset.from_dict({"input_ids": asked}), eval_dataset=Dataset.from_dict({"input_ids": asked[:1]}),
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    callbacks=[Log()],
)
began = time.monotonic()
trainer.train()
seconds = time.monotonic() - began
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print("\\n" + json.dumps({"seconds": seconds, "peak_kb": peak, "curve": curve}))
'''


@dataclass
class Measured:
    """What one program did."""

    seconds: float
    peak_kb: int
    curve: list[tuple[float, float]] = field(default_factory=list)
    """(KL, mean score) of each rollout."""


def environment(folder: Path) -> dict[str, str]:
    """The same for every program."""
    return {
        **os.environ,
        "PYTHONPATH": "",
        "WORKBENCH_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # what our worker takes for a base this small, and faster for the other side too
        "PYTHONWARNINGS": "ignore",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }


def peer_python() -> Path:
    """The interpreter of TRL 1.12's own virtual environment, made where it is missing."""
    folder = home() / "benchmarks" / PEER.replace("==", "-")
    python = folder / "bin" / "python"
    if (folder / ".installed").is_file():
        return python
    print(f"Installing {PEER} into {folder}: a minute or two", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pins = (PACKAGE_ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [pin for pin in pins if pin.partition("==")[0] in PINNED]
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted, PEER], check=True)
    (folder / ".installed").touch()
    return python


def merged_start(folder: Path) -> Path:
    """The demo's SFT model as a base of its own, from which both programs start."""
    run = make_run(folder / "sft", "sft", BaseRef("bundled", "bundled"), {"how": "lora", "eval_every": 0})
    work(run, folder)
    done = folder / "start"
    merge = (
        "import sys; from pathlib import Path; from peft import PeftModel; from transformers import AutoTokenizer, "
        "AutoModelForCausalLM as M; base, adapter, out = sys.argv[1:]; import torch; "
        "PeftModel.from_pretrained(M.from_pretrained(base, dtype=torch.float32), adapter).merge_and_unload()"
        ".save_pretrained(out); AutoTokenizer.from_pretrained(base).save_pretrained(out)"
    )
    arguments = [str(BUNDLED_BASE), str(run.model), str(done)]
    subprocess.run([sys.executable, "-c", merge, *arguments], check=True, env=environment(folder))
    return done


def random_start(folder: Path) -> Path:
    """Random weights of the bundled base's shape, which hardly ever say the end token."""
    done = folder / "random"
    make = (
        "import sys; from transformers import AutoConfig, AutoTokenizer, AutoModelForCausalLM as M; import torch; "
        "torch.manual_seed(0); base, out = sys.argv[1:]; "
        "M.from_config(AutoConfig.from_pretrained(base), dtype=torch.float32).save_pretrained(out); "
        "AutoTokenizer.from_pretrained(base).save_pretrained(out)"
    )
    subprocess.run([sys.executable, "-c", make, str(BUNDLED_BASE), str(done)], check=True, env=environment(folder))
    return done


def make_run(folder: Path, method: str, base: BaseRef, changes: dict[str, Any], seed: int = 0) -> RunPaths:
    """A run's folder as `orders.train` makes it."""
    paths = RunPaths(folder / "runs" / "0001")
    paths.data.mkdir(parents=True)
    settings = presets.get("cpu").settings(method, {"watch_every": 0, "save_every": 0, "seed": seed, **changes})
    job = Job("0001", "train", method, base, settings, seed=seed)
    paths.job.write_text(job.to_json(), encoding="utf-8")
    rows = demonstrations() if method == "sft" else prompts()
    _write(paths.data / "train.jsonl", rows)
    return paths


def work(run: RunPaths, folder: Path) -> None:
    """Does a run in a worker of its own."""
    command = [sys.executable, "-P", "-X", "utf8", "-m", "workbench.worker", str(run.root)]
    done = subprocess.run(command, env={**environment(folder), "PYTHONPATH": str(PACKAGE_ROOT)}, check=False)
    if done.returncode:
        raise SystemExit(run.log.read_text(encoding="utf-8"))


def demonstrations() -> list[dict[str, Any]]:
    """The demo's demonstrations as rows."""
    return [
        {"prompt": _said("user", row["prompt"]), "completion": _said("assistant", row["completion"])}
        for row in _read("demonstrations.jsonl")
    ]


def prompts() -> list[dict[str, Any]]:
    """The demo's prompts with their answers."""
    return [{**row, "prompt": _said("user", row["prompt"])} for row in _read("prompts.jsonl")]


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO_DATA / name).read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ours(folder: Path, base: Path, size: dict[str, int], seed: int, changes: dict[str, Any] | None = None) -> Measured:
    """Our run: seconds of its steps, its peak, its curve."""
    settings: dict[str, Any] = {
        "how": "lora",
        "reward": "rule:demo",
        "max_tokens": TOKENS,
        "passes": PASSES,
        "micro_batch": size["rows"] // 4,
        "accumulation": 4,
        "mini_batches": size["rollout"] // size["rows"],
        "epochs": 100,
        "max_steps": size["episodes"] // size["rollout"],
        "learning_rate": RATE,
        "warmup": 0,
        "final_rate": 0,
        "beta": BETA,
        "kl_control": "fixed",
        "scale_rewards": False,
        "eval_every": 0,
        **(changes or {}),
    }
    run = make_run(folder, "ppo", BaseRef(str(base), base.name), settings, seed)
    peak = Path(f"{run.root}.peak")
    work_measured(run, folder, peak)
    rows = [json.loads(line) for line in run.events.read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["type"] == "step"]
    return Measured(
        sum(row["seconds"] for row in steps),
        int(peak.read_text(encoding="ascii")),
        [(row["metrics"]["kl"], row["metrics"]["reward"]) for row in steps],
    )


def work_measured(run: RunPaths, folder: Path, peak: Path) -> None:
    """Does a run in a worker that writes down its own peak at its end."""
    command = (
        "import sys; from pathlib import Path; from workbench.worker.__main__ import main; code = main([sys.argv[1]]); "
        "lines = open('/proc/self/status').read().splitlines(); "
        "Path(sys.argv[2]).write_text(next(l for l in lines if l.startswith('VmHWM')).split()[1]); "
        "import os; os._exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-X", "utf8", "-c", command, str(run.root), str(peak)],
        env={**environment(folder), "PYTHONPATH": str(PACKAGE_ROOT)},
        check=False,
    )
    if done.returncode:
        raise SystemExit(run.log.read_text(encoding="utf-8"))


def theirs(folder: Path, base: Path, size: dict[str, int], seed: int, *, ends: bool = True) -> Measured:
    """TRL's run."""
    folder.mkdir(parents=True)
    _write(folder / "prompts.jsonl", prompts())
    (folder / "peer.py").write_text(PROGRAM, encoding="utf-8")
    order = {
        **size,
        "root": str(PACKAGE_ROOT),
        "base": str(base),
        "prompts": str(folder / "prompts.jsonl"),
        "out": str(folder / "out"),
        "tokens": TOKENS,
        "passes": PASSES,
        "rate": RATE,
        "beta": BETA,
        "seed": seed,
        "ends": ends,
    }
    done = subprocess.run(
        [str(peer_python()), str(folder / "peer.py"), json.dumps(order)],
        env=environment(folder),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Measured(found["seconds"], found["peak_kb"], [tuple(point) for point in found["curve"]])


def score_at(curve: list[tuple[float, float]], kl: float) -> float:
    """The mean score so far (nats) from the start, on the least-squares fit of a + b d + c d^2 with d = sqrt(KL) to all
    rollouts: how rewards are known to grow (Gao et al. 2023). One rollout's own mean strays by a tenth."""
    points = np.array(curve)
    distance = np.sqrt(points[:, 0].clip(0))
    fitted = np.polynomial.polynomial.polyfit(distance, points[:, 1], 2)
    return float(np.polynomial.polynomial.polyval(np.sqrt(kl), fitted))


def ending(curve: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean KL and score of the last quarter of the rollouts."""
    kl, score = np.array(curve)[-len(curve) // 4 :].mean(0)
    return float(kl), float(score)


def speed(folder: Path, bases: dict[str, Path], rounds: int) -> None:
    """Episodes a second and peaks, in turns."""
    print("| answers | program | episodes/s | peak MB | ours is faster by | ours takes |")
    print("|---|---|---|---|---|---|")
    for words, base in bases.items():
        found: dict[str, list[Measured]] = {"ours": [], PEER: []}
        for number in range(rounds):
            place = folder / f"speed-{base.name}-{number}"
            found["ours"].append(ours(place / "a", base, SPEED, number))
            found[PEER].append(theirs(place / "b", base, SPEED, number))
        rate = {name: SPEED["episodes"] / statistics.median(m.seconds for m in all_) for name, all_ in found.items()}
        peak = {name: statistics.median(m.peak_kb for m in all_) / 1024 for name, all_ in found.items()}
        for name in found:
            gains = f"{rate['ours'] / rate[name]:.2f} | {peak['ours'] / peak[name]:.2f}"
            print(f"| {words} | {name} | {rate[name]:.1f} | {peak[name]:.0f} | {gains} |", flush=True)


def quality(folder: Path, base: Path, seeds: Iterator[int]) -> None:
    """The rule's score at the same distance from the start, after equal episodes."""
    print("| seed | program | score at the end | KL there | score at KL | of | episodes/s |")
    print("|---|---|---|---|---|---|---|")
    differences = []
    for seed in seeds:
        place = folder / f"quality-{seed}"
        found = {"ours": ours(place / "a", base, QUALITY, seed), PEER: theirs(place / "b", base, QUALITY, seed)}
        common = min(ending(m.curve)[0] for m in found.values())
        for name, m in found.items():
            kl, score = ending(m.curve)
            rate = QUALITY["episodes"] / m.seconds
            at = score_at(m.curve, common)
            print(f"| {seed} | {name} | {score:.3f} | {kl:.2f} | {at:.3f} | {common:.2f} | {rate:.1f} |", flush=True)
        differences.append(score_at(found["ours"].curve, common) - score_at(found[PEER].curve, common))
        (place / "curves.json").write_text(json.dumps({name: m.curve for name, m in found.items()}), encoding="utf-8")
    error = np.std(differences, ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else np.nan
    print(f"Ours over {PEER} at equal KL: {np.mean(differences):+.3f} ± {error:.3f} (standard error over seeds)")


def beside_sft(folder: Path, base: Path) -> None:
    """PPO's peak over SFT's with the same rows at once, as long."""
    rows = [{**row, "completion": _said("assistant", f"{row['answer']} " * 8)} for row in prompts() for _ in range(1)]
    shared = {"how": "lora", "micro_batch": 16, "accumulation": 1, "max_length": 64, "max_steps": 8, "eval_every": 0}
    run = make_run(folder / "memory-sft", "sft", BaseRef(str(base), base.name), shared)
    _write(run.data / "train.jsonl", rows)
    peak = Path(f"{run.root}.peak")
    work_measured(run, folder / "memory-sft", peak)
    sft = int(peak.read_text(encoding="ascii"))
    changes = {**shared, "max_tokens": 40, "max_steps": 8}
    ppo = ours(folder / "memory-ppo", base, SPEED, 0, changes).peak_kb
    print(f"Peak of PPO over SFT's, 16 rows of 64 tokens at once: {ppo / sft:.2f} ({ppo >> 10} MB, {sft >> 10} MB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("speed", "quality", "memory"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="works in this folder and leaves it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        tuned = folder / "start" if (folder / "start").is_dir() else merged_start(folder)
        random = folder / "random" if (folder / "random").is_dir() else random_start(folder)
        if options.only in (None, "speed"):
            speed(folder, {"end by themselves": tuned, f"run to {TOKENS} tokens": random}, options.rounds)
        if options.only in (None, "memory"):
            beside_sft(folder, random)
        if options.only in (None, "quality"):
            quality(folder, tuned, iter(SEEDS[: options.rounds]))


if __name__ == "__main__":
    main()
