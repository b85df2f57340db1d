"""The callback through which long work reports how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the stage, what is done of it, and how much there is in all."""
