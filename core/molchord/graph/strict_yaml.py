"""YAML without surprises: 1.2 core scalars, no duplicate keys, no alias bombs, and the line of every value.

PyYAML keeps the last of two equal keys and reads ``1e-4`` as text, ``no`` as False, ``12:30`` as 750 and ``017`` as
15. Here scalars follow the core schema (https://yaml.org/spec/1.2.2/, section 10.3.2) and everything else is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.representer import SafeRepresenter

from molchord.complaints import DocumentPath, dotted
from molchord.errors import GraphError

__all__ = ["Document", "dump", "parse_yaml", "read"]

MAX_DEPTH = 40
MAX_VALUES = 20_000
MAX_FLOW = 90


@dataclass(frozen=True)
class Document:
    """What a file holds, and where.

    Attributes:
        data: Mappings, lists and scalars.
        lines: Line (from 1) of each value, by path; a value under a key has the key's line.
        source: Name of the file, for messages.
    """

    data: Any
    lines: Mapping[DocumentPath, int]
    source: str

    def line(self, path: DocumentPath) -> int:
        """Return the line of the value at `path`, or of the nearest value above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def locate(self, path: DocumentPath, message: str) -> str:
        """Return a complaint as ``file:line: path: message``."""
        where = f"{self.source}:{self.line(path)}: "
        return where + (f"{dotted(path)}: {message}" if path else message)


def read(path: str | Path) -> Document:
    """Read a YAML file.

    Raises:
        GraphError: The file is missing or not UTF-8, or is not YAML as read here; holds all complaints.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GraphError([f"model graph {str(path)!r} does not exist; give the path of a YAML file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError([f"model graph {str(path)!r} cannot be read: {error}; give a YAML file in UTF-8"]) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str = "<text>") -> Document:
    r"""Read YAML text.

    Raises:
        GraphError: It is not YAML as read here; holds all complaints.

    Example:
        >>> document = parse_yaml("lr: 1e-4\nopen: no\nat: 12:30\nbits: 017\n")
        >>> document.data
        {'lr': 0.0001, 'open': 'no', 'at': '12:30', 'bits': 17}
        >>> document.locate(("bits",), "too few")
        '<text>:4: bits: too few'
    """
    try:
        root, complaints = _composed(text)
    except _Refused as refusal:
        raise GraphError([f"{source}:{refusal.line}: {refusal}"]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise GraphError([f"{source}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}"]) from error
    except (YAMLError, ValueError) as error:
        raise GraphError([f"{source}:1: not valid YAML: {' '.join(str(error).split())}"]) from error
    lines: dict[DocumentPath, int] = {}
    data = _expand(root, (), root.line, lines)
    document = Document(data, lines, source)
    if complaints:
        raise GraphError([f"{source}:{line}: {message}" for line, message in sorted(complaints)])
    return document


@lru_cache(maxsize=16)
def _composed(text: str) -> tuple[_Node, list[tuple[int, str]]]:
    """Return the root node and complaints by line; a training reads its graph again and again, and parsing is slow."""
    composer = _Composer()
    root = composer.document(YAML(typ="safe", pure=True).parse(text))
    return root, composer.complaints


def dump(data: Any) -> str:
    """Write mappings, lists and scalars as YAML that `parse_yaml` reads back equal; the same data gives the same text.

    Example:
        >>> print(dump({"lr": 1e-05, "words": ["no", "017"], "deep": {"a": {"b": None}}}), end="")
        lr: 1e-05
        words: [no, '017']
        deep:
          a: {b: null}
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None  # collections of scalars on one line
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096  # a wrapped line ends in a blank
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


