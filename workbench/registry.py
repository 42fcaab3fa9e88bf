"""A folder as a list: every module in a package that holds the named record is one entry. Adding one is one file."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from workbench.errors import SettingError


class Named(Protocol):
    """A record that says its own name."""

    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Named)


class Registry(Generic[R]):
    """The records called `attribute` in a package's modules. Read once, when first asked for."""

    def __init__(self, package: str, attribute: str, kind: str) -> None:
        self._package = package
        self._attribute = attribute
        self._kind = kind
        self._modules: dict[str, ModuleType] | None = None

    def modules(self) -> dict[str, ModuleType]:
        """Every module that holds a record, by the record's name, in alphabetical order of the files."""
        if self._modules is None:
            path = importlib.import_module(self._package).__path__
            names = sorted(module.name for module in pkgutil.iter_modules(path))
            found = [importlib.import_module(f"{self._package}.{name}") for name in names]
            self._modules = {getattr(m, self._attribute).name: m for m in found if hasattr(m, self._attribute)}
        return self._modules

    def all(self) -> tuple[R, ...]:
        """Every record there is."""
        return tuple(getattr(module, self._attribute) for module in self.modules().values())

    def get(self, name: str) -> R:
        """The record of that name; a SettingError with the nearest one otherwise."""
        record: R = getattr(self.module(name), self._attribute)
        return record

    def module(self, name: str) -> ModuleType:
        """The module whose record has that name; a SettingError with the nearest one otherwise."""
        known = self.modules()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise SettingError(f"There is no {self._kind} called {name!r}.", hint)
        return known[name]
