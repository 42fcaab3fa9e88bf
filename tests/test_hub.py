"""Downloading from the hub, against a stand-in on this machine that speaks its protocol."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from collections.abc import Iterator

import huggingface_hub.constants
import pytest

from tests.hub_server import Hub, serving
from workbench import bases, paths
from workbench.bases import hub
from workbench.errors import BaseModelError, DiskFullError

FILES = {path.name: path.read_bytes() for path in paths.BUNDLED_BASE.iterdir()}
UNWANTED = {
    "modeling_evil.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "consolidated.safetensors": b"a second copy",
    "onnx/config.json": b"{}",
    "tiny.gguf": b"GGUF",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, with the hub's library pointed at it and not at the world."""
    with serving(Hub(models={"org/tiny": {**FILES, **UNWANTED}})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            huggingface_hub.constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            running.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "DEFAULT_ETAG_TIMEOUT", 2)
        yield running


def test_a_download_is_a_base_that_can_be_used(server: Hub) -> None:
    """It arrives in the cache byte for byte, progress ends at all the bytes, and its id resolves."""
    told: list[tuple[int, int]] = []
    base = bases.download("org/tiny", lambda done, total: told.append((done, total)))
    total = sum(map(len, FILES.values()))

    assert (base.problems, base.spec, base.fingerprint) == ((), "org/tiny", bases.resolve("bundled").fingerprint)
    assert (told[-1], told == sorted(told)) == ((total, total), True)
    assert {path.name: path.read_bytes() for path in base.path.iterdir()} == FILES


def test_code_and_pickles_are_never_asked_for(server: Hub) -> None:
    """Python, .bin, a second copy of the weights and subfolders stay on the hub."""
    bases.download("org/tiny")

    assert set(server.fetched()) == set(FILES)


def test_a_second_download_fetches_nothing(server: Hub) -> None:
    """What is there is not fetched again."""
    bases.download("org/tiny")
    server.requests.clear()
    bases.download("org/tiny")

    assert server.fetched() == []


def test_an_interrupted_download_goes_on_with_what_is_missing(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights break off for good: a sentence that says how to go on; the next call fetches the weights only."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the library's pause before it tries again
    server.broken_always.add("model.safetensors")
    with pytest.raises(BaseModelError, match="workbench models --get org/tiny"):
        bases.download("org/tiny")
    with pytest.raises(BaseModelError, match="not finished"):
        bases.resolve("org/tiny")
    server.broken_always.clear()
    server.requests.clear()
    base = bases.download("org/tiny")

    assert (base.problems, set(server.fetched())) == ((), {"model.safetensors"})


def test_a_connection_that_breaks_once_is_taken_up_again(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """One broken transfer costs nothing but a second request."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the library's pause before it tries again
    server.broken_once.add("tokenizer.json")

    assert bases.download("org/tiny").problems == ()


def test_a_gated_model_says_to_ask_and_log_in(server: Hub) -> None:
    """The hint names the login command."""
    server.models["org/gated"] = FILES
    server.gated.add("org/gated")
    with pytest.raises(BaseModelError, match=r"org/gated is gated.*hf auth login"):
        hub.download("org/gated")


@pytest.mark.parametrize(
    ("model_id", "why"),
    [("org/none", "no model org/none on the hub"), ("not an id!", "not a hub id"), ("org/pickles", "no safetensors"),
     ("org/text", "no config.json")],
)  # fmt: skip
def test_models_that_cannot_be_had_get_a_sentence(server: Hub, model_id: str, why: str) -> None:
    """Unknown, misspelt, pickled and no model at all."""
    server.models["org/pickles"] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    server.models["org/text"] = {"README.md": b"x"}
    with pytest.raises(BaseModelError, match=why):
        hub.download(model_id)

    assert server.fetched() == []


def test_no_connection_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer: what happened and how to go on."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BaseModelError, match=r"could not be downloaded.*Check the connection"):
        hub.download("org/tiny")


def test_a_hub_switched_off_is_a_sentence(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is named, since it is what to change."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match="HF_HUB_OFFLINE"):
        hub.download("org/tiny")


def test_a_disk_too_small_is_said_before_anything_is_fetched(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has both figures."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(DiskFullError, match=r"needs 0.0 GiB and the disk has 0.0 GiB"):
        hub.download("org/tiny")

    assert server.fetched() == []
