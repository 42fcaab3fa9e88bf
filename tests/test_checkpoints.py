"""Checkpoints: whole or absent, and the newest whole one is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import checkpoints
from workbench.errors import CheckpointError


def publish(folder: Path, step: int, text: str = "weights") -> Path:
    final = folder / f"step-{step:06d}"
    partial = checkpoints.begin(final)
    (partial / "weights").write_text(text)
    (partial / "deep").mkdir()
    (partial / "deep" / "state").write_text(str(step))
    return checkpoints.publish(partial, final, {"step": step, "seed": 7})


def test_a_published_checkpoint_verifies(tmp_path: Path) -> None:
    """What was written comes back with its facts, and nothing unfinished is left."""
    publish(tmp_path, 20)
    found = checkpoints.newest_valid(tmp_path)

    assert found is not None
    assert (found.step, found.facts, found.skipped) == (20, {"step": 20, "seed": 7}, ())
    assert found.size_bytes == len("weights") + len("20")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000020"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    """A run that has saved nothing yet, or only half a checkpoint, begins at its start."""
    assert checkpoints.newest_valid(tmp_path / "missing") is None

    (tmp_path / "step-000001.partial").mkdir()
    assert checkpoints.newest_valid(tmp_path) is None


def damage(folder: Path, how: str) -> None:
    weights, manifest = folder / "weights", folder / "MANIFEST.json"
    if how == "flipped":
        weights.write_text("w3ights")
    elif how == "cut":
        weights.write_text("we")
    elif how == "missing file":
        weights.unlink()
    elif how == "no manifest":
        manifest.unlink()
    elif how == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    elif how == "odd manifest":
        manifest.write_text("[]")
    elif how == "outside":
        row = json.loads(manifest.read_text())
        row["files"]["../secret"] = row["files"].pop("weights")
        manifest.write_text(json.dumps(row))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("flipped", "weights of step-000030 is damaged"),
        ("cut", "weights of step-000030 has 2 bytes instead of 7"),
        ("missing file", "weights of step-000030 is missing"),
        ("no manifest", "step-000030 has no manifest"),
        ("half a manifest", "manifest of step-000030 is damaged"),
        ("odd manifest", "manifest of step-000030 is damaged"),
        ("outside", "../secret of step-000030 is missing"),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_older_one(how: str, said: str, tmp_path: Path) -> None:
    """The newest that verifies is taken, and what was skipped is named with its reason."""
    publish(tmp_path, 20)
    damage(publish(tmp_path, 30), how)
    found = checkpoints.newest_valid(tmp_path)

    assert found is not None
    assert found.step == 20
    assert len(found.skipped) == 1
    assert said in found.skipped[0]


def test_when_none_verifies_it_is_an_error(tmp_path: Path) -> None:
    """A run whose every checkpoint is damaged does not silently begin again."""
    for step in (10, 20):
        damage(publish(tmp_path, step), "flipped")

    with pytest.raises(CheckpointError, match=r"step-000020 is damaged.*step-000010 is damaged"):
        checkpoints.newest_valid(tmp_path)


def test_steps_are_compared_as_numbers(tmp_path: Path) -> None:
    """Step 1,000,000 is newer than 999,999 though its name sorts before."""
    publish(tmp_path, 999_999)
    publish(tmp_path, 1_000_000)
    found = checkpoints.newest_valid(tmp_path)

    assert found is not None
    assert found.step == 1_000_000


def test_sweeping_keeps_the_newest(tmp_path: Path) -> None:
    """Older ones and unfinished ones go, what is not ours stays."""
    for step in (10, 20, 30):
        publish(tmp_path, step)
    (tmp_path / "step-000040.partial").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    checkpoints.sweep(tmp_path, keep=2)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "step-000020", "step-000030"]


def test_the_same_step_again_replaces_the_old_one(tmp_path: Path) -> None:
    """A damaged checkpoint is replaced when its step is reached again."""
    damage(publish(tmp_path, 20), "flipped")
    publish(tmp_path, 20, text="better")

    assert (checkpoints.verify(tmp_path / "step-000020").path / "weights").read_text() == "better"


def test_a_replacement_that_was_cut_short_is_undone(tmp_path: Path) -> None:
    """Killed between moving the old one aside and putting the new one in place, the old one is found."""
    publish(tmp_path, 20)
    (tmp_path / "step-000020").rename(tmp_path / "step-000020.replaced")
    found = checkpoints.newest_valid(tmp_path)

    assert found is not None
    assert found.step == 20


PUBLISH = """
import sys
from pathlib import Path
from tests.test_checkpoints import publish
from workbench import checkpoints
folder = Path(sys.argv[1])
publish(folder, 10)
publish(folder, 20)
checkpoints.sweep(folder, keep=1)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_order_of_system_calls_survives_a_power_cut(tmp_path: Path) -> None:
    """Files are synced, then the manifest; renamed; the folder synced; and only then is the old one deleted."""
    trace, folder = tmp_path / "trace", tmp_path / "checkpoints"
    calls = "trace=fsync,rename,renameat,renameat2,unlinkat,rmdir,unlink"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", PUBLISH, str(folder)]
    traced = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=60)
    if "PTRACE" in traced.stderr or "not permitted" in traced.stderr:
        pytest.skip("this machine does not let strace trace")
    lines = [line.replace(str(folder), "") for line in trace.read_text().splitlines() if str(folder) in line]
    second = lines[next(i for i, line in enumerate(lines) if "step-000020" in line) :]

    def place(*words: str) -> int:
        return next(i for i, line in enumerate(second) if all(word in line for word in words))

    renamed = place("rename", '/step-000020.partial", ')
    order = [
        max(place("fsync", "step-000020.partial/weights"), place("fsync", "step-000020.partial/deep/state")),
        place("fsync", "step-000020.partial/MANIFEST.json"),
        place("fsync", "step-000020.partial>"),
        renamed,
        renamed + next(i for i, line in enumerate(second[renamed:]) if "fsync" in line and "<>" in line),
        place("rename", '/step-000010"'),
    ]
    assert order == sorted(order)
    assert not any("unlink" in line and "step-000010" in line for line in second[: order[-2]])
