"""What a person likes is kept, and never in the way."""

from __future__ import annotations

from workbench import paths, preferences


def test_a_choice_is_kept_beside_others() -> None:
    """What was put is there again, and another choice does not replace it."""
    preferences.put("theme", "workbench-light")
    preferences.put("keys", "vim")

    assert preferences.get("theme") == "workbench-light"
    assert preferences.get("nothing", "default") == "default"


def test_a_damaged_file_is_an_empty_one() -> None:
    """A preferences file that cannot be read costs the choices and nothing else."""
    paths.home().mkdir(parents=True)
    paths.preferences_file().write_text("{")

    assert preferences.get("theme", "default") == "default"
    preferences.put("theme", "workbench-dark")
    assert preferences.get("theme") == "workbench-dark"
