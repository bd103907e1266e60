"""The model graph: from YAML or Python objects to a validated, resolved graph. Torch-free.

What the user writes names plugins and the settings that differ from the defaults. Resolving finds each plugin,
validates its configuration, and fills in everything else; every error is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

from annotated_types import Ge, MinLen
from pydantic import BaseModel, Field

from molchord.api import Category, Config, EncoderRecord, LossRecord, ModalityRecord, Real, Spec, Stores
from molchord.complaints import Complaint, plain, validate
from molchord.errors import GraphError, PluginError, did_you_mean
from molchord.host import NAME, RESERVED_KEYS, RESERVED_NAMES, Host, Plugin, installed
from molchord.settings import HeadConfig, TrainConfig
from molchord.strict_yaml import DocumentPath, dotted, dump, read

__all__ = ["EncoderNode", "LossNode", "ModalityNode", "ModelGraph", "Use", "Where", "from_dict", "load"]

SCHEMA = 1

Value: TypeAlias = str | int | float
Where: TypeAlias = Mapping[str, Value | Annotated[tuple[Value, ...], MinLen(1)]]
"""Metadata columns with the value, or the values, that a measurement must have to be used."""

Versions: TypeAlias = Mapping[str, Mapping[str, int]]
"""Configuration versions that a graph was saved with: plugin type, then ``dist:name``."""


class Use(dict[str, Any]):
    """A plugin with its configuration, for graphs built in Python.

    Example:
        >>> Use("resnet1d", width=96)
        {'use': 'resnet1d', 'width': 96}
    """

    def __init__(self, use: str, /, **config: Any) -> None:
        super().__init__(use=use, **config)


@dataclass(frozen=True, kw_only=True)
class EncoderNode:
    """The encoder of a tower, and the configuration its record's `build` takes."""

    plugin: Plugin
    config: Any

    @property
    def use(self) -> str:
        """Return ``dist:name``."""
        return self.plugin.qualified

    @property
    def record(self) -> EncoderRecord:
        """Return the plugin's record."""
        return cast(EncoderRecord, self.plugin.record)


@dataclass(frozen=True, kw_only=True)
class LossNode:
    """The loss, and the configuration its record's `build` takes."""

    plugin: Plugin
    config: Any

    @property
    def use(self) -> str:
        """Return ``dist:name``."""
        return self.plugin.qualified

    @property
    def record(self) -> LossRecord:
        """Return the plugin's record."""
        return cast(LossRecord, self.plugin.record)


@dataclass(frozen=True, kw_only=True)
class ModalityNode:
    """One modality of a graph with its tower.

    Attributes:
        plugin: Where the modality comes from.
        kind: The form in which it reaches its encoder.
        config: The plugin's configuration, adapted to what the encoder needs.
        spec: What the record's `spec` says of this configuration and kind.
        data: Plugin name under which the data set stores its measurements.
        where: Which of those are used.
        anchors: Known numbers of the molecule that join this tower.
        head: Projection head.
        encoder: Encoder.
    """

    plugin: Plugin
    kind: str
    config: Any
    spec: Spec
    data: str
    where: Where
    anchors: tuple[str, ...]
    head: HeadConfig
    encoder: EncoderNode

    @property
    def use(self) -> str:
        """Return ``dist:name``."""
        return self.plugin.qualified

    @property
    def record(self) -> ModalityRecord:
        """Return the plugin's record."""
        return cast(ModalityRecord, self.plugin.record)


