"""Identity of processes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from tests.fake_worker import dead_pid
from workbench.runs import process


def test_this_process_is_alive() -> None:
    """A running process has an identity, and it is alive."""
    found = process.identify()

    assert found is not None
    assert found.pid == os.getpid()
    assert process.is_alive(found)
    assert not process.is_paused(found)


@pytest.mark.parametrize("change", [{"started": 1.0}, {"boot": "another boot"}])
def test_a_reused_pid_is_another_process(change: dict[str, object]) -> None:
    """The same pid with another start time or boot id is not alive."""
    found = process.identify()

    assert found is not None
    assert not process.is_alive(dataclasses.replace(found, **change))  # type: ignore[arg-type]


def test_a_dead_process_has_no_identity() -> None:
    """A pid that is gone has no identity."""
    assert process.identify(dead_pid()) is None


def test_a_zombie_is_dead() -> None:
    """A child that ended and was not waited for is not alive."""
    child = os.fork()
    if child == 0:
        time.sleep(0.05)
        os._exit(0)
    found = process.identify(child)
    assert found is not None
    while process._stat(child)[0] != "Z":  # type: ignore[index]
        time.sleep(0.005)

    assert not process.is_alive(found)

    os.waitpid(child, 0)


def test_the_exit_status_of_an_adopted_child_is_known() -> None:
    """A child of ours that was killed tells by which signal."""
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    process.adopt(child)
    found = process.identify(child.pid)
    assert found is not None
    assert process.exit_status(found) is None

    child.kill()
    while process.is_alive(found):
        time.sleep(0.005)

    assert process.exit_status(found) == -9


def test_a_row_without_an_identity_gives_none() -> None:
    """Rows of other programs or older versions are no identity."""
    rows = [{}, {"pid": "1"}, {"pid": 0, "started": 1, "boot": ""}, {"pid": 1, "started": None, "boot": ""}]

    assert [process.from_row(row) for row in rows] == [None] * 4


def test_an_identity_survives_json() -> None:
    """Writing and reading an identity gives the same."""
    found = process.identify()

    assert found is not None
    assert process.from_row(found.to_row()) == found
