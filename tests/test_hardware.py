"""The machine, looked at without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import hardware
from workbench.errors import DiskFullError
from workbench.hardware import Hardware


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for nvidia-smi: a program that prints what the test wrote beside it."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/answer\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("answer", "card"),
    [
        (
            "NVIDIA GeForce RTX 3060, 12288, 11000, 550.54\n",
            ("NVIDIA GeForce RTX 3060", 12288 << 20, 11000 << 20, "550.54"),
        ),
        ("A, odd name, 8192, 8000, 1\nB, 1, 1, 1\n", ("A, odd name", 8192 << 20, 8000 << 20, "1")),
        ("NVIDIA GB10, [N/A], [N/A], 580\n", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", None),
        ("", None),
    ],
)
def test_the_card_is_what_the_driver_says(smi: Path, answer: str, card: object) -> None:
    """Name, memory and driver come from nvidia-smi; an answer without figures is no card."""
    (smi / "answer").write_text(answer)

    assert hardware._card() == card


def test_the_visible_card_is_asked_for(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES chooses the card, and hides all of them when empty."""
    (smi / "answer").write_text("X, 100, 90, 1\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert hardware.free_vram_bytes() == 90 << 20
    assert (smi / "asked").read_text().split()[-1] == "--id=2"

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.free_vram_bytes() is None


def test_a_machine_without_a_card_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without nvidia-smi there is a processor, with memory and cores."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(hardware, "WSL_SMI", tmp_path / "none")
    hardware.detect.cache_clear()
    found = hardware.detect()
    hardware.detect.cache_clear()

    assert not found.has_card
    assert found.name
    assert found.ram_bytes > 2**28
    assert found.cores >= 1
    assert found.summary.startswith("CPU only")


def test_a_containers_limit_is_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a container the lower of machine and limit counts; 'max' is no limit."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(hardware, "CGROUP_LIMITS", (limit,))
    limit.write_text("max\n")
    machine = hardware.ram_bytes()
    limit.write_text("1000000\n")

    assert hardware.ram_bytes() == 1_000_000 < machine


def test_too_little_room_is_refused_with_numbers(tmp_path: Path) -> None:
    """The error names the place, what is needed and what is free, also for a folder yet to be made."""
    place = tmp_path / "not" / "made" / "yet"
    hardware.require_room(place, 1000)

    with pytest.raises(DiskFullError, match=r"An export needs \d+ GB on the disk of .*yet, and .* is free") as caught:
        hardware.require_room(place, hardware.disk_free(tmp_path) + 2**50, "An export")
    assert "Free " in caught.value.hint


def test_sizes_in_words() -> None:
    """Sizes are shown with two digits where one would be too few."""
    words = [hardware.human_bytes(size) for size in (0, 512, 1500, 20_000_000, 3_400_000_000, 5 * 10**12)]

    assert words == ["0 B", "512 B", "1.5 kB", "20 MB", "3.4 GB", "5000 GB"]


def test_a_card_is_summed_up_in_a_line() -> None:
    """The line says name and memory."""
    assert Hardware("RTX 3060", 12 * 2**30, 0, 0, 1).summary == "RTX 3060 · 12 GiB"
