"""Libraries: embedded candidates on disk, how they are made, and how they are searched.

Names are imported when asked for, so that what reads no library, such as the check of a formula, needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molchord.library.files import Entry
    from molchord.library.hits import Hit
    from molchord.library.library import Library

__all__ = ["Entry", "Hit", "Library"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from molchord.library import library

    return getattr(library, name)
