"""What a model graph consists of: the keys that a user writes, and the nodes that they resolve to. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, Field

from molchord.api import Config, EncoderRecord, LossRecord, Modality, ModalityRecord, Spec
from molchord.graph.settings import HeadConfig, TrainConfig, TuneConfig
from molchord.host import Plugin, guarded

__all__ = [
    "SCHEMA",
    "EncoderKeys",
    "EncoderNode",
    "GraphKeys",
    "LossKeys",
    "LossNode",
    "ModalityKeys",
    "ModalityNode",
    "Where",
    "plain_config",
]

SCHEMA = 1
"""Version of the language of model graphs."""

Value: TypeAlias = str | float
Where: TypeAlias = Mapping[str, Value | Annotated[tuple[Value, ...], MinLen(1)]]
"""Metadata columns with the value, or the values, that a measurement must have to be used."""

# --- what the user writes --------------------------------------------------------------------------------------------


class GraphKeys(Config):
    """The keys of a model graph."""

    schema_version: Literal[1] = Field(alias="schema", description="version of the language")
    embedding_dim: Annotated[int, Ge(1), Le(65_536)] = Field(description="size of the shared embedding")
    seed: Annotated[int, Ge(0)] = Field(0, description="where all randomness starts")
    scalar_features: tuple[str, ...] = Field(
        (), description="numbers known of a molecule: columns of the molecules' table"
    )
    scalar_presence: bool = Field(
        True, description="each scalar feature comes with a bit that says whether it is known; false: the mean if not"
    )
    candidate: str | None = Field(None, description="the modality that is retrieved")
    modalities: dict[str, dict[str, Any]] = Field(description="modalities by a name of your choice")
    loss: dict[str, Any] = Field(description="the loss over all modalities")
    train: TrainConfig = Field(TrainConfig(), description="how it is trained")
    tune: TuneConfig | None = Field(None, description="what `molchord tune` tries, and what it looks for")


class ModalityKeys(Config):
    """The engine's keys of a modality; all others are its plugin's."""

    use: str = Field(description="the modality's plugin")
    encoder: dict[str, Any] = Field(description="the network")
    head: HeadConfig = Field(HeadConfig(), description="projection head")
    scalar_features: tuple[str, ...] | None = Field(None, description="scalar features of this tower; default: all")
    data: str | None = Field(None, description="name under which the data set stores it")
    where: Where = Field({}, description="columns and the values they must have")


class EncoderKeys(Config):
    """The engine's keys of an encoder."""

    use: str = Field(description="the encoder's plugin")
    kind: str | None = Field(None, description="kind to take, where there are several")


class LossKeys(Config):
    """The engine's keys of a loss."""

    use: str = Field(description="the loss's plugin")


# --- what it resolves to ---------------------------------------------------------------------------------------------


def plain_config(config: BaseModel) -> dict[str, Any]:
    """Return a configuration as mappings, lists and scalars that make an equal one."""
    return config.model_dump(mode="json", by_alias=True, round_trip=True)


@dataclass(frozen=True, kw_only=True)
class EncoderNode:
    """The encoder of a tower, and the configuration its record's `build` takes."""

    plugin: Plugin[EncoderRecord]
    config: Any

    @property
    def use(self) -> str:
        """Return ``dist:name``."""
        return self.plugin.qualified

    @property
    def record(self) -> EncoderRecord:
        """Return the plugin's record."""
        return self.plugin.record

    def build(self, spec: Spec) -> Any:
        """Build the torch module.

        Raises:
            PluginError: It cannot be built.
        """
        with guarded(self.plugin):
            return self.record.build(self.config, spec)


@dataclass(frozen=True, kw_only=True)
class LossNode:
    """The loss, and the configuration its record's `build` takes."""

    plugin: Plugin[LossRecord]
    config: Any

    @property
    def use(self) -> str:
        """Return ``dist:name``."""
        return self.plugin.qualified

    @property
    def record(self) -> LossRecord:
        """Return the plugin's record."""
        return self.plugin.record

    def build(self, modalities: Sequence[str], candidate: str) -> Any:
        """Build the torch module.

        Raises:
            PluginError: It cannot be built.
        """
        with guarded(self.plugin):
            return self.record.build(self.config, tuple(modalities), candidate)


@dataclass(frozen=True, kw_only=True)
class ModalityNode:
    """One modality of a graph with its tower.

    Attributes:
        plugin: Where the modality comes from.
        kind: The form in which it reaches its encoder.
        config: The plugin's configuration, adapted to what the encoder needs.
        spec: What the record's `spec` returns for this configuration and kind.
        data: Plugin name under which the data set stores its measurements.
        where: Which of those are used.
        scalar_features: Known numbers of the molecule that join this tower.
        head: Projection head.
        encoder: Encoder.
    """

    plugin: Plugin[ModalityRecord]
    kind: str
    config: Any
    spec: Spec
    data: str
    where: Where
    scalar_features: tuple[str, ...]
    head: HeadConfig
    encoder: EncoderNode

    @property
    def use(self) -> str:
        """Return ``dist:name``."""
        return self.plugin.qualified

    @property
    def record(self) -> ModalityRecord:
        """Return the plugin's record."""
        return self.plugin.record

    def build(self) -> Modality:
        """Build the plugin.

        Raises:
            PluginError: It cannot be built.
        """
        with guarded(self.plugin):
            return self.record.build(self.config, self.kind)

    def to_dict(self) -> dict[str, Any]:
        """Return the modality as plain data, as a graph writes it."""
        where = {column: list(value) if isinstance(value, tuple) else value for column, value in self.where.items()}
        return {
            "use": self.use,
            **plain_config(self.config),
            "data": self.data,
            "where": where,
            "scalar_features": list(self.scalar_features),
            "encoder": {"use": self.encoder.use, "kind": self.kind, **plain_config(self.encoder.config)},
            "head": plain_config(self.head),
        }
