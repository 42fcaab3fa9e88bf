"""The command line leaves a run working when its own process goes, and can steer it afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.bench import Bench
from workbench.paths import PACKAGE_ROOT

pytestmark = pytest.mark.torch


def command(project: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "workbench.cli", "-C", str(project), *arguments]


def asked(project: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    """Exit code and document of a command."""
    done = subprocess.run(
        command(project, *arguments, "--json"),
        capture_output=True,
        text=True,
        cwd=PACKAGE_ROOT,
        check=False,
        timeout=200,
    )
    document: dict[str, object] = json.loads(done.stdout)
    return done.returncode, document


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    Bench.create(root, demo=True).close()
    return root


def test_ctrl_c_leaves_the_training_running(project):
    """Ctrl-C while following ends the command with 130 and how to return; the run is stopped only by being asked."""
    following = subprocess.Popen(
        command(project, "train", "sft", "--preset", "cpu", "--set", "max_steps=5000", "--set", "how=lora"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PACKAGE_ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert following.stderr is not None
    told = ""
    while "of 5000" not in told:
        line = following.stderr.readline()
        assert line, told  # it ended before it had begun
        told += line
    os.killpg(following.pid, signal.SIGINT)  # as a terminal does: the whole foreground group hears it
    told += following.communicate(timeout=60)[1]
    running = asked(project, "runs")[1]["runs"]
    stopped = asked(project, "stop", "last")
    code, ended = asked(project, "watch", "last")

    assert following.returncode == 130
    assert "training continues: workbench watch 0001; workbench stop 0001" in told
    assert "\x1b" not in told
    assert [run["state"] for run in running] == ["running"]  # type: ignore[index,union-attr]
    assert stopped[0] == 0
    assert (code, "workbench resume 0001" in str(ended["error"])) == (5, True)
