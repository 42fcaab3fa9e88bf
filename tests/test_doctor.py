"""The doctor names what is missing or unsafe, and each finding has a way to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import doctor, hardware
from workbench.doctor import Check, examine, healthy


def installed(folder: Path, name: str, version: str) -> None:
    """A package's metadata, as pip leaves it, in a folder on the path."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def found(name: str, folder: Path | None = None) -> Check:
    return next(check for check in examine(folder) if check.name == name)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that are found before the real ones."""
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    return tmp_path / "packages"


def test_whatever_is_not_well_has_a_fix():
    """A finding without a way to mend it would be of no use."""
    assert [check.name for check in examine() if check.status != "ok" and not check.fix] == []


@pytest.mark.parametrize(
    ("name", "version"),
    [("torch", "2.9.1+cu128"), ("transformers", "5.2.9"), ("Jinja2", "3.1.5")],
)
def test_an_unsafe_version_is_named(packages, name, version):
    """A version with a known hole is a problem by its name, with the least safe version in the fix."""
    installed(packages, name, version)
    check = found(name)

    assert check.status == "problem"
    assert check.found.startswith(f"{version} is unsafe")
    assert f"{name}>={doctor.LEAST_SAFE[name][0]}" in check.fix


@pytest.mark.parametrize(("name", "version"), [("torch", "2.10.0"), ("transformers", "5.10.1"), ("Jinja2", "3.1.6")])
def test_a_safe_version_is_well(packages, name, version):
    """Versions compare as numbers: 2.10 is newer than 2.9."""
    installed(packages, name, version)

    assert found(name).status == "ok"


def test_a_package_that_does_harm_is_named(packages):
    """A package that makes others fetch code is a warning with the command that removes it."""
    installed(packages, "kernels", "0.4.0")

    assert (found("kernels").status, found("kernels").fix) == ("warning", "Remove it: pip uninstall kernels")


def test_missing_build_tools_are_found(tmp_path, monkeypatch):
    """Without compiler and cmake on the path the doctor says which packages bring them."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "build-essential" in found("C and C++ compiler").fix
    assert "cmake" in found("cmake").fix


def test_a_compiler_is_recognised(tmp_path, monkeypatch):
    """Any C and C++ compiler on the path will do."""
    for name in ("clang", "clang++"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert found("C and C++ compiler").status == "ok"


def test_a_card_that_torch_cannot_use_is_a_problem(packages, tmp_path, monkeypatch):
    """A machine with a card and a CPU build of torch would train on the CPU without a word."""
    installed(packages, "torch", "2.13.0+cpu")
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 3060, 12288, 11000, 570.86'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hardware.detect.cache_clear()
    try:
        card, driver = found("GPU"), found("CUDA driver")
    finally:
        hardware.detect.cache_clear()

    assert "RTX 3060" in card.found
    assert (driver.status, "570.86" in driver.found) == ("problem", True)


def test_offline_is_said_and_is_well(monkeypatch):
    """Working offline is a choice, not a fault."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert (found("Network").status, "HF_HUB_OFFLINE" in found("Network").found) == ("ok", True)


def test_the_disk_of_a_folder_that_is_not_there_yet_is_known(tmp_path):
    """The disk is looked at where the project will be."""
    assert str(tmp_path) in found("Disk", tmp_path / "not" / "yet").found


def test_warnings_do_not_make_a_machine_ill():
    """Only a problem does."""
    assert healthy([Check("a", "warning", "odd", "mend")])
    assert not healthy([Check("a", "problem", "broken", "mend")])
