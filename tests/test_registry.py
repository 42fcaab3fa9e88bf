"""A folder is the list: the registry finds records, and names the nearest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import SettingError
from workbench.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    package = tmp_path / "fruit_list"
    package.mkdir()
    record = "class _R:\n    name = {!r}\nFRUIT = _R()\n"
    (package / "__init__.py").write_text("")
    (package / "apple.py").write_text(record.format("apple"))
    (package / "pear.py").write_text(record.format("pear"))
    (package / "basket.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry("fruit_list", "FRUIT", "fruit")


def test_every_file_with_a_record_is_listed(registry: Registry) -> None:
    """Files in the folder that hold the record are the list; others are not in it."""
    names = [record.name for record in registry.all()]

    assert names == ["apple", "pear"]


def test_a_wrong_name_gets_the_nearest_one(registry: Registry) -> None:
    """A mistyped name is a SettingError that suggests the right one."""
    with pytest.raises(SettingError) as caught:
        registry.get("aple")

    assert caught.value.hint == "Did you mean apple?"
