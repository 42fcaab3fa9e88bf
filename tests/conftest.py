"""What every test stands on: the person's real folders out of reach, and no network."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.projects import Copies

NEED_TORCH = (Path(__file__).parent / "training", Path(__file__).parent / "gpu")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two at a time, whatever the machine: those that train fill a core and gigabytes each.

    Three without them: a fifth of the others' time is waiting for the disk and for processes.
    """
    return 3 if "not torch" in config.option.markexpr else 2


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Folders in which every test needs torch are not even read where none is wanted: a fifth of a worker's start."""
    return True if config.option.markexpr == "not torch" and collection_path in NEED_TORCH else None


def pytest_collection_finish() -> None:
    """What is imported by now stays: looking through it for garbage again and again took two fifths of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a home of its own, and the hub is off."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WORKBENCH_HOME", str(home / "workbench"))
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Makes each kind of project once and copies it."""
    return Copies(tmp_path_factory.mktemp("projects"))


@pytest.fixture
def shared_data() -> Path:
    """Real public data beside the checkout; tests that want it are skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the public data sets (shared/data beside the checkout) are not here")
    return SHARED_DATA
