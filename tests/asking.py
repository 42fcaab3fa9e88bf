"""Asking the command line in this process, and a project to ask about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench import cli
from workbench.bench import Bench
from workbench.events import Event, encode
from workbench.job import BaseRef, Job
from workbench.runs import Run


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Runs a command in this process: exit code, stdout, stderr."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, str]]:
    """A refused command's exit code and its error, as --json reports it."""
    code, out, _ = asked(capsys, *arguments, "--json")
    error: dict[str, str] = json.loads(out)["error"]
    return code, error


def recorded(root: Path, *events: Event, name: str = "") -> Run:
    """A training run whose worker has written these events and is gone."""
    bench = Bench.open(root)
    job = Job(run="", kind="train", action="sft", base=BaseRef("bundled", "bundled"), settings={}, name=name)
    run = bench.runs.create(job, {"train.jsonl": []})
    bench.close()
    run.paths.events.write_bytes(b"".join(encode(event) for event in events))
    return run
