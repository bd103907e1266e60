"""The model graph: from YAML or Python objects to a validated, resolved graph. Torch-free.

What the user writes names plugins and the settings that differ from the defaults. Resolving finds each plugin,
validates its configuration, and fills in everything else; every error is reported at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from molchord.api import EncoderRecord, ModalityRecord, Spec
from molchord.complaints import Complaint, DocumentPath, dotted, plain, validate
from molchord.deprecation import renamed
from molchord.errors import GraphError, PluginError, did_you_mean
from molchord.graph.checks import (
    check_missing,
    check_sampling,
    check_scalar_features,
    check_train,
    check_where,
    mapping_at,
    parts_of,
)
from molchord.graph.layers import EXTENDS, SET, Layers, Place, laid_over, read_layers
from molchord.graph.nodes import (
    SCHEMA,
    EncoderKeys,
    EncoderNode,
    GraphKeys,
    LossKeys,
    LossNode,
    ModalityKeys,
    ModalityNode,
    plain_config,
)
from molchord.graph.settings import TrainConfig
from molchord.graph.strict_yaml import Document, dump
from molchord.host import PLUGIN_TYPES, Host, Plugin, Use, installed
from molchord.host.build import migrated
from molchord.host.types import NAME, RESERVED_KEYS, RESERVED_NAMES

__all__ = ["ModelGraph", "Use"]

Versions: TypeAlias = Mapping[str, Mapping[str, int]]
"""Configuration versions that a graph was saved with: plugin type, then ``dist:name``."""


@dataclass(frozen=True, kw_only=True)
class ModelGraph:
    """A resolved model graph: every plugin found, every default filled in.

    Attributes:
        embedding_dim: Size of the shared embedding.
        seed: Where all randomness starts.
        scalar_features: Numeric columns of the molecules' table, or their `molecular_weight`, that join towers.
        scalar_presence: Whether each comes with a bit that says whether it is known; else an unknown one is the mean.
        candidate: The modality that is retrieved.
        modalities: Modalities by name, in the order written.
        loss: The loss over all of them.
        train: How it is trained.
    """

    embedding_dim: int
    seed: int
    scalar_features: tuple[str, ...]
    scalar_presence: bool = True
    candidate: str
    modalities: Mapping[str, ModalityNode]
    loss: LossNode
    train: TrainConfig

    @classmethod
    @renamed("ModelGraph.of", anchors="scalar_features")
    def of(
        cls,
        *,
        embedding_dim: int,
        modalities: Mapping[str, Mapping[str, Any]],
        loss: Mapping[str, Any],
        seed: int = 0,
        scalar_features: Sequence[str] = (),
        scalar_presence: bool = True,
        candidate: str | None = None,
        train: TrainConfig | Mapping[str, Any] | None = None,
        host: Host | None = None,
    ) -> ModelGraph:
        """Build a graph from Python objects; keys and values are those of the YAML.

        Raises:
            GraphError: The graph is wrong; holds all complaints.

        Example:
            >>> graph = ModelGraph.of(
            ...     embedding_dim=64,
            ...     modalities={
            ...         "structure": Use("structure", encoder=Use("gine")),
            ...         "ir": Use("ir", encoder=Use("mlp", hidden=(128,))),
            ...     },
            ...     loss=Use("all_pairs"),
            ... )
            >>> graph.candidate, graph.modalities["ir"].encoder.use
            ('structure', 'molchord:mlp')
        """
        return cls.from_dict(
            {
                "schema": SCHEMA,
                "embedding_dim": embedding_dim,
                "seed": seed,
                "scalar_features": scalar_features,
                "scalar_presence": scalar_presence,
                "candidate": candidate,
                "modalities": modalities,
                "loss": loss,
                "train": {} if train is None else train,
            },
            host,
        )

    @classmethod
    def load(
        cls,
        path: str | Path,
        host: Host | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        versions: Versions | None = None,
    ) -> ModelGraph:
        """Read and resolve a graph file, with all that it extends.

        Args:
            path: YAML file, or the name of a built-in recipe.
            host: Plugins to use; None: those installed.
            overrides: Values to set, by dotted path, such as ``{"modalities.ir.encoder.width": 96}``.
            versions: `config_versions` of the graph when it was saved; None: it is not a saved one.

        Raises:
            GraphError: The file is wrong; holds all complaints as ``file:line: path: message``.

        Example:
            >>> ModelGraph.load("demo", overrides={"embedding_dim": 64}).embedding_dim
            64
        """
        return cls.of_layers(read_layers(path, overrides), host, versions)

    @classmethod
    def from_dict(
        cls,
        mapping: Mapping[str, Any],
        host: Host | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        versions: Versions | None = None,
    ) -> ModelGraph:
        """Resolve a graph given as mappings; arguments as for `load`.

        Raises:
            GraphError: The graph is wrong; holds all complaints as ``path: message``.
        """
        data, complaints = plain(mapping)
        if complaints:
            raise GraphError([f"{dotted(path) or 'model graph'}: {message}" for path, message in complaints])
        return cls.of_layers(laid_over(Document(data, {}, ""), overrides=overrides), host, versions)

    @classmethod
    def of_layers(cls, layers: Layers, host: Host | None = None, versions: Versions | None = None) -> ModelGraph:
        """Resolve a graph of layers; `host` and `versions` as for `load`.

        Raises:
            GraphError: The graph is wrong; holds all complaints.
        """
        host = installed() if host is None else host
        resolver = _Resolver(layers.data, host, versions or {})
        graph = resolver.graph()
        if graph is not None:
            resolver.complaints += _wrong_values(layers, host)
        if graph is None or resolver.complaints:
            ordered = sorted(resolver.complaints, key=lambda complaint: layers.place(complaint[0])[:2])
            raise GraphError([layers.locate(*complaint) for complaint in ordered])
        return graph

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved graph as plain data that `from_dict` turns into an equal graph."""
        return {
            "schema": SCHEMA,
            "embedding_dim": self.embedding_dim,
            "seed": self.seed,
            "scalar_features": list(self.scalar_features),
            "scalar_presence": self.scalar_presence,
            "candidate": self.candidate,
            "modalities": {name: node.to_dict() for name, node in self.modalities.items()},
            "loss": {"use": self.loss.use, **plain_config(self.loss.config)},
            "train": plain_config(self.train),
        }

    def to_yaml(self) -> str:
        """Return the resolved graph as YAML; equal graphs give equal text."""
        return dump(self.to_dict())

    @property
    def spectra(self) -> tuple[str, ...]:
        """Names of the modalities that can be a query: all but the candidate."""
        return tuple(name for name in self.modalities if name != self.candidate)

    def parts(self) -> tuple[str, ...]:
        """Return the dotted paths that learning rates, freezing and initialisation can name.

        They are prefixes of the model's state-dict keys.
        """
        return parts_of({name: node.head for name, node in self.modalities.items()})

    def plugins(self) -> tuple[Plugin, ...]:
        """Return the plugins in use, each once, in the order of the graph."""
        used = [plugin for node in self.modalities.values() for plugin in (node.plugin, node.encoder.plugin)]
        unique = {(plugin.type, plugin.qualified): plugin for plugin in (*used, self.loss.plugin)}
        return tuple(unique.values())

    def config_versions(self) -> dict[str, dict[str, int]]:
        """Return the configuration version of each plugin by type and ``dist:name``, to be saved with the graph."""
        versions: dict[str, dict[str, int]] = {}
        for plugin in self.plugins():
            versions.setdefault(plugin.type, {})[plugin.qualified] = plugin.record.config_version
        return versions


