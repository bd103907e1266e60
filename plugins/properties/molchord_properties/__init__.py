"""Built-in properties: one module holds each one's configuration and record, the work is beside it."""

from __future__ import annotations

from molchord.api import PropertyRecord, hookimpl
from molchord_properties.functional_groups import FUNCTIONAL_GROUPS

__all__ = ["molchord_properties"]


@hookimpl
def molchord_properties() -> list[PropertyRecord]:
    """Return the properties of this package.

    Example:
        >>> [record.name for record in molchord_properties()]
        ['functional_groups']
    """
    return [FUNCTIONAL_GROUPS]
