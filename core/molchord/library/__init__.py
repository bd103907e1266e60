"""Libraries: embedded candidates on disk, how they are made, and how they are searched."""

from molchord.library.files import Entry
from molchord.library.hits import Hit
from molchord.library.library import Library

__all__ = ["Entry", "Hit", "Library"]
