"""The tree of runs, and that any node of it can be gone on from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.projects import Copies
from tests.test_orders import add_questions
from workbench import orders
from workbench.bench import Bench
from workbench.cli import app
from workbench.errors import ExportError, RunError, SettingError
from workbench.job import BaseRef, Job
from workbench.runs import Run
from workbench.runs.lineage import tree


def job(run: str, parent: str | None = None) -> Job:
    return Job(run, "train", "sft", BaseRef("bundled", "bundled"), {}, parent=parent)


def test_runs_are_drawn_under_what_they_started_from() -> None:
    """1 has the children 2 and 4, 2 has 3; 5 starts from a run that is gone, 6 from the base."""
    jobs = [job("1"), job("2", "1"), job("3", "2"), job("4", "1"), job("5", "9"), job("6")]

    drawn = [f"{node.branch}{node.job.run}" for node in tree(jobs)]
    assert drawn == ["1", "├─ 2", "│  ╰─ 3", "╰─ 4", "5", "6"]
    assert [node.children for node in tree(jobs)] == [2, 1, 0, 0, 0, 0]


def test_a_chain_of_thousands_is_drawn() -> None:
    """Each run on the one before: no depth is too deep, and none is left out."""
    jobs = [job(str(n), str(n - 1) if n else None) for n in range(3000)]

    assert [node.depth for node in tree(jobs)] == list(range(3000))


def finished(bench: Bench, method: str, parent: str | None = None, kind: str = "LORA", **changes: str) -> Run:
    """A run with an adapter as its model, as a worker would leave it."""
    run = orders.train(bench, method, preset="cpu", parent=parent, changes=changes)
    run.paths.model.mkdir()
    shape = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "num_virtual_tokens": 5}
    (run.paths.model / "adapter_config.json").write_text(json.dumps({"peft_type": kind, **shape}))
    (run.paths.model / "adapter_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    return run


@pytest.fixture
def bench(tmp_path: Path, copied: Copies) -> Iterator[Bench]:
    """A project with demonstrations and ranked completions."""
    opened = copied(tmp_path / "project", add_questions)
    yield opened
    opened.close()


def test_any_node_can_be_sampled_exported_compared_and_trained_on(bench: Bench) -> None:
    """A run with two children is gone on from like a leaf; each has its own copy of the adapter, and its lineage."""
    root = finished(bench, "sft")
    left = finished(bench, "dpo", root.id)
    right = finished(bench, "sft", root.id, how="lora")
    grandchild = orders.train(bench, "dpo", preset="cpu", parent=left.id)
    for node in (root, left, right):
        sampled = orders.sample(bench, orders.SampleOrder(source=node.id))
        exported = orders.export(bench, node.id, "merged")
        trained = orders.train(bench, "dpo", preset="cpu", parent=node.id)
        for run in (sampled, exported, trained):
            assert run.job.lineage == (*node.job.lineage, node.id)
            assert (run.paths.start / "adapter_config.json").is_file()
    assert grandchild.job.lineage == (root.id, left.id)
    with pytest.raises(RunError, match="came from"):
        bench.runs.delete(root)


def test_the_list_of_runs_is_a_tree_on_request(bench: Bench) -> None:
    """`workbench runs --tree` shows children under their parent, whichever was ordered first."""
    root = finished(bench, "sft")
    other = finished(bench, "sft")
    child = finished(bench, "dpo", root.id)
    bench.close()

    shown = CliRunner().invoke(app, ["runs", "--tree", "-C", str(bench.paths.root)]).output
    places = [shown.index(word) for word in (f"{root.id} ", f"╰─ {child.id}", f"{other.id} ")]
    assert places == sorted(places)


def test_a_run_keeps_the_shape_of_the_adapter_it_goes_on_with(bench: Bench) -> None:
    """Rank and targets in the order are the parent's; asking for another rank is refused, starting a prefix is not."""
    root = finished(bench, "sft")
    child = orders.train(bench, "dpo", preset="cpu", parent=root.id)

    assert {name: child.job.settings[name] for name in ("rank", "alpha", "targets")} == {
        "rank": 8,
        "alpha": 16,
        "targets": "q_proj,v_proj",
    }
    with pytest.raises(SettingError, match="rank = 8"):
        orders.train(bench, "dpo", preset="cpu", parent=root.id, changes={"rank": 64})
    assert orders.train(bench, "sft", preset="cpu", parent=root.id, changes={"how": "prefix", "rank": 64})


def test_a_soft_prompt_goes_on_only_as_one_and_is_not_exported(bench: Bench) -> None:
    """Nothing can be merged into weights, so full tuning and exports are refused before anything starts."""
    prefix = finished(bench, "sft", kind="PREFIX_TUNING", how="prefix")

    assert orders.train(bench, "dpo", preset="cpu", parent=prefix.id, changes={"how": "prefix"}).job.settings[
        "virtual_tokens"
    ] == 5  # fmt: skip
    with pytest.raises(SettingError, match="is a prefix"):
        orders.train(bench, "dpo", preset="cpu", parent=prefix.id)
    with pytest.raises(ExportError, match="soft prompt"):
        orders.export(bench, prefix.id, "gguf")
    assert orders.sample(bench, orders.SampleOrder(source=prefix.id)).job.parent == prefix.id


def test_what_a_method_cannot_tune_is_refused_by_name(bench: Bench) -> None:
    """A method that needs an adapter to switch off says so for a prefix, with the ways it knows."""
    from dataclasses import replace

    from workbench import fields, methods

    narrow = replace(methods.get("dpo"), hows=("qlora", "lora"))
    with pytest.raises(SettingError, match=r"how = 'prefix' is not one of: qlora, lora\. Its steps need an adapter"):
        fields.check({"how": "prefix"}, narrow.all_fields)
