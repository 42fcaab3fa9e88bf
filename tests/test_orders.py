"""From choices to a run on disk: settings, data and lineage are frozen in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import Copies
from workbench import orders
from workbench.bench import Bench, recent_projects
from workbench.errors import CorruptStoreError, InputError, ProjectError, RunError, SettingError
from workbench.events import Completed
from workbench.records import NewPrompt, Origin, Ranking, Turn


def asked(text: str) -> tuple[Turn, ...]:
    return (Turn("user", text),)


def add_questions(bench: Bench) -> None:
    """Forty prompts with a demonstration each, of which ten also have two ranked completions."""
    ids = bench.store.add_prompts(NewPrompt(asked(f"Question {n}?"), answer=f"Answer {n}.") for n in range(40))
    for n, prompt_id in enumerate(ids):
        bench.store.add_demonstration(prompt_id, f"Answer {n}.", "import")
    rows = [Completed(prompt_id=p, n=n, text=f"{p} says {n}") for p in ids[:10] for n in range(2)]
    bench.store.add_completions("0000", Origin("bundled"), rows)
    for prompt_id in ids[:10]:
        best, worst = (c.id for c in bench.store.completions(prompt_id))
        bench.store.add_ranking(Ranking(0, prompt_id, (best, worst), ((best,), (worst,)), "ranked"))


@pytest.fixture
def bench(tmp_path: Path, copied: Copies) -> Iterator[Bench]:
    """A project as `add_questions` fills it."""
    opened = copied(tmp_path / "project", add_questions)
    yield opened
    opened.close()


def rows_of(run: object, name: str) -> list[dict[str, object]]:
    text = (run.paths.data / name).read_text()  # type: ignore[attr-defined]
    return [json.loads(line) for line in text.splitlines()]


def test_an_sft_run_freezes_its_demonstrations(bench: Bench) -> None:
    """Training and held-out rows together are the project's demonstrations, and no row is in both."""
    run = orders.train(bench, "sft", preset="cpu", changes={"held_out": "0.25"})

    training, held_out = rows_of(run, "train.jsonl"), rows_of(run, "held_out.jsonl")
    texts = {json.dumps(row) for row in training} | {json.dumps(row) for row in held_out}
    assert len(texts) == len(training) + len(held_out) == 40
    assert 4 <= len(held_out) <= 16


def test_later_data_does_not_reach_a_run(bench: Bench) -> None:
    """A demonstration added after the order is not in the run's frozen data."""
    run = orders.train(bench, "sft", preset="cpu")
    before = (run.paths.data / "train.jsonl").read_bytes()

    prompt_id = bench.store.add_prompts([NewPrompt(asked("Later?"))])[0]
    bench.store.add_demonstration(prompt_id, "Much later.", "edit")

    assert (run.paths.data / "train.jsonl").read_bytes() == before


def test_settings_are_complete_and_the_persons_win(bench: Bench) -> None:
    """The job holds every field of the method, with the person's change over the preset's value."""
    run = orders.train(bench, "dpo", preset="cpu", changes={"beta": "0.3"})

    assert run.job.settings["beta"] == 0.3
    assert run.job.settings["micro_batch"] == 8
    assert run.job.preset == "cpu"


def test_dpo_trains_on_the_ranked_pairs(bench: Bench) -> None:
    """Each ranking of two completions makes one pair, the better one chosen."""
    run = orders.train(bench, "dpo", preset="cpu", changes={"held_out": "0"})

    rows = rows_of(run, "train.jsonl")
    assert len(rows) == 10
    assert all(row["chosen"][0]["content"].endswith("says 0") for row in rows)  # type: ignore[index]


def test_an_unknown_setting_names_the_nearest(bench: Bench) -> None:
    """A mistyped key is refused with the key that was probably meant."""
    with pytest.raises(SettingError, match="learning_rat") as caught:
        orders.train(bench, "sft", preset="cpu", changes={"learning_rat": "1e-4"})

    assert caught.value.hint == "Did you mean learning_rate?"


def test_no_data_is_said(tmp_path: Path) -> None:
    """A project without demonstrations, pairs or prompts says what is missing and how to get it."""
    empty = Bench.create(tmp_path / "empty")

    for order in (lambda: orders.train(empty, "sft"), lambda: orders.train(empty, "dpo")):
        with pytest.raises(InputError) as caught:
            order()
        assert caught.value.hint
    with pytest.raises(InputError, match="no prompts"):
        orders.sample(empty, orders.SampleOrder())


def test_a_parent_without_a_model_is_refused(bench: Bench) -> None:
    """A run that has not finished cannot be started from."""
    parent = orders.train(bench, "sft", preset="cpu")

    with pytest.raises(RunError, match="no finished model"):
        orders.train(bench, "dpo", preset="cpu", parent=parent.id)


def test_a_child_copies_the_adapter_it_starts_from(bench: Bench) -> None:
    """The starting adapter lies in the child's own folder, and its lineage names the parent."""
    parent = orders.train(bench, "sft", preset="cpu")
    parent.paths.model.mkdir()
    (parent.paths.model / "adapter_config.json").write_text("{}")

    child = orders.train(bench, "dpo", preset="cpu", parent=parent.id)

    assert (child.paths.start / "adapter_config.json").read_text() == "{}"
    assert child.job.lineage == (parent.id,)


def test_sampling_takes_the_least_sampled_prompts(bench: Bench) -> None:
    """Prompts that have no completions yet come first."""
    run = orders.sample(bench, orders.SampleOrder(prompts=30, changes={"n": 3}))

    chosen = {row["id"] for row in rows_of(run, "prompts.jsonl")}
    unsampled = {p.id for p in bench.store.prompts() if not bench.store.completions(p.id)}
    assert chosen == unsampled
    assert run.job.counts == {"prompts": 30, "completions": 90}


def test_a_project_is_not_made_over_something(tmp_path: Path) -> None:
    """A folder that holds something is refused and left as it is."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(ProjectError, match="not empty"):
        Bench.create(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_projects_are_remembered(tmp_path: Path) -> None:
    """The project opened last comes first in the list of recent ones."""
    first, second = Bench.create(tmp_path / "a"), Bench.create(tmp_path / "b")
    Bench.open(first.paths.root)

    assert recent_projects() == [first.paths.root, second.paths.root]


def test_an_emptied_store_is_not_taken_for_a_new_project(tmp_path: Path) -> None:
    """A workbench.db of no bytes is refused and left as it is, not filled with an empty project."""
    project = Bench.create(tmp_path / "a").paths
    project.store.write_bytes(b"")

    with pytest.raises(CorruptStoreError, match="empty"):
        Bench.open(project.root)

    assert project.store.stat().st_size == 0


def test_an_unknown_quantisation_makes_no_run(bench: Bench) -> None:
    """A wrong GGUF type is refused before anything is written, with the nearest name."""
    with pytest.raises(SettingError, match="Q9_0"):
        orders.export(bench, "0001", "gguf", changes={"quants": "Q9_0"})

    assert bench.runs.ids() == []