@dataclass(frozen=True, kw_only=True)
class ModelGraph:
    """A resolved model graph: every plugin found, every default filled in.

    Attributes:
        embedding_dim: Size of the shared embedding.
        seed: Where all randomness starts.
        anchors: Numeric columns of the molecules' table that join towers.
        candidate: The modality that is retrieved.
        modalities: Modalities by name, in the order written.
        loss: The loss over all of them.
        train: How it is trained.
    """

    embedding_dim: int
    seed: int
    anchors: tuple[str, ...]
    candidate: str
    modalities: Mapping[str, ModalityNode]
    loss: LossNode
    train: TrainConfig

    @classmethod
    def of(
        cls,
        *,
        embedding_dim: int,
        modalities: Mapping[str, Mapping[str, Any]],
        loss: Mapping[str, Any],
        seed: int = 0,
        anchors: Sequence[str] = (),
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
        return from_dict(
            {
                "schema": SCHEMA,
                "embedding_dim": embedding_dim,
                "seed": seed,
                "anchors": anchors,
                "candidate": candidate,
                "modalities": modalities,
                "loss": loss,
                "train": {} if train is None else train,
            },
            host,
        )

    @classmethod
    def load(cls, path: str | Path, host: Host | None = None) -> ModelGraph:
        """Read a graph file, as the function `load` does."""
        return load(path, host)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], host: Host | None = None) -> ModelGraph:
        """Resolve a graph given as mappings, as the function `from_dict` does."""
        return from_dict(mapping, host)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved graph as plain data that `from_dict` turns into an equal graph."""
        return {
            "schema": SCHEMA,
            "embedding_dim": self.embedding_dim,
            "seed": self.seed,
            "anchors": list(self.anchors),
            "candidate": self.candidate,
            "modalities": {name: _tower_dict(node) for name, node in self.modalities.items()},
            "loss": {"use": self.loss.use, **_config_dict(self.loss.config)},
            "train": _config_dict(self.train),
        }

    def to_yaml(self) -> str:
        """Return the resolved graph as YAML; equal graphs give equal text."""
        return dump(self.to_dict())

    def parts(self) -> tuple[str, ...]:
        """Return the dotted paths that learning rates, freezing and initialisation can name.

        They are prefixes of the model's state-dict keys.
        """
        return _parts({name: node.head for name, node in self.modalities.items()})

    def plugins(self) -> tuple[Plugin, ...]:
        """Return the plugins in use, each once, in the order of the graph."""
        used = [plugin for node in self.modalities.values() for plugin in (node.plugin, node.encoder.plugin)]
        unique = {(plugin.type, plugin.qualified): plugin for plugin in (*used, self.loss.plugin)}
        return tuple(unique.values())

    def config_versions(self) -> dict[str, dict[str, int]]:
        """Return the configuration version of each plugin by type and ``dist:name``, to be saved beside the graph."""
        versions: dict[str, dict[str, int]] = {}
        for plugin in self.plugins():
            versions.setdefault(plugin.type, {})[plugin.qualified] = plugin.record.config_version
        return versions


def load(path: str | Path, host: Host | None = None, versions: Versions | None = None) -> ModelGraph:
    """Read and resolve a graph file.

    Args:
        path: YAML file.
        host: Plugins to use; None: those installed.
        versions: `ModelGraph.config_versions` of the graph when it was saved; None: it is not a saved one.

    Raises:
        GraphError: The file is wrong; holds all complaints as ``file:line: path: message``.
    """
    document = read(path)
    resolver = _Resolver(document.data, installed() if host is None else host, versions or {})
    graph = resolver.graph()
    if graph is None:
        ordered = sorted(resolver.complaints, key=lambda complaint: document.line(complaint[0]))
        raise GraphError([document.locate(*complaint) for complaint in ordered])
    return graph


def from_dict(mapping: Mapping[str, Any], host: Host | None = None, versions: Versions | None = None) -> ModelGraph:
    """Resolve a graph given as mappings; `host` and `versions` as in `load`.

    Raises:
        GraphError: The graph is wrong; holds all complaints as ``path: message``.
    """
    data, complaints = plain(mapping)
    resolver = _Resolver(data, installed() if host is None else host, versions or {})
    graph = None if complaints else resolver.graph()
    if graph is None:
        complaints += resolver.complaints
        raise GraphError([f"{dotted(path) or 'model graph'}: {message}" for path, message in complaints])
    return graph


# --- parts and plain data --------------------------------------------------------------------------------------------


def _parts(heads: Mapping[str, HeadConfig | None]) -> tuple[str, ...]:
    parts = ["modalities"]
    for name, head in heads.items():
        tower = f"modalities.{name}"
        parts += [tower, f"{tower}.encoder", f"{tower}.head", f"{tower}.head.out"]
        if head is None or head.layers > 1:
            parts.append(f"{tower}.head.projection")
        if head is None or head.layer_norm:
            parts.append(f"{tower}.head.norm")
    return (*parts, "loss")


def _config_dict(config: BaseModel) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, round_trip=True)


def _tower_dict(node: ModalityNode) -> dict[str, Any]:
    return {
        "use": node.use,
        **_config_dict(node.config),
        "data": node.data,
        "where": {column: list(value) if isinstance(value, tuple) else value for column, value in node.where.items()},
        "anchors": list(node.anchors),
        "encoder": {"use": node.encoder.use, "kind": node.kind, **_config_dict(node.encoder.config)},
        "head": _config_dict(node.head),
    }


# --- what the user writes --------------------------------------------------------------------------------------------


class _Frame(Config):
    schema_version: Literal[1] = Field(alias="schema")
    embedding_dim: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)] = 0
    anchors: tuple[str, ...] = ()
    candidate: str | None = None
    modalities: dict[str, dict[str, Any]]
    loss: dict[str, Any]
    train: TrainConfig = TrainConfig()


class _Tower(Config):
    """The engine's keys of a modality; all others are its plugin's."""

    use: str
    encoder: dict[str, Any]
    head: HeadConfig = HeadConfig()
    anchors: tuple[str, ...] | None = None
    data: str | None = None
    where: Where = {}


class _EncoderUse(Config):
    use: str
    kind: str | None = None


class _LossUse(Config):
    use: str


# --- resolving -------------------------------------------------------------------------------------------------------


class _Resolver:
    """Resolves plain data part by part, going on after a complaint so that all of them are found."""

    def __init__(self, data: Any, host: Host, versions: Versions) -> None:
        self.complaints: list[Complaint] = []
        self._data = data
        self._host = host
        self._versions = versions

    def graph(self) -> ModelGraph | None:
        if not isinstance(self._data, dict):
            self._complain((), "a model graph is a mapping with `schema`, `embedding_dim`, `modalities` and `loss`")
            return None
        frame = self._valid(_Frame, self._data, "the model graph", ())
        towers = _mapping(self._data, "modalities")
        nodes = {name: self._modality(name, tower) for name, tower in towers.items() if isinstance(tower, dict)}
        if "modalities" in self._data and isinstance(self._data["modalities"], dict) and len(towers) < 2:
            self._complain(("modalities",), f"got {len(towers)}; a model graph needs two modalities or more")
        loss = self._loss(tuple(towers))
        candidate = self._candidate(nodes)
        self._check_train({name: node.head if node is not None else None for name, node in nodes.items()})
        self._check_sampling(nodes)
        if self.complaints or frame is None or loss is None or candidate is None:
            return None
        return ModelGraph(
            embedding_dim=frame.embedding_dim,
            seed=frame.seed,
            anchors=frame.anchors,
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

    def _find(self, type: str, name: object, at: DocumentPath) -> Plugin | None:
        if not isinstance(name, str):
            return None  # already complained of
        try:
            return self._host.find(type, name)
        except PluginError as error:
            self._complain((*at, "use"), str(error))
            return None

    def _config(
        self,
        plugin: Plugin,
        raw: Mapping[str, Any],
        at: DocumentPath,
        modalities: tuple[str, ...] | None = None,
        siblings: frozenset[str] = frozenset({"use"}),
    ) -> Any | None:
        record, owner = plugin.record, f"{plugin.type} {plugin.name!r}"
        saved = self._versions.get(plugin.type, {}).get(plugin.qualified, record.config_version)
        differs = (
            f"configuration version {saved} was saved and {plugin.dist} {plugin.version} has {record.config_version}; "
            f"install the version of {plugin.dist} that saved it"
        )
        if saved < record.config_version and record.migrate_config is not None:
            try:
                raw, complaints = plain(record.migrate_config(raw, saved))
            except Exception as error:  # plugin code
                complaints = [((), f"{type(error).__name__}: {error}")]
            if complaints:
                self._complain(at, f"{owner} cannot migrate its configuration: {complaints[0][1]}; {differs}")
                return None
        context = {"modalities": modalities} if modalities is not None else None
        before = len(self.complaints)
        config = self._valid(record.config, raw, owner, at, context=context, siblings=siblings)
        if saved != record.config_version:
            self.complaints[before:] = [(path, f"{text} ({differs})") for path, text in self.complaints[before:]]
        return config

    def _called(self, owner: str, at: DocumentPath, function: Any, *arguments: Any) -> Any | None:
        try:
            return function(*arguments)
        except Exception as error:  # plugin code; a ValueError speaks of the configuration
            text = str(error) if isinstance(error, ValueError) else f"failed with {type(error).__name__}: {error}"
            self._complain(at, f"{owner}: {text}")
            return None

    def _modality(self, name: str, raw: dict[str, Any]) -> ModalityNode | None:
        at: DocumentPath = ("modalities", name)
        owner = f"modality {name!r}"
        if NAME.fullmatch(name) is None:
            self._complain(at, f"got name {name!r}; take lower-case letters, digits and '_', a letter first")
        elif name in RESERVED_NAMES:
            self._complain(at, f"name {name!r} is reserved for the command line; take another one")
        ours = {key: value for key, value in raw.items() if key in RESERVED_KEYS}
        tower = self._valid(_Tower, ours, owner, at)
        plugin = self._find("modality", raw.get("use"), at)
        encoder_raw = raw.get("encoder")
        encoder = self._encoder(encoder_raw, at) if isinstance(encoder_raw, dict) else None
        if plugin is None:
            return None
        record = cast(ModalityRecord, plugin.record)
        theirs = {key: value for key, value in raw.items() if key not in RESERVED_KEYS}
        config = self._config(plugin, theirs, at, siblings=RESERVED_KEYS)
        self._check_where(_mapping(raw, "where"), record.stores, (*at, "where"), owner)
        self._check_anchors(raw.get("anchors"), at)
        if tower is not None:
            self._check_data(tower.data, plugin, at)
        if encoder is None or config is None:
            return None
        kind = self._kind(name, record, encoder, at)
        if kind is None:
            return None
        if record.adapt is not None:
            config = self._called(owner, at, record.adapt, config, encoder.record.needs)
            if config is None:
                return None
        spec = self._called(owner, at, record.spec, config, kind)
        if spec is None or tower is None:
            return None
        for need in encoder.record.needs:
            if not getattr(spec, need, False):
                self._complain(
                    (*at, "encoder", "use"),
                    f"encoder {encoder.record.name!r} needs {need!r}, which {owner} as configured does not give; "
                    f"configure {plugin.name!r} to give it, or take another encoder",
                )
        anchors = tower.anchors if tower.anchors is not None else self._graph_anchors()
        return ModalityNode(
            plugin=plugin,
            kind=kind,
            config=config,
            spec=spec,
            data=tower.data or plugin.name,
            where=tower.where,
            anchors=tuple(anchors),
            head=tower.head,
            encoder=encoder,
        )

    def _encoder(self, raw: dict[str, Any], tower: DocumentPath) -> EncoderNode | None:
        at = (*tower, "encoder")
        ours = {key: value for key, value in raw.items() if key in ("use", "kind")}
        used = self._valid(_EncoderUse, ours, "encoder", at)
        plugin = self._find("encoder", raw.get("use"), at)
        if used is None or plugin is None:
            return None
        theirs = {key: value for key, value in raw.items() if key not in ours}
        config = self._config(plugin, theirs, at, siblings=frozenset({"use", "kind"}))
        return None if config is None else EncoderNode(plugin=plugin, config=config)

    def _kind(self, name: str, record: ModalityRecord, encoder: EncoderNode, at: DocumentPath) -> str | None:
        accepts = encoder.record.accepts
        wanted = self._data["modalities"][name]["encoder"].get("kind")
        common = [kind for kind in record.kinds if kind in accepts]
        if not common:
            self._complain(
                (*at, "encoder", "use"),
                f"encoder {encoder.record.name!r} accepts kind {_listed(accepts)}, "
                f"but modality {name!r} offers {_listed(record.kinds)}",
            )
        elif wanted is not None and wanted not in common:
            self._complain((*at, "encoder", "kind"), f"got {wanted!r}; {did_you_mean(wanted, common)}")
        else:
            return cast(str, wanted or common[0])
        return None

    def _loss(self, modalities: tuple[str, ...]) -> LossNode | None:
        raw = self._data.get("loss")
        if not isinstance(raw, dict):
            return None
        used = self._valid(_LossUse, {key: raw[key] for key in raw if key == "use"}, "loss", ("loss",))
        plugin = self._find("loss", raw.get("use"), ("loss",))
        if used is None or plugin is None:
            return None
        theirs = {key: value for key, value in raw.items() if key != "use"}
        config = self._config(plugin, theirs, ("loss",), modalities)
        return None if config is None else LossNode(plugin=plugin, config=config)

    def _candidate(self, nodes: Mapping[str, ModalityNode | None]) -> str | None:
        asked = self._data.get("candidate")
        deriving = [name for name, node in nodes.items() if node is not None and node.record.derives]
        unresolved = [name for name, node in nodes.items() if node is None]
        if isinstance(asked, str):
            if asked in deriving or asked in unresolved:
                return asked
            if asked in nodes:
                why = f"modality {asked!r} cannot be made from a molecule"
                self._complain(("candidate",), f"{why}; {did_you_mean(asked, deriving)}")
            else:
                self._complain(
                    ("candidate",), f"unknown modality {asked!r} in this graph; {did_you_mean(asked, nodes)}"
                )
        elif asked is None and len(deriving) > 1:
            self._complain((), f"`candidate` is missing and {_listed(deriving)} could be it; name one")
        elif asked is None and not deriving and not unresolved and nodes:
            self._complain(("modalities",), "none can be made from a molecule; add one that can, to be the candidate")
        elif asked is None and deriving and not unresolved:
            return deriving[0]
        return None

    # --- names that must exist elsewhere in the graph ----------------------------------------------------------------

    def _graph_anchors(self) -> list[str]:
        anchors = self._data.get("anchors")
        return [a for a in anchors if isinstance(a, str)] if isinstance(anchors, list) else []

    def _check_anchors(self, anchors: object, at: DocumentPath) -> None:
        declared = self._graph_anchors()
        for i, anchor in enumerate(anchors if isinstance(anchors, list) else []):
            if isinstance(anchor, str) and anchor not in declared:
                tail = did_you_mean(anchor, declared) if declared else "declare it in the graph's `anchors`"
                self._complain((*at, "anchors", i), f"unknown anchor {anchor!r}; {tail}")

    def _check_data(self, data: str | None, plugin: Plugin, at: DocumentPath) -> None:
        stores = cast(ModalityRecord, plugin.record).stores
        providers = [p for p in self._host.plugins if p.type == "modality" and p.name == data]
        if providers and all(cast(ModalityRecord, p.record).stores != stores for p in providers):
            self._complain(
                (*at, "data"),
                f"modality {plugin.name!r} cannot read what {data!r} stores; "
                f"remove it or use {data!r} as the modality's plugin",
            )

    def _check_where(self, where: Mapping[str, Any], stores: Stores, at: DocumentPath, owner: str) -> None:
        for column, wanted in where.items():
            values = wanted if isinstance(wanted, list) else [wanted]
            for value in values:
                fault = _fault_of_column(column, value, stores, owner)
                if fault is not None:
                    self._complain((*at, column), fault)
                    break

    def _check_train(self, heads: Mapping[str, HeadConfig | None]) -> None:
        train = _mapping(self._data, "train")
        parts = _parts(heads)
        named: list[tuple[DocumentPath, object]] = []
        for rates in ("lr", "weight_decay"):
            groups = _mapping(_mapping(train, "optimizer"), rates)
            named += [(("optimizer", rates, key), key) for key in groups if key != "default"]
        named += [(("init", key), key) for key in _mapping(train, "init")]
        freeze = train.get("freeze")
        named += [(("freeze", i), part) for i, part in enumerate(freeze if isinstance(freeze, list) else [])]
        for path, part in named:
            if isinstance(part, str) and part not in parts:
                self._complain(("train", *path), f"unknown part {part!r}; {did_you_mean(part, parts)}")
        for part, source in _mapping(train, "init").items():
            run, _, theirs = source.partition("#") if isinstance(source, str) else ("?", "#", "?")
            if not run or not theirs:
                self._complain(("train", "init", part), f"got {source!r}; write RUN#PART, such as 'runs/a#{part}'")

    def _check_sampling(self, nodes: Mapping[str, ModalityNode | None]) -> None:
        sampling = _mapping(_mapping(self._data, "train"), "sampling")
        for name, columns in sampling.items():
            at: DocumentPath = ("train", "sampling", name)
            node = nodes.get(name)
            if name not in nodes:
                self._complain(at, f"unknown modality {name!r} in this graph; {did_you_mean(name, nodes)}")
            elif node is not None and isinstance(columns, dict):
                for column, weights in columns.items():
                    values = list(weights) if isinstance(weights, dict) else []
                    self._check_where({column: values}, node.record.stores, at, f"modality {name!r}")


def _fault_of_column(column: str, value: object, stores: Stores, owner: str) -> str | None:
    columns = {"origin": Category(("measured", "computed")), **stores.columns}
    declared = columns.get(column)
    if declared is None:
        return f"unknown column {column!r} of {owner}; {did_you_mean(column, columns)}"
    if isinstance(declared, Real):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if number else f"got {value!r}; column {column!r} holds numbers in {declared.unit!r}"
    if not isinstance(value, str):
        return f"got {value!r}; column {column!r} holds text"
    if declared.values and value not in declared.values:
        return f"got {value!r}; {did_you_mean(value, declared.values)}"
    return None


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _listed(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
