"""What may go wrong around an export: a kill at any moment, a full disk, damaged or foreign parts, a person's stop."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.export_fixtures import Exporting, Limit, make_run, reference, save_base
from tests.training.test_export_adapters import ADAPTERS, adapted
from workbench import exports
from workbench.errors import BaseModelError, ExportError, WorkbenchError
from workbench.events import Verified
from workbench.exports import gguf_lora
from workbench.exports.folder import Delivery
from workbench.exports.gguf import quantising
from workbench.job import BaseRef, Job
from workbench.paths import PACKAGE_ROOT, RunPaths
from workbench.worker.context import RunContext, StopRequested

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def folder_of(exporting: Exporting) -> Path:
    return exporting.project / "exports" / "0001-sft"


def contents(folder: Path) -> dict[str, str]:
    """Every file's hash by its name; empty where there is no folder."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_whole(folder: Path) -> set[str]:
    """Everything under a final name is what export.json says of it, hash by hash; the names that are there."""
    found = contents(folder)
    rows = Delivery(folder).record().get("parts", {})
    said = {
        f"{part}/{name}" if (folder / part).is_dir() else name: facts["sha256"]
        for part, row in rows.items()
        for name, facts in row.get("files", {}).items()
    }
    left = {name for name in found if ".partial" not in name}
    assert {name: found[name] for name in said} == said
    assert left - set(said) <= {"export.json", "README.md", "Modelfile"}
    return set(rows)


# -- killed

KILLED = """
import os, signal, sys
from pathlib import Path
import llama_cpp, peft, torch, transformers  # once, and not in every child
from tests.training.export_fixtures import Exporting
from workbench.exports import task

def export(project, last):
    count = 0
    def moment():
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    def look(event, arguments):
        changing = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
        writing = event == "open" and set(str(arguments[1])) & set("wax+")
        if (event in changing or writing) and str(project / "exports") in str(arguments):
            moment()
        elif event == "ctypes.call_function":
            moment()
    add = task.Progress.add
    task.Progress.add = lambda *arguments: (moment(), add(*arguments))
    sys.addaudithook(look)
    for target, settings in (("merged", {}), ("gguf", {"quants": "Q8_0"})):
        Exporting(project).export(target, **settings)
    return count

def in_child(project, last):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        os.write(writing, str(export(project, last)).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    return int(os.read(reading, 99) or 0)

first, *others = map(Path, sys.argv[1:])
moments = in_child(first, 0)
print(moments)
for number, project in enumerate(others, 1):
    print(in_child(project, moments * number // (len(others) + 1)))
"""
"""Exports in one project after the other; in all but the first the process kills itself, each time a little later."""

KILLS = 7


