"""llama.cpp's own converter and vocabularies, out of llama-cpp-python's source package, in a folder that goes again.

Nothing of it is ever in this repository: it is what our export is compared with.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

CONVERT = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(1, sys.argv[2])
from conversion.base import TextModel
known, name = TextModel.get_vocab_base_pre, sys.argv[3]
def named(self, tokenizer):
    try:
        return known(self, tokenizer)
    except NotImplementedError:
        print("HASH UNKNOWN", file=sys.stderr)
        return name
TextModel.get_vocab_base_pre = named
sys.argv = ["convert_hf_to_gguf.py", *sys.argv[4:]]
try:
    runpy.run_path(sys.path[0] + "/convert_hf_to_gguf.py", run_name="__main__")
finally:
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            print("PEAK", line.split()[1], file=sys.stderr)
"""
"""The converter, which refuses vocabularies whose hash it does not know: it is told the name of their rules."""


class UnreachableError(RuntimeError):
    """The package index cannot be reached, or has not got the package."""


@dataclass(frozen=True)
class Converted:
    """What a run of the converter was like."""

    seconds: float
    peak_bytes: int
    knew_hash: bool


class Oracle:
    """llama.cpp's converter, unpacked in a folder."""

    def __init__(self, folder: Path) -> None:
        self.libraries = folder / "libraries"
        self.root = _unpack(folder)

    def vocabulary(self, name: str) -> Path:
        """One of llama.cpp's vocabulary files."""
        return self.root / "models" / f"ggml-vocab-{name}.gguf"

    def convert(self, model: Path, target: Path, kind: str, pre: str) -> Converted:
        """Converts a model folder; a RuntimeError with the converter's own words where it cannot."""
        command = [sys.executable, "-W", "ignore", "-c", CONVERT, str(self.root), str(self.libraries), pre]
        began = time.monotonic()
        done = subprocess.run(
            [*command, str(model), "--outfile", str(target), "--outtype", kind], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        peak = next(int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("PEAK"))
        return Converted(time.monotonic() - began, peak * 1024, "HASH UNKNOWN" not in done.stderr)


def _unpack(folder: Path) -> Path:
    package = f"llama-cpp-python=={version('llama-cpp-python')}"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = [*pip, "download", "--no-deps", "--no-binary", "llama-cpp-python", "-d", str(folder), package]
    # The converter reads tokenizer.model with SentencePiece's library; ours does not need it.
    library = [*pip, "install", "--no-deps", "--target", str(folder / "libraries"), "sentencepiece"]
    for command in (source, library):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UnreachableError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
    (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as tar:
        wanted = [item for item in tar if "/vendor/llama.cpp/" in item.name and not item.name.endswith((".cpp", ".h"))]
        tar.extractall(folder, wanted, filter="data")
    archive.unlink()
    (root,) = folder.glob("llama_cpp_python-*/vendor/llama.cpp")
    return root
