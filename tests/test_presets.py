"""`workbench.presets`: TOML to settings, and which preset suits a card."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import methods, paths, presets
from workbench.errors import InputError, SettingError
from workbench.methods import group, kto


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["8gb", "12gb", "16gb", "24gb", "cpu"])
@pytest.mark.parametrize("method", [method.name for method in methods.all_methods()])
def test_every_shipped_preset_settles_every_field(name: str, method: str) -> None:
    """A shipped preset is valid, says what it costs, and leaves no field without a value."""
    preset = presets.get(name)

    assert preset.costs
    assert set(preset.settings(method)) == {field.name for field in methods.get(method).all_fields}


@pytest.mark.parametrize("name", ["8gb", "12gb", "16gb", "24gb", "cpu"])
def test_every_shipped_preset_gives_kto_two_rows_and_groups_their_room(name: str) -> None:
    """What KTO, RLOO and GRPO refuse is in no preset: one row at a time, parts of groups, no room for a prompt."""
    preset = presets.get(name)

    kto.check_settings(preset.settings("kto"))
    for method in ("rloo", "grpo"):
        group.check_settings(preset.settings(method))


def test_the_published_recipe_of_ppo_for_large_models_is_two_settings_away() -> None:
    """From the 24 GB preset, one epoch and an accumulation of 16: batches of 512, 1e-5 falling to a tenth by cosine,
    3 % warm-up."""
    settings = presets.get("24gb").settings("ppo", {"epochs": 1, "accumulation": 16})

    assert int(settings["micro_batch"]) * int(settings["accumulation"]) * int(settings["mini_batches"]) == 512
    assert (settings["learning_rate"], settings["schedule"], settings["final_rate"]) == (1e-5, "cosine", 0.1)
    assert (settings["warmup"], settings["epochs"]) == (0.03, 1)


@pytest.mark.parametrize("name", ["8gb", "12gb", "16gb", "24gb", "cpu"])
def test_no_method_refuses_what_a_shipped_preset_says(name: str) -> None:
    """Every method that checks its settings before it trains accepts those of every preset."""
    checking = [m.name for m in methods.all_methods() if hasattr(methods.module(m.name), "check_settings")]

    assert {"dpo", "kto", "reward"} <= set(checking)
    for method in checking:
        methods.module(method).check_settings(presets.get(name).settings(method))


def test_no_shipped_preset_restates_a_default() -> None:
    """A copied default goes stale and then misleads: every value in a preset differs from what it would be anyway."""
    for preset in presets.all_presets():
        for section, values in preset.sections.items():
            names = [method.name for method in methods.all_methods()] if section == "all" else [section]
            for name, value in values.items():
                without = [
                    presets.Preset(
                        "x", "x", "", sections={} if section == "all" else {"all": preset.sections.get("all", {})}
                    ).settings(method)[name]
                    for method in names
                ]
                assert any(value != default for default in without), f"{preset.name} [{section}] {name}"


def test_the_person_s_changes_win_over_the_method_s_section_over_all(tmp_path: Path) -> None:
    """Field default 16 < [all] 8 < [sft] 4 < the person's 2, for the LoRA rank."""
    preset = presets.read_preset(write(tmp_path / "mine.toml", "[all]\nrank = 8\n[sft]\nrank = 4\n"))

    assert preset.settings("dpo")["rank"] == 8
    assert preset.settings("sft")["rank"] == 4
    assert preset.settings("sft", {"rank": "2"})["rank"] == 2
    assert methods.get("dpo").defaults["learning_rate"] == preset.settings("dpo")["learning_rate"]


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("[sft]\nlearning_rat = 1e-4\n", "no setting called 'learning_rat'", "learning_rate"),
        ("[sfft]\nrank = 4\n", "no training method called 'sfft'", "sft"),
        ("[sft]\nlearning_rate = -1\n", "below its least value", ""),
        ("[sft]\nlearning_rate = 1e400\n", "not a finite number", ""),
        ("[sft]\nbeta = 0.1\n", "no setting called 'beta'", ""),
        ("title = 3\n", "wrong kind of value", ""),
        ("rank = 4\n", "does not belong at the top", ""),
    ],
)
def test_a_wrong_preset_names_the_file_and_the_nearest_word(tmp_path: Path, text: str, words: str, hint: str) -> None:
    """Unknown keys and values outside their bounds are SettingErrors."""
    with pytest.raises(SettingError, match=words) as caught:
        presets.read_preset(write(tmp_path / "mine.toml", text))
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["rank = ", "[all]\nrank = 1\nrank = 2\n", "x" * 300_000])
def test_what_is_no_preset_is_a_sentence(tmp_path: Path, text: str) -> None:
    """Broken TOML, a key twice, and a file that is far too long are InputErrors naming the file."""
    with pytest.raises(InputError, match=r"mine\.toml"):
        presets.read_preset(write(tmp_path / "mine.toml", text))


@pytest.mark.parametrize(
    ("card", "name"), [(0, "cpu"), (6, "cpu"), (7.7, "8gb"), (11.6, "12gb"), (23.5, "24gb"), (80, "24gb")]
)
def test_a_card_gets_the_largest_preset_it_holds(card: float, name: str) -> None:
    """Cards report a little less than they are sold as, so 7.7 GB is an 8 GB card."""
    assert presets.for_card(card, presets.all_presets()).name == name


def test_an_unknown_preset_names_the_nearest() -> None:
    """'8bg' suggests 8gb."""
    with pytest.raises(SettingError) as caught:
        presets.get("8bg")
    assert caught.value.hint == "Did you mean 8gb?"


def test_one_broken_preset_does_not_spoil_the_others() -> None:
    """A preset of the person's that cannot be read is told of, and every other one can still be used."""
    mine = paths.home() / "presets"
    mine.mkdir(parents=True)
    (mine / "mine.toml").write_text("card_gb = 'eight'")

    assert presets.get("cpu").name == "cpu"
    assert "mine" not in [preset.name for preset in presets.all_presets()]
    assert ["mine" in error.message for error in presets.broken()] == [True]
    with pytest.raises(SettingError, match="card_gb"):
        presets.get("mine")
