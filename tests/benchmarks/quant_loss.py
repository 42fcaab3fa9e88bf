"""What each type of GGUF loses on the bundled base: `python -m tests.benchmarks.quant_loss`.

The figures in workbench/exports/quants.py are these. KL is of the next token along the base's own greedy answers to
held-out prompts, against the base in float32.
"""

from __future__ import annotations

import json
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
        print(f"{'type':9} {'bits':>5} {'size':>8} {'KL, nats':>9} {'of 1,000 tokens change':>23}")
        for check in events:
            if isinstance(check, Verified) and check.check == "answers" and check.target in quants.BY_NAME:
                quant = quants.BY_NAME[check.target]
                size = (Path(folder) / "out" / file_name(quant.name)).stat().st_size
                changed = 1000 * (1 - (check.figures["greedy_agreement"] or 0.0))
                kl = check.figures["mean_kl"] or 0.0
                print(f"{quant.name:9} {quant.bits:5.2f} {size / 1e6:5.2f} MB {kl:9.1e} {changed:23.0f}")


if __name__ == "__main__":
    main()
