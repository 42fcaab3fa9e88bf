"""Getting a base model from the Hugging Face hub into its cache: safetensors and text files, never code or pickles.

`HF_ENDPOINT` and the hub's own login are honoured; no token passes through here. An interrupted download goes on with
the files that are still missing.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench import paths
from workbench.errors import BaseModelError, DiskFullError

Progress = Callable[[int, int], None]
"""Hears (bytes done, bytes in all)."""

WANTED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model", "README.md", "LICENSE*", "LICENCE*"]
UNWANTED = ["*/*", "consolidated*", "*.py", "*.bin", "*.pt", "*.pth", "*.pkl", "*.gguf"]
"""Folders hold other frameworks' copies, and `consolidated` is a second copy of all the weights."""
SPARE_BYTES = 256 * 2**20
"""Room left on the disk beside the download."""


def download(model_id: str, progress: Progress | None = None) -> Path:
    """Downloads what is missing of a model and returns its folder in the cache; a BaseModelError in words otherwise."""
    # the hub's library takes 0.3 s to import and is needed nowhere else
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, XetDownloadError
    from huggingface_hub.utils.logging import set_verbosity

    transport_error: type[BaseException] = HfHubHTTPError.__bases__[
        0
    ]  # the HTTP library's own, whichever one the hub's library uses

    set_verbosity(logging.ERROR)  # its warnings go to the terminal, across whatever is drawn there
    cache = paths.hub_cache()
    arguments: dict[str, Any] = {
        "allow_patterns": WANTED,
        "ignore_patterns": UNWANTED,
        "cache_dir": str(cache),
        "endpoint": os.environ.get("HF_ENDPOINT"),
    }
    try:
        planned = snapshot_download(model_id, dry_run=True, tqdm_class=_bar(None, 0), **arguments)
        _check_kinds(model_id, [file.filename for file in planned])
        total = sum(file.file_size or 0 for file in planned if file.will_download)
        _check_room(model_id, cache, total)
        return Path(snapshot_download(model_id, tqdm_class=_bar(progress, total), **arguments))
    except HFValidationError:
        raise BaseModelError(
            f"{model_id!r} is not a hub id.", "An id looks like this: organisation/model-name."
        ) from None
    # RuntimeError: a lost connection closes the client under the other threads
    except (OSError, transport_error, XetDownloadError, RuntimeError) as error:
        raise _in_words(model_id, error) from None


def _check_kinds(model_id: str, names: list[str]) -> None:
    if "config.json" not in names:
        raise BaseModelError(f"{model_id} holds no config.json, so it is no base model.", "Choose another.")
    if not any(name.endswith(".safetensors") for name in names):
        raise BaseModelError(
            f"{model_id} has no safetensors weights.",
            "Pickled weights (.bin) can run code when opened and GGUF cannot be trained; choose another version of it.",
        )


def _check_room(model_id: str, cache: Path, needed: int) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if free < needed + SPARE_BYTES:
        raise DiskFullError(
            f"{model_id} needs {needed / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB free.",
            f"Free some space, or put the cache elsewhere with HF_HOME (it is in {cache}).",
        )


def _bar(progress: Progress | None, total: int) -> type:
    """A progress bar class that draws nothing and tells `progress` how many bytes are there."""
    from tqdm.std import tqdm  # type: ignore[import-untyped]  # it ships no types

    lock = threading.Lock()
    done: dict[int, int] = {}  # received and written bytes are separate bars; the further one counts

    class Bar(tqdm):  # type: ignore[misc]  # untyped, see above
        """Silent, whatever the terminal is."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            self.counts_bytes = kwargs.get("unit") == "B"

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts_bytes and progress is not None:
                with lock:
                    done[id(self)] = done.get(id(self), 0) + int(n or 0)
                    progress(min(max(done.values()), total), total)
            return None

    return Bar


def _in_words(model_id: str, error: BaseException) -> BaseModelError | DiskFullError:
    """What went wrong, from the error and what caused it."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    causes = list(_causes(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return BaseModelError(
            f"{model_id} is gated: its makers want to be asked first.",
            "Ask for access on its page, then log in with: hf auth login",
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return BaseModelError(
            f"There is no model {model_id} on the hub, or it is private.",
            "Check the spelling; for a private one log in with: hf auth login",
        )
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return BaseModelError("The hub is switched off (HF_HUB_OFFLINE is set).", "Unset HF_HUB_OFFLINE to download.")
    if any(getattr(cause, "errno", None) == 28 for cause in causes):  # ENOSPC
        return DiskFullError(f"The disk filled up while {model_id} came in.", "Free some space and start it again.")
    why = str(causes[-1]).partition("\n")[0][:200].rstrip(".")
    return BaseModelError(
        f"{model_id} could not be downloaded ({why}).",
        f"Check the connection, then go on with: workbench models --get {model_id}",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, nearest first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__
