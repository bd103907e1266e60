"""Names that plugins written for 0.1 use, until they are removed; `molchord.deprecation` has which and when."""

from __future__ import annotations

from molchord.api.modality import QualityWarning

__all__ = ["Doubt"]


class Doubt(QualityWarning):
    """A `QualityWarning` whose confidence factor is called trust."""

    def __init__(self, message: str, trust: float) -> None:
        super().__init__(message, trust)

    @property
    def trust(self) -> float:
        """The confidence factor."""
        return self.confidence_factor
