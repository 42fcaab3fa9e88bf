"""`workbench.methods`: what the form, the command line and the charts read of a method."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from workbench import methods
from workbench.errors import SettingError, StartingPointError
from workbench.methods import dpo
from workbench.paths import PACKAGE_ROOT


def test_the_folder_is_the_list() -> None:
    """Each method is found by its file, with fields of its own and charts that begin with what it lowers or raises."""
    found = {method.name: method for method in methods.all_methods()}

    assert {"sft", "dpo", "kto", "orpo", "simpo", "reward", "grpo", "rloo"} <= set(found)
    assert {"sft": "demonstrations", "dpo": "pairs"}.items() <= {name: m.needs for name, m in found.items()}.items()
    for method in found.values():
        names = [field.name for field in method.all_fields]
        assert len(names) == len(set(names))
        assert set(method.defaults) <= set(names)
        assert method.panels[0].metrics in (("loss",), ("reward",))
        assert all(field.help.endswith(".") for field in method.all_fields)


def test_every_default_is_within_its_own_bounds() -> None:
    """A field's default parses as itself."""
    for method in methods.all_methods():
        for field in method.all_fields:
            assert field.parse(field.default) == field.default
            chosen = method.defaults.get(field.name, field.default)
            assert field.parse(chosen) == chosen


def test_importing_the_methods_loads_no_training_library() -> None:
    """A fresh interpreter in which torch cannot be imported reads every method's record."""
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'trl', 'peft', 'datasets', 'bitsandbytes'): sys.modules[name] = None\n"
        "from workbench import methods, samplers\n"
        "print(len(methods.all_methods()) >= 2 and len(samplers.all_samplers()) >= 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE_ROOT, check=False, timeout=60
    )

    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_an_unknown_method_names_the_nearest() -> None:
    """'dop' suggests dpo."""
    with pytest.raises(SettingError) as caught:
        methods.get("dop")
    assert caught.value.hint == "Did you mean dpo?"


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("sigmoid", math.log(2)),  # -log sigmoid(0)
        ("robust", math.log(2)),  # ((1 - e) ln 2 - e ln 2) / (1 - 2 e)
        ("hinge", 1.0),  # max(0, 1 - 0)
        ("ipo", 25.0),  # (0 - 1 / (2 * 0.1))^2
        ("apo_zero", 1.0),  # 1 - 1/2 + 1/2
        ("nca_pair", 2 * math.log(2)),  # ln 2 + ln 2 / 2 + ln 2 / 2
    ],
)
def test_the_starting_loss_is_known(loss_type: str, expected: float) -> None:
    """With policy and reference equal all log-ratios are 0; beta is 0.1."""
    assert dpo.starting_loss(loss_type, 0.1) == pytest.approx(expected)
    dpo.check_starting_point(expected + 5e-4, loss_type, 0.1)
    with pytest.raises(StartingPointError):
        dpo.check_starting_point(expected + 0.1, loss_type, 0.1)
    with pytest.raises(StartingPointError):
        dpo.check_starting_point(float("nan"), loss_type, 0.1)


def test_label_smoothing_without_the_robust_loss_is_refused() -> None:
    """TRL would ignore it silently."""
    with pytest.raises(SettingError, match="no effect on the sigmoid loss"):
        dpo.check_settings({"label_smoothing": 0.1, "loss_type": "sigmoid"})
    dpo.check_settings({"label_smoothing": 0.1, "loss_type": "robust"})
