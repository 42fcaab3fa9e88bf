"""What each type of GGUF loses on the bundled base: `python -m tests.benchmarks.quant_loss [--save]`.

The figures in workbench/exports/quants.py are these; one that is off by more than its one digit is marked. KL is of the
next token along the base's own greedy answers to held-out prompts, against the base in float32. `--save` keeps
the table in tests/benchmarks/results.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from workbench.events import Event, Verified
from workbench.exports import quants
from workbench.exports.making import file_name
from workbench.job import BaseRef, Job
from workbench.paths import DEMO_DATA, RunPaths
from workbench.worker.context import RunContext

PROMPTS = 32
RESULT = Path(__file__).parent / "results" / "quant_loss.md"
HEAD = "| type | bits | size | KL, nats | stated | of 1,000 tokens change | loses |\n|---|---|---|---|---|---|---|"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = RunPaths(Path(folder) / "runs" / "0001")
        paths.data.mkdir(parents=True)
        lines = (DEMO_DATA / "held_out.jsonl").read_text(encoding="utf-8").splitlines()[:PROMPTS]
        rows = [{"prompt": [{"role": "user", "content": json.loads(line)["prompt"]}]} for line in lines]
        (paths.data / "check.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings: dict[str, Any] = {"quants": ",".join(quants.BY_NAME), "out": str(Path(folder) / "out")}
        events: list[Event] = []
        job = Job("0001", "export", "gguf", BaseRef("bundled", "bundled"), settings)

        from workbench.exports import making

        making.export(RunContext(paths, job, events.append))
        found = [check for check in events if isinstance(check, Verified) and check.check == "answers"]
        told = [row_of(check, Path(folder) / "out") for check in found if check.target in quants.BY_NAME]
    table = "\n".join([HEAD, *told])
    print(table)
    if "--save" in sys.argv:
        title = (
            f"# What each type loses on the bundled base\n\n`python -m tests.benchmarks.quant_loss`, {PROMPTS} prompts."
        )
        RESULT.write_text(f"{title}\n\n{table}\n", encoding="utf-8")


def row_of(check: Verified, folder: Path) -> str:
    """One type: its size, what it measured beside what is stated, and what a person reads."""
    quant = quants.BY_NAME[check.target]
    size = (folder / file_name(quant.name)).stat().st_size
    changed = 1000 * (1 - (check.figures["greedy_agreement"] or 0.0))
    kl = check.figures["mean_kl"] or 0.0
    stated = f"{quant.kl:.0e}" if quant.kl else "none"
    off = bool(quant.kl) and not 0.8 < kl / quant.kl < 1.5  # one digit: 1e-5 may be 0.95e-5 to 1.5e-5
    mark = " (off)" if off else ""
    figures = f"{quant.bits:.2f} | {size / 1e6:.2f} MB | {kl:.1e} | {stated}{mark} | {changed:.0f}"
    return f"| {quant.name} | {figures} | {quant.loses} |"


if __name__ == "__main__":
    main()
