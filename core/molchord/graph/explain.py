"""A resolved model graph as YAML, each key under a comment that explains it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

from pydantic import BaseModel

from molchord.graph.resolve import ModelGraph
from molchord.graph.schema import graph_schema
from molchord.host import Host

__all__ = ["explained"]

_WIDTH = 110
_KEY = re.compile(r"^( *)([^\s:#'\"-][^:]*): ?(.*)$")

Meanings = dict[tuple[str, ...], str]


def explained(graph: ModelGraph, host: Host | None = None) -> str:
    """Return the text of `ModelGraph.to_yaml` with comments, so that it still reads back as the same graph.

    Args:
        graph: The graph.
        host: Plugins to describe; None: those installed.

    Example:
        >>> from molchord import ModelGraph, Use
        >>> towers = {"structure": Use("structure", encoder=Use("gine")), "ir": Use("ir", encoder=Use("mlp"))}
        >>> graph = ModelGraph.of(embedding_dim=8, modalities=towers, loss=Use("all_pairs"))
        >>> explained(graph).splitlines()[:2]
        ['# version of the language', 'schema: 1']
    """
    meanings = dict(_meanings(graph, host))
    lines: list[str] = []
    path: list[tuple[int, str]] = []
    for line in graph.to_yaml().splitlines():
        match = _KEY.match(line)
        if match is not None:
            indent, key, value = len(match[1]), match[2], match[3]
            path = [*((depth, name) for depth, name in path if depth < indent), (indent, key)]
            lines += _comments(tuple(name for _, name in path), meanings, indent, inline=value.startswith("{"))
        lines.append(line)
    return "\n".join(lines) + "\n"


def _comments(path: tuple[str, ...], meanings: Meanings, indent: int, inline: bool) -> Iterator[str]:
    """Yield the comment on a key, and on what is below it where all of that is on the key's own line."""
    if path in meanings:
        yield from _wrapped(meanings[path], f"{' ' * indent}# ", "")
    if inline:
        for below, meaning in meanings.items():
            if below[: len(path)] == path and len(below) > len(path):
                name = ".".join(below[len(path) :])
                yield from _wrapped(f"{name}: {meaning}", f"{' ' * indent}#   ", "  ")


def _wrapped(text: str, start: str, further: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent=start, subsequent_indent=start + further)


def _meanings(graph: ModelGraph, host: Host | None) -> Iterator[tuple[tuple[str, ...], str]]:
    frame = graph_schema(host)["properties"]
    yield from (((key,), part["description"]) for key, part in frame.items() if "description" in part)
    cases = frame["modalities"]["additionalProperties"]["allOf"]
    for name, node in graph.modalities.items():
        at = ("modalities", name)
        case = next(case for case in cases if node.use in case["if"]["properties"]["use"]["enum"])
        keys = case["then"]["properties"].items()
        yield from (((*at, key), part["description"]) for key, part in keys if "description" in part)
        yield from _fields(node.config, at)
        yield from _fields(node.encoder.config, (*at, "encoder"))
        yield from _fields(node.head, (*at, "head"))
    yield from _fields(graph.loss.config, ("loss",))
    yield from _fields(graph.train, ("train",))


def _fields(model: BaseModel, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, field in type(model).model_fields.items():
        key = (*at, field.alias or name)
        if field.description:
            yield key, field.description
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _fields(value, key)