def test_a_kill_at_any_moment_leaves_whole_files_only(tmp_path: Path, export_base: Path) -> None:
    """Killed at seven moments spread over a merged and a GGUF export: each name holds what export.json says of it, the
    earlier files stand until the new ones take their place, and the next export clears up."""
    import torch
    from safetensors.torch import load_file, save_file

    run = make_run(tmp_path / "project", export_base)
    before = Exporting(tmp_path / "project")
    for target, settings in (("merged", {}), ("gguf", {"quants": "Q8_0"})):
        before.export(target, **settings)
    old = contents(folder_of(before))
    adapter = load_file(run.model / "adapter_model.safetensors")
    torch.manual_seed(3)
    save_file({n: t + 0.01 * torch.randn_like(t) for n, t in adapter.items()}, run.model / "adapter_model.safetensors")
    projects = [Path(shutil.copytree(before.project, tmp_path / f"killed-{n}")) for n in range(KILLS + 1)]

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, *map(str, projects)],
        capture_output=True, text=True, cwd=PACKAGE_ROOT, timeout=200, check=True,
    )  # fmt: skip

    moments, *ends = map(int, done.stdout.split())
    found = [contents(folder_of(Exporting(project))) for project in projects]
    weights = "model-Q8_0.gguf"
    assert moments > 40
    assert ends == [0] * KILLS  # all of them died
    for project in projects:
        assert check_whole(folder_of(Exporting(project))) == {"merged", weights}
    assert found[0][weights] != old[weights]
    assert {files[weights] for files in found} == {old[weights], found[0][weights]}
    assert any(".partial" in name for files in found for name in files)
    Exporting(projects[KILLS // 2]).export("gguf", quants="Q8_0")
    assert contents(folder_of(Exporting(projects[KILLS // 2])))[weights] == found[0][weights]
    assert not [name for name in contents(folder_of(Exporting(projects[KILLS // 2]))) if ".partial" in name]


# -- the disk


@pytest.mark.parametrize("target", ["merged", "f16", "Q8_0", "gguf-lora"])
def test_a_disk_that_is_full_at_half_of_the_file_leaves_the_old_one(
    lora_run: RunPaths, exporting: Exporting, file_limit: Limit, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Whatever is written, by us or by llama.cpp's own process: a sentence, the old files as they were, no other."""
    action, settings = (target, {}) if target in ("merged", "gguf-lora") else ("gguf", {"quants": target})
    exporting.export(action, **settings)
    before = contents(folder_of(exporting))
    size = max(file.stat().st_size for file in folder_of(exporting).rglob("*") if file.is_file())
    real = quantising.in_child

    def full(*arguments: Any, **named: Any) -> None:
        file_limit(size // 2)
        real(*arguments, **named)

    if target == "Q8_0":
        monkeypatch.setattr(quantising, "in_child", full)
    else:
        file_limit(size // 2)

    with pytest.raises(WorkbenchError, match="filled up" if target != "Q8_0" else "no Q8_0 of this model"):
        exporting.export(action, **settings)

    assert contents(folder_of(exporting)) == before
    check_whole(folder_of(exporting))


# -- parts that are damaged or foreign


def garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[10:40] = b"\xff" * 30
    path.write_bytes(data)


def not_a_number(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4000:-3996] = b"\x00\x00\xc0\x7f"  # float32's NaN, far from what the fingerprint reads
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), r"lacks|missing|not there|half"),
        (garbled, r"damaged|cannot be|header"),
        (lambda path: path.write_bytes(path.read_bytes()[:-500]), r"cut short|damaged"),
        (not_a_number, r"layers\.\d.*not all finite"),
    ],
    ids=["missing", "header garbled", "cut", "a weight that is no number"],
)
@pytest.mark.parametrize("action", ["merged", "gguf"])
def test_a_base_with_a_bad_shard_is_a_sentence(
    tmp_path: Path, exporting: Exporting, damage: Callable[[Path], None], words: str, action: str
) -> None:
    """The file or the tensor is named, and nothing is written under any name."""
    base = save_base(tmp_path / "sharded", shard="100KB")
    run = make_run(tmp_path / "project", base)
    unknown = {"path": str(base), "name": base.name, "fingerprint": ""}  # which would tell all of it at once
    run.job.write_text(json.dumps({**json.loads(run.job.read_text()), "base": unknown}))
    damage(sorted(base.glob("*.safetensors"))[1])

    with pytest.raises(WorkbenchError, match=words) as caught:
        exporting.export(action, **({"quants": "f16"} if action == "gguf" else {}))

    assert isinstance(caught.value, BaseModelError | ExportError)
    assert contents(exporting.project / "exports") == {}


def test_an_adapter_upon_a_base_of_another_shape_is_refused(
    lora_run: RunPaths, tmp_path: Path, exporting: Exporting
) -> None:
    """The tensor is named with both shapes, for merged and GGUF alike, and nothing is written."""
    other = BaseRef(str(save_base(tmp_path / "other", intermediate_size=96)), "other")
    row = json.loads(lora_run.job.read_text())
    lora_run.job.write_text(json.dumps({**row, "base": {"path": other.path, "name": "other", "fingerprint": ""}}))

    for action, settings in (("merged", {}), ("gguf", {"quants": "f16"}), ("gguf-lora", {})):
        with pytest.raises(ExportError, match=r"another base.*mlp.*\[.*128.*\].*\[.*96.*\]"):
            exporting.export(action, base=other, **settings)
    assert contents(exporting.project / "exports") == {}


HARD = {
    "dora": "DoRA",
    "head trained whole": "lm_head",
    "norms and embedding trained whole": "as a whole",
    "ranks and alphas by layer": "",
    "embedding and head": "",
}
"""Adapters that exporters get wrong, and why one cannot be a LoRA file."""


@pytest.mark.parametrize("kind", HARD)
def test_an_adapter_of_an_unusual_kind_becomes_a_right_gguf_or_a_sentence(
    tmp_path: Path, exporting: Exporting, kind: str
) -> None:
    """llama.cpp agrees with peft's own unmerged arithmetic; the adapter alone is exported, or refused with a reason."""
    from transformers import AutoTokenizer

    base = save_base(tmp_path / "base", learnt=True, initializer_range=0.05, tie_word_embeddings=False)
    run = RunPaths(exporting.project / "runs" / "0001")
    run.root.mkdir(parents=True)
    adapted(base, run.model, **ADAPTERS[kind])
    AutoTokenizer.from_pretrained(base).save_pretrained(run.model)
    run.job.write_text(Job("0001", "train", "sft", reference(base), {"how": "lora"}).to_json())

    exporting.export("gguf", quants="f32")
    checks = {(check.target, check.check): check for check in exporting.of(Verified)}
    if HARD[kind]:
        with pytest.raises(ExportError, match=HARD[kind]):
            exporting.export("gguf-lora")
    else:
        exporting.export("gguf-lora")

    assert checks["merged", "answers"].figures["mean_kl"] < 1e-6
    assert checks["f32", "answers"].figures["mean_kl"] < 1e-6
    assert (folder_of(exporting) / "model-f32.gguf").is_file()
    assert (folder_of(exporting) / gguf_lora.FILE).is_file() is not bool(HARD[kind])


# -- stopped


@pytest.mark.parametrize(("action", "settings"), [("merged", {}), ("gguf", {"quants": "Q8_0"}), ("gguf-lora", {})])
def test_a_person_s_stop_is_heard_soon_and_leaves_nothing(
    lora_run: RunPaths, exporting: Exporting, action: str, settings: dict[str, str]
) -> None:
    """Stopped when a third and when two thirds of the looks were over: the folder is as it was before."""
    looks = [0]
    stop_at = [0]

    def asked() -> bool:
        looks[0] += 1
        return looks[0] == stop_at[0]

    def export() -> None:
        looks[0] = 0
        order = exporting.order(action, **settings)
        exports.module(action).export(RunContext(order.paths, order.job, exporting.events.append, asked))

    export()
    before, whole = contents(folder_of(exporting)), looks[0]
    assert whole > 20
    for third in (1, 2):
        stop_at[0] = whole * third // 3
        with pytest.raises(StopRequested):
            export()
        assert contents(folder_of(exporting)) == before
