"""Sources of a model: a file, or bytes in memory."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInMemory:
    """A model that Python handed over, as the bytes that its file would have."""

    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return "the model in memory"


ModelSource = Path | ModelInMemory
"""Messages call a model by ``str()`` of it."""


def file_of(source: ModelSource) -> tuple[Path, ...]:
    """Return the file that no output may replace; none for a model in memory."""
    return (source,) if isinstance(source, Path) else ()


def size_bytes(source: ModelSource) -> int:
    """Size of the model's own file, external data not counted."""
    return source.stat().st_size if isinstance(source, Path) else len(source.content)
