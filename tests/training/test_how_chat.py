"""Changing adapters while talking: the base stays in memory, and each answers as it does alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import MakeRun
from workbench.paths import ProjectPaths
from workbench.records import Turn, turns_to_json
from workbench.session import ModelRef, Session

pytestmark = pytest.mark.torch

QUESTION = (Turn("user", "Say three colours."),)


def said_alone(ref: ModelRef, project: Path) -> str:
    """The greedy answer of a model that nothing was loaded before."""
    from workbench.worker.serve import load
    from workbench.worker.turn import Turn as Place
    from workbench.worker.warm import Asked

    request = {"kind": ref.kind, "name": ref.name, "checkpoint": None, "project": str(project)}
    model = load(request, Place("a test", lambda behind: None))
    return "".join(model.answer(model.prompt(turns_to_json(QUESTION)), Asked(0.0, 1.0, 12, 0, ())))


def test_adapters_of_one_base_are_changed_without_loading_it_again(
    make_run: MakeRun, tiny_base: Path, tmp_path: Path
) -> None:
    """Two LoRA runs, a prefix on one of them and the base answer in turn from one process, as each does by itself."""
    first = make_run("sft", "0001", how="lora", learning_rate=0.02).train()
    make_run("sft", "0002", how="qlora", learning_rate=0.03, parent=first).train()
    make_run("sft", "0003", how="prefix", parent=first).train()
    refs = [ModelRef("run", "0001"), ModelRef("run", "0002"), ModelRef("run", "0003"), ModelRef("base", str(tiny_base))]
    expected = [said_alone(ref, tmp_path) for ref in refs]
    session = Session(refs[0], ProjectPaths(tmp_path))
    heard, kept = [], []
    try:
        for ref in (*refs, refs[1]):
            session.ref = ref
            kept.append(session.start().kept)
            heard.append("".join(session.ask(QUESTION, temperature=0.0, max_tokens=12)))
            assert session.loaded.seconds < 1 or not session.loaded.kept
    finally:
        session.close()

    assert len(set(expected)) == 4
    assert heard == [*expected, expected[1]]
    assert kept == [False, True, True, True, True]


def test_wearing_another_adapter_keeps_the_very_same_weights(make_run: MakeRun, tiny_base: Path) -> None:
    """The base's tensors are the same memory before and after, and its answers the same bits once it is bare again."""
    import torch

    from workbench.worker.adapters import Wardrobe
    from workbench.worker.model import load_weights

    runs = [make_run("sft", name, how="lora", learning_rate=0.02, max_steps=2) for name in ("0001", "0002")]
    folders = [run.train().paths.model for run in runs]
    base = load_weights(tiny_base, torch.float32).eval()
    ids = torch.tensor([[5, 6, 7]])
    places = {value.data_ptr() for value in base.parameters()}
    bare = base(ids).logits
    wardrobe = Wardrobe(base)
    logits = []
    for folder in (*folders, None):
        wardrobe.wear(folder)
        logits.append(base(ids).logits)

    assert places <= {value.data_ptr() for value in base.parameters()}
    assert not torch.equal(logits[0], bare)
    assert torch.equal(logits[2], bare)


def test_dora_is_merged_to_answer_and_stays_on(make_run: MakeRun, tiny_base: Path) -> None:
    """A DoRA run answers from plain weights, with the unmerged one's logits to rounding; nothing else is worn there."""
    import torch
    from peft import PeftModel

    from workbench.worker.model import load_weights
    from workbench.worker.turn import Turn as Place
    from workbench.worker.warm import TransformersModel

    dora = make_run("sft", "0001", how="lora", dora=True, learning_rate=0.02, max_steps=2).train().paths.model
    plain = make_run("sft", "0002", how="lora", max_steps=2).train().paths.model
    warm, other = (
        TransformersModel(tiny_base, adapter, tiny_base, Place("a test", lambda behind: None))
        for adapter in (dora, plain)
    )
    unmerged = PeftModel.from_pretrained(load_weights(tiny_base, torch.float32), dora).eval()
    ids = torch.arange(5, 25)[None]
    with torch.inference_mode():
        difference = (warm.model(ids).logits - unmerged(ids).logits).abs().max()

    assert not any("lora" in name for name, _ in warm.model.named_parameters())
    assert float(difference) < 1e-4
    assert (warm.can_wear(tiny_base, plain), warm.can_wear(tiny_base, None)) == (False, False)
    assert (other.can_wear(tiny_base, dora), other.can_wear(tiny_base, None)) == (False, True)
