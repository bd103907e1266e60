"""Built-in simulators: a module holds each one's configuration and record, the computing is beside it."""

from __future__ import annotations

from molchord.api import SimulatorRecord, hookimpl
from molchord_simulators.aimnet2.record import AIMNET2
from molchord_simulators.gfn2_record import GFN2

__all__ = ["molchord_simulators"]


@hookimpl
def molchord_simulators() -> list[SimulatorRecord]:
    """Return the simulators of this package.

    Example:
        >>> [record.name for record in molchord_simulators()]
        ['gfn2', 'aimnet2']
    """
    return [GFN2, AIMNET2]
