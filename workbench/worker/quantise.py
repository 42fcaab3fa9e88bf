"""The child that quantises one file: `python -P -m workbench.worker.quantise SOURCE TARGET TYPE [IMPORTANCE]`.

llama.cpp cannot be stopped in the middle and aborts on what it does not like, so it works in a process of its own,
which dies with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """The exit code: llama.cpp's, 0 where the file was made."""
    from workbench.exports.gguf.quantising import quantise

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(AttributeError, OSError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    source, target, quant, *importance = arguments
    return quantise(Path(source), Path(target), quant, Path(importance[0]) if importance else None)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # llama.cpp's clean-up at the interpreter's exit can crash after the work is done
