"""A kind of one's own, as modality and encoder agree on it. Nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KIND", "LadderSpec"]

KIND = "molchord-isotopes:ladder"
"""A kind of one's own is named DISTRIBUTION:KIND."""


@dataclass(frozen=True, kw_only=True)
class LadderSpec:
    """Kind `ladder`: abundances and mass offsets at the nominal steps M, M+1, ..., M+`steps`."""

    steps: int
