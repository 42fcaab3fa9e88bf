"""The order a worker reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.fake_worker import make_job
from workbench.errors import RunError
from workbench.job import FORMAT, Job, read_job


def written(path: Path, job: Job) -> Path:
    path.write_text(job.to_json(), encoding="utf-8")
    return path


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives, tuples and settings of every kind included."""
    job = make_job(
        run="0003",
        name="größe",
        settings={"rank": 16, "learning_rate": 2e-4, "how": "qlora", "gradient_checkpointing": True},
        parent="0002",
        lineage=("0001", "0002"),
        checkpoint=40,
        data={"train.jsonl": "ab"},
        counts={"pairs": 12},
        seed=7,
    )

    assert read_job(written(tmp_path / "job.json", job)) == job


@pytest.mark.parametrize(
    "change", [{"settings": {"micro_batch": 2}}, {"seed": 1}, {"parent": "0001"}, {"data": {"train.jsonl": "other"}}]
)
def test_any_change_changes_the_digest(change: dict[str, object]) -> None:
    """A changed order has another name, an equal one the same."""
    job = make_job()

    assert job.digest() == make_job().digest()
    assert dataclasses.replace(job, **change).digest() != job.digest()  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"run": "1", "base": {"unknown": 1}}'])
def test_a_damaged_order_is_a_sentence(content: str | None, tmp_path: Path) -> None:
    """Missing, cut or foreign files are a RunError that names the run."""
    folder = tmp_path / "0007"
    folder.mkdir()
    if content is not None:
        (folder / "job.json").write_text(content)

    with pytest.raises(RunError, match="run 0007 cannot be read"):
        read_job(folder / "job.json")


def test_a_newer_order_is_not_misread(tmp_path: Path) -> None:
    """An order of a later format says that the workbench is too old; an unknown field alone does not."""
    row = json.loads(make_job(run="0001").to_json())
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**row, "colour": "red"}))
    assert read_job(path).run == "0001"

    path.write_text(json.dumps({**row, "format": FORMAT + 1}))
    with pytest.raises(RunError, match="newer workbench"):
        read_job(path)


def test_a_title_is_number_action_and_name() -> None:
    """What a person reads in a list."""
    assert make_job(run="0003", action="dpo").title == "0003 dpo"
    assert make_job(run="0003", action="dpo", name="polite").title == "0003 dpo · polite"


def test_a_title_says_what_is_done_and_never_the_file_that_does_it() -> None:
    """Nobody asked for `transformers` or `reward_model`: a person samples, judges, exports."""
    done = {"sample": "transformers", "score": "reward_model", "export": "gguf"}
    titles = [make_job(run="0003", kind=kind, action=action).title for kind, action in done.items()]

    assert titles == ["0003 sample", "0003 judge", "0003 export gguf"]
