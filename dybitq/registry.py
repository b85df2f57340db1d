"""A named table of implementations, filled by the files of one folder.

A folder that registers things imports nothing at import time; :meth:`Registry.get` loads the folder's
modules on first use, so that adding a file is all it takes to add a name.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from dybitq.errors import unknown

T = TypeVar("T")


def names_in(package: str) -> tuple[str, ...]:
    """Names of the files in a folder whose files register under their own names, none of them loaded."""
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folders)))


class Registry(Generic[T]):
    """Names to implementations, with suggestions for a misspelt one.

    Args:
        kind: what the entries are, in the singular, for messages ("range method").
        package: dotted name of the package whose modules register themselves.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated object under ``name``."""

        def add(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return add

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")

    def get(self, name: str) -> T:
        """Return the entry called ``name``.

        Raises:
            ConfigError: no such entry; the message lists the names and suggests the nearest.
        """
        self._load()
        try:
            return self._entries[name]
        except KeyError:
            raise unknown(self.kind, name, sorted(self._entries)) from None

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(sorted(self._entries))
