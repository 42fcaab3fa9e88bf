"""One card, one worker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.paths import lease_folder
from workbench.runs import lease, process

HOLD = """
import sys
from workbench.runs import lease
with lease.hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(title: str) -> subprocess.Popen[str]:
    """Another process that draws a ticket and holds the card until its stdin closes."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, title], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_free_card_is_held_at_once() -> None:
    """Nobody waits for a card that nobody holds, and afterwards it is free again."""
    waited: list[str] = []
    with lease.hold("0001 sft", on_wait=waited.append) as ticket:
        first = lease.holder()

        assert first is not None
        assert (first.number, first.title) == (ticket.number, "0001 sft")
    assert waited == []
    assert lease.holder() is None


def test_the_second_waits_and_knows_for_whom() -> None:
    """A second worker is told who holds the card, once, and gets it when the first is done."""
    other = hold_elsewhere("0001 sft")
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    waited: list[str] = []
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) == 2 and other.stdin is not None:
            other.stdin.close()

    with lease.hold("0002 dpo", on_wait=waited.append, look=look):
        assert waited == ["0001 sft"]
    other.wait()


def test_a_killed_holder_frees_the_card() -> None:
    """No cleaning up is needed after SIGKILL."""
    other = hold_elsewhere("0001 sft")
    assert other.stdout is not None
    other.stdout.readline()
    other.kill()
    other.wait()

    with lease.hold("0002 dpo"):
        assert [ticket.title for ticket in lease.queue()] == ["0002 dpo"]


def test_waiting_can_be_given_up() -> None:
    """A queued worker that is asked to stop leaves the queue."""
    other = hold_elsewhere("0001 sft")
    assert other.stdout is not None
    other.stdout.readline()

    def look() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), lease.hold("0002 dpo", look=look):
        pass
    assert [ticket.title for ticket in lease.queue()] == ["0001 sft"]
    other.communicate()


def test_first_come_first_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six that wait get the card in the order in which they drew their tickets."""
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.001)
    served: list[int] = []

    def work(number: int) -> None:
        with lease.hold(str(number)):
            served.append(number)

    threads = []
    with lease.hold("first"):
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            deadline = time.monotonic() + 5
            while len(lease.queue()) < number + 2 and time.monotonic() < deadline:
                time.sleep(0.001)
    for thread in threads:
        thread.join(timeout=5)

    assert served == list(range(6))


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place to queue, the error names the folder and the way out."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file"))

    with pytest.raises(RunError, match="queue for the card, cannot be written") as caught, lease.hold("x"):
        pass
    assert "WORKBENCH_HOME" in caught.value.hint


def test_a_ticket_of_an_earlier_boot_or_noise_is_no_holder() -> None:
    """What a crash of the machine or a foreign program left in the folder does not block the card."""
    lease_folder().mkdir(parents=True)
    found = process.identify()
    assert found is not None
    old = {"title": "old", **found.to_row(), "boot": "an earlier boot"}
    (lease_folder() / "000000000001.ticket").write_text(json.dumps(old))
    (lease_folder() / "000000000002.ticket").write_text("noise")

    with lease.hold("new"):
        assert [ticket.title for ticket in lease.queue()] == ["new"]
