"""Figures that a test tells: they come with its report, from whichever process it ran in."""

from collections.abc import Callable
from typing import Final

TOLD: Final = "told"
"""The name of a report's property that holds what its test has told."""

Tell = Callable[[str], None]
