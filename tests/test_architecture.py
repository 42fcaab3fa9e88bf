"""The rules that keep the workbench simple, proven on its files. `make check` runs these and the import contracts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes", "accelerate", "llama_cpp")
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "manager", "misc")
LONGEST_FILE = 400
MACHINE_PATH = re.compile(r"(?<![\w.~])/(work|root|home)/\w")
TEXT = {".py", ".toml", ".md", ".tcss", ".yml", ".yaml", ".txt", ".cfg", ""}


def product() -> list[Path]:
    """Every Python file of the engine and the app."""
    return sorted(path for folder in ("workbench", "screens") for path in (ROOT / folder).rglob("*.py"))


def code() -> list[Path]:
    """The product, its tests and the maker of its assets."""
    return product() + sorted(path for folder in ("tests", "assets") for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def in_worker(path: Path) -> bool:
    return path.is_relative_to(ROOT / "workbench" / "worker")


def at_module_scope(node: ast.AST) -> Iterator[str]:
    """The packages imported when the module is: not in functions, not for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.ExceptHandler) or isinstance(child, ast.FunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
            yield child.module.split(".")[0]
        yield from at_module_scope(child)


def imported(path: Path) -> set[str]:
    """The packages that a module imports, anywhere in it."""
    nodes = list(ast.walk(tree(path)))
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


WITHOUT = """
import importlib, sys
for name in {heavy!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""


def test_only_the_worker_needs_the_training_libraries() -> None:
    """A fresh interpreter in which torch and its like cannot be imported imports every other module of the product."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in product()
        if not in_worker(path) and path.name != "__main__.py"
    ]
    # The worker's own frame, too: it must wait for the card before it loads a library.
    modules += ["workbench.worker.context", "workbench.worker.__main__"]
    program = WITHOUT.format(heavy=HEAVY, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr[-2000:]


def test_training_libraries_are_imported_at_module_scope_in_the_worker_only() -> None:
    """Methods, exports, samplers, judges and everything else import them inside the function that runs."""
    guilty = {
        name_of(path): found
        for path in product()
        if not in_worker(path) and (found := set(at_module_scope(tree(path))) & set(HEAVY))
    }

    assert guilty == {}


def test_whatever_trains_is_marked() -> None:
    """Every file of tests/training is marked torch as a whole: `-m "not torch"` does not read that folder."""
    files = sorted((ROOT / "tests" / "training").glob("test_*.py"))
    unmarked = [file.name for file in files if not re.search(r"^pytestmark = .*mark\.torch", file.read_text(), re.M)]

    assert files
    assert unmarked == []


def test_the_engine_knows_nothing_of_the_app() -> None:
    """workbench imports neither textual nor screens; the command line's lazy entry is the one exception."""
    guilty = {
        name_of(path): found
        for path in product()
        if path.is_relative_to(ROOT / "workbench")
        and path.name != "cli.py"
        and (found := imported(path) & {"textual", "screens"})
    }

    assert guilty == {}


def test_sql_is_in_the_store_only() -> None:
    """sqlite3 is imported by the store and the migrations."""
    guilty = [
        name_of(path)
        for path in product()
        if "sqlite3" in imported(path)
        and not path.is_relative_to(ROOT / "workbench" / "store")
        and path.name != "migrations.py"
    ]

    assert guilty == []


def test_files_are_short() -> None:
    """No file is over four hundred lines: before that it is two things."""
    long = {
        name_of(path): lines
        for path in code()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    }

    assert long == {}


def test_modules_are_called_what_they_are() -> None:
    """No module is called utils, helpers, common or manager."""
    assert [name_of(path) for path in code() if path.stem in FORBIDDEN_NAMES] == []


def test_only_the_workers_main_catches_everything() -> None:
    """A bug crashes loudly, but for the worker, which turns it into an ending. To clean up and raise again is fine."""
    guilty = [
        f"{name_of(path)}:{node.lineno}"
        for path in product()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)))
        and ast.unparse(node.body[-1]) != "raise"
        and path != ROOT / "workbench" / "worker" / "__main__.py"
    ]

    assert guilty == []


def test_nothing_is_left_to_do() -> None:
    """No file of the product holds a note to its author or a function that is not there yet."""
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK|raise NotImplementedError)\b")
    guilty = [name_of(path) for path in product() if unfinished.search(path.read_text(encoding="utf-8"))]

    assert guilty == []


def test_every_module_says_what_it_is_for() -> None:
    """Every module with code in it begins with a docstring."""
    assert [name_of(path) for path in product() if tree(path).body and not ast.get_docstring(tree(path))] == []


def tracked() -> list[Path]:
    """The repository's text files: what git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file() and path.suffix in TEXT]


def test_no_path_of_anybodys_machine() -> None:
    """No file of the repository names a folder of the machine that it was written on."""
    here = Path(__file__).resolve()
    guilty = [
        name_of(path)
        for path in tracked()
        if path != here and MACHINE_PATH.search(path.read_text(encoding="utf-8", errors="replace"))
    ]

    assert guilty == []


def test_make_check_proves_the_contracts() -> None:
    """The import contracts are part of `make check`."""
    assert "lint-imports" in (ROOT / "Makefile").read_text(encoding="utf-8")
