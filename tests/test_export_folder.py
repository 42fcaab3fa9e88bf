"""The folder of an export: parts get their names when they are whole, and what a kill leaves harms nobody."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.errors import ExportError, InputError
from workbench.exports.folder import Delivery, folder_for, removed_on_failure


def test_a_part_replaces_the_old_one_only_when_published(tmp_path: Path) -> None:
    """Until it is published the old file stands; afterwards the new one does, and export.json has its hash."""
    delivery = Delivery(tmp_path, {"run": "0001"})
    (tmp_path / "model-f16.gguf").write_text("old")
    delivery.partial("model-f16.gguf").write_text("new")

    assert (tmp_path / "model-f16.gguf").read_text() == "old"
    delivery.publish("model-f16.gguf", {"target": "f16"})

    part = json.loads((tmp_path / "export.json").read_text())["parts"]["model-f16.gguf"]
    assert (tmp_path / "model-f16.gguf").read_text() == "new"
    assert part["verified"] is True
    assert part["files"]["model-f16.gguf"]["size"] == 3
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_is_replaced_as_a_whole_and_found_again_after_a_kill(tmp_path: Path) -> None:
    """A merged folder takes the old one's place; if the process died between the renames the old one comes back."""
    delivery = Delivery(tmp_path)
    (tmp_path / "merged.old").mkdir()
    (tmp_path / "merged.old" / "a").write_text("old")

    partial = delivery.partial("merged")
    assert (tmp_path / "merged" / "a").read_text() == "old"
    partial.mkdir()
    (partial / "b").write_text("new")
    delivery.publish("merged", {})

    assert [file.name for file in (tmp_path / "merged").iterdir()] == ["b"]
    assert not (tmp_path / "merged.old").exists()


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_part_and_its_own_row(tmp_path: Path) -> None:
    """Killed at each file operation in turn: what stands is whole, export.json describes it, the next try works."""
    died = finished = 0
    for moment in range(200):
        root = tmp_path / str(moment)
        delivery = Delivery(root)
        for content in ("old", "new"):
            if content == "new" and not _killed_at(moment, lambda d=delivery: _publish(d, "new")):
                finished += 1
            elif content == "old":
                _publish(delivery, "old")
        stands = {name: (root / name / "w" if name == "merged" else root / name).read_text() for name in PARTS}
        parts = delivery.record()["parts"]
        for name, text in stands.items():
            assert text in ("old", "new")
            hashes = {row["sha256"] for row in parts[name]["files"].values()}
            assert hashlib.sha256(text.encode()).hexdigest() in hashes, (moment, name, text)
        _publish(delivery, "new")
        assert {file.name for file in root.iterdir()} == {*PARTS, "export.json"}
        if finished:
            break
        died += 1

    assert died > 20
    assert finished == 1


PARTS = ("merged", "model-f16.gguf")


def _publish(delivery: Delivery, content: str) -> None:
    delivery.begin()
    folder = delivery.partial("merged")
    folder.mkdir()
    (folder / "w").write_text(content)
    delivery.publish("merged", {})
    delivery.partial("model-f16.gguf").write_text(content)
    delivery.publish("model-f16.gguf", {})


def test_a_folder_in_which_an_export_was_killed_takes_the_next_one(tmp_path: Path) -> None:
    """Killed before anything was whole there is no export.json yet: what it left is no reason to refuse, and goes."""
    for name in ("model-f16.gguf.partial", "importance.npz.partial", "README.md.partial"):
        (tmp_path / "killed" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "killed" / name).touch()
    folder = folder_for(str(tmp_path / "killed"), "0001")
    Delivery(folder).begin()

    assert not folder.exists()


def test_a_half_loaded_file_of_a_person_s_is_never_taken_for_an_export_s(tmp_path: Path) -> None:
    """A download under way has the same ending: alone it makes the folder theirs, beside an export it stays."""
    (tmp_path / "film.mp4.partial").touch()
    with pytest.raises(InputError, match="holds other files"):
        folder_for(str(tmp_path), "0001")
    (tmp_path / "export.json").write_text('{"run": "0001"}')
    Delivery(folder_for(str(tmp_path), "0001")).begin()

    assert {path.name for path in tmp_path.iterdir()} == {"export.json", "film.mp4.partial"}


def test_an_export_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    """Neither a refusal before the first byte nor a failure while writing leaves an empty folder; other files stay."""
    delivery = Delivery(tmp_path / "exports" / "0001-sft")
    delivery.begin()
    assert not delivery.root.exists()

    for kept in ([], ["export.json"]):
        written = delivery.partial("merged")
        written.mkdir()
        for name in kept:
            (delivery.root / name).touch()
        with pytest.raises(ExportError), removed_on_failure(written):
            raise ExportError("refused")
        assert delivery.root.exists() == bool(kept)


def _killed_at(moment: int, act: Callable[[], None]) -> bool:
    """Does it in a child that dies, as from SIGKILL, at its nth file operation; whether it died."""
    child = os.fork()
    if child == 0:
        count = [0]

        def die(event: str, arguments: object) -> None:
            if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "ctypes.call_function"):
                count[0] += 1
                if count[0] > moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        act()
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_a_failed_part_is_kept_under_a_name_that_nothing_loads(tmp_path: Path) -> None:
    """What failed its checks keeps its bytes as .unverified and never gets its final name."""
    delivery = Delivery(tmp_path)
    delivery.partial("model-Q8_0.gguf").write_text("wrong")

    delivery.reject("model-Q8_0.gguf", {"target": "Q8_0"})

    assert sorted(file.name for file in tmp_path.iterdir()) == ["export.json", "model-Q8_0.gguf.unverified"]
    assert delivery.record()["parts"]["model-Q8_0.gguf.unverified"]["verified"] is False


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    """What stands in the way, up to the nearest folder there is, is named before an export is started."""
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=r"Nothing can be written into .*file"):
        folder_for(str(tmp_path / "file" / "below"), None)
    assert folder_for(str(tmp_path / "new" / "below"), None) == tmp_path / "new" / "below"
