"""The base of every plugin's configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from molchord.errors import did_you_mean

__all__ = ["Config", "ModalityName"]


class Config(BaseModel):
    """Base of every plugin's configuration: frozen, and an unknown key is an error.

    Every field needs a default, since import reads files with the default configuration.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # listing plugins needs no validators


def _in_graph(name: str, info: ValidationInfo) -> str:
    modalities = (info.context or {}).get("modalities")
    if modalities is not None and name not in modalities:
        raise ValueError(f"unknown modality {name!r} in this graph; {did_you_mean(name, modalities)}")
    return name


ModalityName = Annotated[str, AfterValidator(_in_graph)]
"""A config field of this type must name a modality of the model graph that it is part of."""
