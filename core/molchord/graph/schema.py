"""A JSON Schema of model graphs, with the settings of every installed plugin: completion and errors in an editor.

It covers what can be checked in one file without resolving it. What depends on other parts of the graph (names of
modalities, parts, kinds that fit) is what `molchord graph check` is for; the schema never refuses what that accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from molchord.api import EncoderRecord, ModalityRecord
from molchord.graph.layers import EXTENDS, recipes
from molchord.graph.nodes import EncoderKeys, GraphKeys, LossKeys, ModalityKeys
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
        {'description': 'size of the shared embedding', 'maximum': 65536, 'minimum': 1, 'type': 'integer'}
    """
    return _Writer(installed() if host is None else host).graph()


class _Writer:
    """Writes the schema; definitions of plugins' own models gather in `shared`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.shared: Schema = {}

    def graph(self) -> Schema:
        properties = self._described(GraphKeys, "graph")
        properties["modalities"] |= {
            "propertyNames": {"pattern": f"^{NAME.pattern}$"},
            "additionalProperties": self._modality(),
        }
        properties["loss"] = self._chosen("loss", {}, properties["loss"]["description"])
        reference, null = properties["tune"].pop("anyOf")
        properties["tune"] |= {"if": null, "else": reference}  # of a choice an editor would mark the whole
        text = "a YAML file, or a built-in recipe, that this graph is laid over"
        extends = {"type": "string", "description": text, "examples": [*recipes()]}
        whole = {
            "required": _required(GraphKeys),
            "properties": {
                "modalities": {
                    "minProperties": 2,
                    "additionalProperties": {
                        "type": "object",
                        "required": _required(ModalityKeys),
                        "properties": {"encoder": {"required": _required(EncoderKeys)}},
                    },
                },
                "loss": {"required": _required(LossKeys)},
            },
        }
        return {
            "$schema": DIALECT,
            "title": "molchord model graph",
            "type": "object",
            "properties": {EXTENDS: extends, **properties},
            "additionalProperties": False,
            # What is laid over another graph need not be whole.
            "if": {"required": [EXTENDS]},
            "else": whole,
            "$defs": self.shared,
        }

    def _modality(self) -> Schema:
        frame = self._described(ModalityKeys, "modality")
        del frame["use"]  # one of the plugins' names
        kind = {"kind": self._described(EncoderKeys, "encoder")["kind"]}
        self.shared["encoder"] = self._chosen("encoder", kind, frame["encoder"]["description"])
        frame["encoder"] = {"$ref": "#/$defs/encoder"}
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
        """Return what `use` may name for a plugin: its bare name where that finds it, and the full one."""
        twins = [p for p in self._host.plugins if (p.type, p.name) == (plugin.type, plugin.name)]
        bare = len(twins) == 1 or plugin.dist == "molchord"
        return [*([plugin.name] if bare else []), plugin.qualified]

    def _fields(self, plugin: Plugin) -> tuple[Schema, bool]:
        """Return the schemas of a plugin's settings, and whether they are all that there are."""
        try:
            return self._described(plugin.record.config, f"{plugin.type} {plugin.qualified}"), True
        except PydanticInvalidForJsonSchema:  # a type that JSON Schema has no word for
            return {}, False

    def _described(self, model: type[BaseModel], owner: str) -> Schema:
        """Return the schemas of a model's fields; what they refer to goes into the shared definitions."""
        schema = model.model_json_schema(ref_template=f"#/$defs/{owner} {{model}}")
        self.shared |= {f"{owner} {name}": _plain(inner) for name, inner in schema.get("$defs", {}).items()}
        return cast(Schema, _plain(schema).get("properties", {}))


def _required(model: type[BaseModel]) -> list[str]:
    """Return the keys that a mapping must have."""
    return [field.alias or name for name, field in model.model_fields.items() if field.is_required()]


def _plain(schema: Any) -> Any:
    """Leave out pydantic's titles, which only repeat the keys, and defaults of what has defaults key by key."""
    if isinstance(schema, Mapping):
        repeated = {"title"} if isinstance(schema.get("title"), str) else set()
        repeated |= {"default"} if "$ref" in schema else set()
        return {key: _plain(value) for key, value in schema.items() if key not in repeated}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