def _wrong_values(layers: Layers, host: Host) -> Iterator[Complaint]:
    """Find values in `tune.space` that the graph cannot take; each is tried by itself."""
    base = Layers({key: value for key, value in layers.data.items() if key != "tune"}, {(): Place(0, 0, "")})
    for path, values in mapping_at(layers.data, "tune", "space").items():
        for value in values if isinstance(values, list) else (values["low"], values["high"]):
            try:
                wrong = _Resolver(base.over({path: value}).data, host, {})
                said = [] if wrong.graph() is not None else [f"{dotted(at)}: {text}" for at, text in wrong.complaints]
            except GraphError as error:
                said = [complaint.removeprefix(f"{SET}: ") for complaint in error.complaints]
            if said:
                yield ("tune", "space", path), f"{value!r} cannot be tried: {said[0]}"
                break


# --- resolving -------------------------------------------------------------------------------------------------------


class _Resolver:
    """Resolves plain data part by part, going on after a complaint so that all of them are found."""

    def __init__(self, data: Any, host: Host, versions: Versions) -> None:
        self.complaints: list[Complaint] = []
        self._data = data
        self._host = host
        self._versions = versions
        self._records: dict[str, ModalityRecord] = {}  # of the modalities whose plugin was found

    def graph(self) -> ModelGraph | None:
        if not isinstance(self._data, dict):
            self._complain((), "a model graph is a mapping with `schema`, `embedding_dim`, `modalities` and `loss`")
            return None
        frame = self._valid(GraphKeys, self._data, "the model graph", (), siblings=(EXTENDS,))
        towers = mapping_at(self._data, "modalities")
        nodes = {name: self._modality(name, tower) for name, tower in towers.items() if isinstance(tower, dict)}
        if "modalities" in self._data and isinstance(self._data["modalities"], dict) and len(towers) < 2:
            self._complain(("modalities",), f"got {len(towers)}; a model graph needs two modalities or more")
        loss = self._loss(tuple(towers))
        candidate = self._candidate(list(towers))
        train = mapping_at(self._data, "train")
        heads = {name: None if node is None else node.head for name, node in nodes.items()}
        self.complaints += check_train(train, parts_of(heads))
        stores = {name: self._records[name].stores if name in self._records else None for name in towers}
        self.complaints += check_sampling(mapping_at(train, "sampling"), stores)
        self.complaints += check_missing(mapping_at(train, "missing"), [*towers], candidate)
        if self.complaints or frame is None or loss is None or candidate is None:
            return None
        return ModelGraph(
            embedding_dim=frame.embedding_dim,
            seed=frame.seed,
            scalar_features=frame.scalar_features,
            scalar_presence=frame.scalar_presence,
            candidate=candidate,
            modalities={name: node for name, node in nodes.items() if node is not None},
            loss=loss,
            train=frame.train,
        )

    def _complain(self, path: DocumentPath, message: str) -> None:
        self.complaints.append((path, message))

    def _valid(
        self, model: type[Any], data: Mapping[str, Any], owner: str, at: DocumentPath, **options: Any
    ) -> Any | None:
        value, complaints = validate(model, data, owner, **options)
        self.complaints += [((*at, *path), message) for path, message in complaints]
        return value

    def _used(
        self, type: str, raw: Mapping[str, Any], at: DocumentPath, modalities: tuple[str, ...] | None = None
    ) -> tuple[Plugin | None, Any | None]:
        """Return the plugin that a mapping names, and its configuration; None for what is wrong."""
        name = raw.get("use")
        if not isinstance(name, str):
            return None, None  # complained of with the engine's keys
        try:
            plugin = self._host.find(type, name)
        except PluginError as error:
            self._complain((*at, "use"), str(error))
            return None, None
        ours = PLUGIN_TYPES[type].keys
        theirs = {key: value for key, value in raw.items() if key not in ours}
        return plugin, self._config(plugin, theirs, at, modalities)

    def _config(
        self, plugin: Plugin, raw: Mapping[str, Any], at: DocumentPath, modalities: tuple[str, ...] | None
    ) -> Any | None:
        record, owner = plugin.record, f"{plugin.type} {plugin.name!r}"
        saved = self._versions.get(plugin.type, {}).get(plugin.qualified, record.config_version)
        differs = (
            f"configuration version {saved} was saved and {plugin.dist} {plugin.version} has {record.config_version}; "
            f"install the version of {plugin.dist} that saved it"
        )
        raw, complaints = migrated(plugin, raw, saved)
        if complaints:
            self._complain(at, f"{owner}: {complaints[0][1]}; {differs}")
            return None
        context = {"modalities": modalities} if modalities is not None else None
        before = len(self.complaints)
        ours = PLUGIN_TYPES[plugin.type].keys
        config = self._valid(record.config, raw, owner, at, context=context, siblings=ours)
        if saved != record.config_version:
            self.complaints[before:] = [(path, f"{text} ({differs})") for path, text in self.complaints[before:]]
        return config

    def _called(self, owner: str, at: DocumentPath, function: Any, *arguments: Any) -> Any | None:
        try:
            return function(*arguments)
        except Exception as error:  # plugin code; a ValueError speaks of the configuration
            text = " ".join(str(error).split())
            self._complain(
                at, f"{owner}: {text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'}"
            )
            return None

    def _modality(self, name: str, raw: dict[str, Any]) -> ModalityNode | None:
        at: DocumentPath = ("modalities", name)
        owner = f"modality {name!r}"
        if NAME.fullmatch(name) is None:
            self._complain(at, f"got name {name!r}; take lower-case letters, digits and '_', a letter first")
        elif name in RESERVED_NAMES:
            self._complain(at, f"name {name!r} is reserved for the command line; take another one")
        tower = self._valid(ModalityKeys, {key: value for key, value in raw.items() if key in RESERVED_KEYS}, owner, at)
        self.complaints += check_scalar_features(
            raw.get("scalar_features"), self._scalar_features(), (*at, "scalar_features")
        )
        plugin, config = self._used("modality", raw, at)
        encoder_raw = mapping_at(raw, "encoder")
        if isinstance(raw.get("encoder"), dict):
            ours = {key: encoder_raw[key] for key in ("use", "kind") if key in encoder_raw}
            self._valid(EncoderKeys, ours, f"the encoder of {owner}", (*at, "encoder"))
        encoder_plugin, encoder_config = self._used("encoder", encoder_raw, (*at, "encoder"))
        if plugin is None:
            return None
        record: ModalityRecord = plugin.record
        self._records[name] = record
        if record.derives and mapping_at(raw, "where"):
            self._complain((*at, "where"), f"{owner} is made from the molecule and has nothing to choose; leave it out")
        else:
            self.complaints += check_where(mapping_at(raw, "where"), record.stores, owner, (*at, "where"))
        self._check_data(raw.get("data"), plugin, at)
        if encoder_plugin is None:
            return None
        encoder: EncoderRecord = encoder_plugin.record
        kind = self._kind(name, record, encoder, encoder_raw.get("kind"), (*at, "encoder"))
        if config is None or kind is None:
            return None
        config, spec = self._spec(name, record, config, kind, encoder)
        if tower is None or encoder_config is None or spec is None:
            return None
        return ModalityNode(
            plugin=plugin,
            kind=kind,
            config=config,
            spec=spec,
            data=tower.data or plugin.name,
            where=tower.where,
            scalar_features=tower.scalar_features
            if tower.scalar_features is not None
            else tuple(self._scalar_features()),
            head=tower.head,
            encoder=EncoderNode(plugin=encoder_plugin, config=encoder_config),
        )

    def _kind(
        self, name: str, modality: ModalityRecord, encoder: EncoderRecord, wanted: object, at: DocumentPath
    ) -> str | None:
        common = [kind for kind in modality.kinds if kind in encoder.accepts]
        if not common:
            self._complain(
                (*at, "use"),
                f"encoder {encoder.name!r} accepts kind {_listed(encoder.accepts)}, "
                f"but modality {name!r} offers {_listed(modality.kinds)}",
            )
        elif isinstance(wanted, str) and wanted not in common:
            self._complain((*at, "kind"), f"got {wanted!r}; {did_you_mean(wanted, common)}")
        else:
            return wanted if isinstance(wanted, str) else common[0]
        return None

    def _spec(
        self, name: str, modality: ModalityRecord, config: Any, kind: str, encoder: EncoderRecord
    ) -> tuple[Any, Spec | None]:
        """Return the configuration adapted to the encoder's needs, and what the encoder then gets."""
        at: DocumentPath = ("modalities", name)
        owner = f"modality {name!r}"
        if modality.adapt is not None:
            config = self._called(owner, at, modality.adapt, config, encoder.needs)
            if config is None:
                return None, None
        spec = self._called(owner, at, modality.spec, config, kind)
        for need in encoder.needs if spec is not None else ():
            if not getattr(spec, need, False):
                self._complain(
                    (*at, "encoder", "use"),
                    f"encoder {encoder.name!r} needs {need!r}, which {owner} as configured does not give; "
                    f"change the configuration of {name!r} or take another encoder",
                )
        return config, spec

    def _loss(self, modalities: tuple[str, ...]) -> LossNode | None:
        raw = self._data.get("loss")
        if not isinstance(raw, dict):
            return None
        self._valid(LossKeys, {key: raw[key] for key in raw if key == "use"}, "loss", ("loss",))
        plugin, config = self._used("loss", raw, ("loss",), modalities)
        return None if plugin is None or config is None else LossNode(plugin=plugin, config=config)

    def _candidate(self, names: Sequence[str]) -> str | None:
        asked = self._data.get("candidate")
        deriving = [name for name, record in self._records.items() if record.derives]
        all_found = all(name in self._records for name in names)
        if isinstance(asked, str):
            if asked not in names:
                fault = f"unknown modality {asked!r} in this graph"
            elif asked not in deriving and asked in self._records:
                fault = f"modality {asked!r} cannot be made from a molecule"
            else:
                return asked
            self._complain(("candidate",), f"{fault}; {did_you_mean(asked, deriving)}")
        elif len(deriving) > 1:
            self._complain((), f"`candidate` is missing and could be {_listed(deriving)}; name one")
        elif deriving:
            return deriving[0]
        elif all_found and names:
            self._complain(("modalities",), "none can be made from a molecule; add one that can, to be the candidate")
        return None

    def _scalar_features(self) -> list[str]:
        scalar_features = self._data.get("scalar_features")
        return [name for name in scalar_features if isinstance(name, str)] if isinstance(scalar_features, list) else []

    def _check_data(self, data: object, plugin: Plugin[ModalityRecord], at: DocumentPath) -> None:
        providers = [p for p in self._host.plugins if p.type == "modality" and p.name == data]
        if providers and all(p.record.stores != plugin.record.stores for p in providers):
            self._complain(
                (*at, "data"),
                f"modality {plugin.name!r} cannot read what {data!r} stores; "
                f"remove it or use {data!r} as the modality's plugin",
            )


def _listed(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
