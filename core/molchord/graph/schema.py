"""A JSON Schema of model graphs, with the settings of every installed plugin: completion and errors in an editor.

It says what can be said of one file without resolving it. What hangs on other parts of the graph (names of modalities,
parts, kinds that fit) is what `molchord graph check` is for; the schema never refuses what that accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from molchord.api import EncoderRecord, ModalityRecord
from molchord.graph.layers import EXTENDS, recipes
from molchord.graph.resolve import SCHEMA
from molchord.graph.settings import HeadConfig, TrainConfig, TuneConfig
from molchord.host import Host, Plugin, installed
from molchord.host.types import NAME

__all__ = ["DIALECT", "graph_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema: TypeAlias = dict[str, Any]


def graph_schema(host: Host | None = None) -> Schema:
    """Return the JSON Schema of model graphs that use installed plugins.

    Args:
        host: Plugins to describe; None: those installed.

    Example:
        >>> schema = graph_schema()
        >>> schema["properties"]["embedding_dim"]
        {'type': 'integer', 'minimum': 1, 'description': 'size of the shared embedding'}
    """
    return _Writer(installed() if host is None else host).graph()


class _Writer:
    """Writes the schema; definitions of plugins' own models gather in `shared`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.shared: Schema = {}

    def graph(self) -> Schema:
        properties = {
            EXTENDS: _text("a YAML file, or a built-in recipe, that this graph is laid over", examples=[*recipes()]),
            "schema": {"const": SCHEMA, "description": "version of the language"},
            "embedding_dim": {"type": "integer", "minimum": 1, "description": "size of the shared embedding"},
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "where all randomness starts"},
            "anchors": _list(_text("a numeric column of the molecules' table"), "numbers known of a molecule"),
            "candidate": {"type": ["string", "null"], "description": "the modality that is retrieved"},
            "modalities": {
                "type": "object",
                "description": "modalities by a name of your choice",
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": self._modality(),
            },
            "loss": self._chosen("loss", {}, "the loss over all modalities"),
            "train": self._settings(TrainConfig, "train"),
            "tune": {**self._settings(TuneConfig, "tune"), "required": ["space"]},
        }
        whole = {
            "required": ["schema", "embedding_dim", "modalities", "loss"],
            "properties": {
                "modalities": {
                    "minProperties": 2,
                    "additionalProperties": {
                        "type": "object",
                        "required": ["use", "encoder"],
                        "properties": {"encoder": {"required": ["use"]}},
                    },
                },
                "loss": {"required": ["use"]},
            },
        }
        return {
            "$schema": DIALECT,
            "title": "molchord model graph",
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            # What is laid over another graph need not be whole.
            "if": {"required": [EXTENDS]},
            "else": whole,
            "$defs": self.shared,
        }

    def _modality(self) -> Schema:
        value: list[Schema] = [{"type": "string"}, {"type": "number"}]
        values = {"type": "array", "items": {"anyOf": value}, "minItems": 1}
        kind = _text("kind to take, where there are several")
        self.shared["encoder"] = self._chosen("encoder", {"kind": kind}, "the network")
        self.shared["head"] = self._settings(HeadConfig, "head")
        frame: Schema = {
            "encoder": {"$ref": "#/$defs/encoder"},
            "head": {"$ref": "#/$defs/head"},
            "anchors": {**_list({"type": "string"}, "anchors of this tower; default: all"), "type": ["array", "null"]},
            "data": {**_text("name under which the data set stores it"), "type": ["string", "null"]},
            "where": {
                "type": "object",
                "description": "columns and the values they must have",
                "additionalProperties": {"anyOf": [*value, values]},
            },
        }
        chosen = self._chosen("modality", frame, "a modality and its tower")
        return {**chosen, "type": ["object", "null"]}

    def _chosen(self, type: str, frame: Schema, description: str) -> Schema:
        """Return the schema of a mapping whose ``use`` chooses a plugin, and with it the other keys."""
        plugins = [plugin for plugin in self._host.plugins if plugin.type == type]
        names = [name for plugin in plugins for name in self._names(plugin)]
        return {
            "type": "object",
            "description": description,
            "properties": {"use": {"enum": sorted(names)}},
            "allOf": [self._case(plugin, frame) for plugin in plugins],
        }

    def _case(self, plugin: Plugin, frame: Schema) -> Schema:
        use = {"enum": self._names(plugin), "description": plugin.record.summary}
        own, closed = self._fields(plugin)
        keys = {"use": use, **frame, **own}
        if isinstance(plugin.record, ModalityRecord):
            keys["encoder"] = {"allOf": [frame["encoder"], self._encoders(plugin.record)]}
        then = {"properties": keys, **({"additionalProperties": False} if closed else {})}
        return {"if": {"properties": {"use": {"enum": use["enum"]}}, "required": ["use"]}, "then": then}

    def _encoders(self, modality: ModalityRecord) -> Schema:
        """Return which encoders take what a modality offers."""
        fitting = [
            name
            for plugin in self._host.plugins
            if isinstance(plugin.record, EncoderRecord) and set(plugin.record.accepts) & set(modality.kinds)
            for name in self._names(plugin)
        ]
        return {"properties": {"use": {"enum": sorted(fitting)}}}

    def _names(self, plugin: Plugin) -> list[str]:
        """Return what `use` may say for a plugin: its bare name where that finds it, and the full one."""
        twins = [p for p in self._host.plugins if (p.type, p.name) == (plugin.type, plugin.name)]
        bare = len(twins) == 1 or plugin.dist == "molchord"
        return [*([plugin.name] if bare else []), plugin.qualified]

    def _fields(self, plugin: Plugin) -> tuple[Schema, bool]:
        """Return the schemas of a plugin's settings, and whether they are all that there are."""
        try:
            return self._described(plugin.record.config, f"{plugin.type} {plugin.qualified}"), True
        except PydanticInvalidForJsonSchema:  # a type that JSON Schema has no word for
            return {}, False

    def _settings(self, model: type[BaseModel], owner: str) -> Schema:
        description = (model.__doc__ or "").partition("\n")[0]
        return {
            "type": "object",
            "description": description,
            "properties": self._described(model, owner),
            "additionalProperties": False,
        }

    def _described(self, model: type[BaseModel], owner: str) -> Schema:
        """Return the schemas of a model's fields; what they refer to goes into the shared definitions."""
        schema = model.model_json_schema(ref_template=f"#/$defs/{owner} {{model}}")
        self.shared |= {f"{owner} {name}": inner for name, inner in schema.get("$defs", {}).items()}
        return cast(Schema, _untitled(schema).get("properties", {}))


def _untitled(schema: Any) -> Any:
    """Leave out pydantic's titles, which only repeat the keys."""
    if isinstance(schema, Mapping):
        titled = isinstance(schema.get("title"), str)
        return {key: _untitled(value) for key, value in schema.items() if key != "title" or not titled}
    return [_untitled(item) for item in schema] if isinstance(schema, list) else schema


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _list(items: Schema, description: str) -> Schema:
    return {"type": "array", "items": items, "description": description}