class _Representer(SafeRepresenter):
    """Writes every value out, and puts each key of a long mapping on its own line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_short(self, data: dict[str, Any]) -> Any:
        node = self.represent_dict(data)
        if len(str(data)) > MAX_FLOW:
            node.flow_style = False
        return node


_Representer.add_representer(dict, _Representer.represent_short)


# --- scalars ---------------------------------------------------------------------------------------------------------

_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)


def _scalar(text: str) -> Any:
    for pattern, convert in _CORE:
        if pattern.fullmatch(text):
            return convert(text)
    return text


# --- composing -------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


@dataclass
class _Node:
    """A value with its line; `size` and `height` are of the value with every alias written out."""

    line: int
    value: Any = None
    items: list[_Node] = field(default_factory=list)
    entries: dict[str, tuple[int, _Node]] = field(default_factory=dict)
    size: int = 1
    height: int = 1

    def take(self, child: _Node) -> None:
        self.size += child.size
        self.height = max(self.height, 1 + child.height)


class _Composer:
    """Builds nodes from parser events, and notes complaints that need not stop the reading."""

    def __init__(self) -> None:
        self.complaints: list[tuple[int, str]] = []
        self._anchors: dict[str, _Node | None] = {}

    def document(self, events: Iterator[Event]) -> _Node:
        root = None
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _Refused(line, "a second document starts; keep one document a file")
                if event.version not in (None, (1, 2)):
                    raise _Refused(line, "got another YAML version; this file is read as YAML 1.2, remove '%YAML'")
            elif not isinstance(event, (StreamStartEvent, StreamEndEvent, DocumentEndEvent)):
                root = self._node(event, events, 0)
        return root or _Node(1)

    def _node(self, event: Any, events: Iterator[Event], depth: int) -> _Node:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise _Refused(line, f"nested deeper than {MAX_DEPTH} levels; flatten the file")
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, line)
        if event.tag not in (None, "!"):
            raise _Refused(line, f"tag {event.tag!r} is not read; remove it")
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # known but not whole yet, so an alias inside is a cycle
        node = _Node(line)
        if isinstance(event, ScalarEvent):
            plain = event.style is None and event.tag is None
            node.value = self._plain(event.value, line) if plain else event.value
        elif isinstance(event, SequenceStartEvent):
            node.value = list
            self._sequence(node, events, depth)
        elif isinstance(event, MappingStartEvent):
            node.value = dict
            self._mapping(node, events, depth)
        if node.size > MAX_VALUES:
            raise _Refused(line, f"more than {MAX_VALUES} values once aliases are written out; use fewer aliases")
        if node.height > MAX_DEPTH:
            raise _Refused(
                line, f"nested deeper than {MAX_DEPTH} levels once aliases are written out; flatten the file"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _plain(self, text: str, line: int) -> Any:
        try:
            return _scalar(text)
        except ValueError:
            raise _Refused(line, f"number of {len(text)} digits; write a shorter one") from None

    def _alias(self, anchor: str, line: int) -> _Node:
        if anchor not in self._anchors:
            raise _Refused(line, f"alias '*{anchor}' has no anchor '&{anchor}' before it")
        node = self._anchors[anchor]
        if node is None:
            raise _Refused(line, f"alias '*{anchor}' stands inside its own anchor; write the value out")
        return node

    def _sequence(self, node: _Node, events: Iterator[Event], depth: int) -> None:
        for event in events:
            if isinstance(event, SequenceEndEvent):
                return
            node.items.append(self._node(event, events, depth + 1))
            node.take(node.items[-1])

    def _mapping(self, node: _Node, events: Iterator[Event], depth: int) -> None:
        for event in events:
            if isinstance(event, MappingEndEvent):
                return
            line = event.start_mark.line + 1
            key = self._node(event, events, depth + 1).value
            value = self._node(next(events), events, depth + 1)
            node.take(value)
            if not isinstance(key, str):
                got = "a key that is a collection" if key in (list, dict) else f"key {key!r}"
                self.complaints.append((line, f"{got} is not text; write it in quotes"))
            elif key in node.entries:
                first = node.entries[key][0]
                self.complaints.append((line, f"key {key!r} stands twice, first in line {first}; remove one"))
            else:
                node.entries[key] = (line, value)


def _expand(node: _Node, path: DocumentPath, line: int, lines: dict[DocumentPath, int]) -> Any:
    lines[path] = line
    if node.value is list:
        return [_expand(item, (*path, i), item.line, lines) for i, item in enumerate(node.items)]
    if node.value is dict:
        return {key: _expand(item, (*path, key), at, lines) for key, (at, item) in node.entries.items()}
    return node.value
