"""Turns what pydantic finds wrong into sentences by the house formula, with the nearest allowed name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from molchord.errors import did_you_mean

__all__ = ["Complaint", "DocumentPath", "dotted", "plain", "validate"]

DocumentPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions that lead to a value."""

Complaint: TypeAlias = tuple[DocumentPath, str]
"""Where something is wrong, and what."""

_Model = TypeVar("_Model", bound=BaseModel)

_WORDS = {
    "Input should be ": "expected ",
    "an object": "a mapping",
    "a valid dictionary": "a mapping",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid number": "a number",
}


def dotted(path: DocumentPath) -> str:
    """Return a path as text.

    Example:
        >>> dotted(("modalities", "ir", "encoder", "hidden", 0))
        'modalities.ir.encoder.hidden.0'
    """
    return ".".join(str(step) for step in path)


def validate(
    model: type[_Model],
    data: Mapping[str, Any],
    owner: str,
    *,
    context: Mapping[str, Any] | None = None,
    siblings: Iterable[str] = (),
) -> tuple[_Model | None, list[Complaint]]:
    """Make a model of plain data, without converting types silently ("5" is not a number, 1 is not a truth value).

    Args:
        model: Class to make.
        data: Mappings, lists and scalars.
        owner: Whose keys these are, for messages.
        context: Handed to the model's validators.
        siblings: Names that could have been meant in addition to the model's own fields.

    Example:
        >>> from molchord.graph.settings import HeadConfig
        >>> validate(HeadConfig, {"layer": 1}, "head")
        (None, [(('layer',), "unknown key for head; did you mean 'layers'?")])
    """
    try:
        # JSON's strict mode takes lists for tuples and whole numbers for floats, and nothing else for anything else.
        return model.model_validate_json(json.dumps(data), strict=True, context=context), []
    except ValidationError as error:
        return None, list(_sentences(error, model, data, owner, tuple(siblings)))


def plain(value: Any, path: DocumentPath = ()) -> tuple[Any, list[Complaint]]:
    """Return Python objects (models, tuples, mappings) as mappings, lists and scalars, with what could not be turned.

    Example:
        >>> plain({"hidden": (64, 32)})
        ({'hidden': [64, 32]}, [])
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value, []
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, round_trip=True), []
    complaints: list[Complaint] = []
    if isinstance(value, Mapping):
        out = {}
        for key, item in value.items():
            if not isinstance(key, str):
                complaints.append(((*path, str(key)), f"key {key!r} is not text; give a string"))
            out[str(key)], more = plain(item, (*path, str(key)))
            complaints += more
        return out, complaints
    if isinstance(value, (list, tuple)):
        items = [plain(item, (*path, i)) for i, item in enumerate(value)]
        return [item for item, _ in items], [complaint for _, more in items for complaint in more]
    return None, [(path, f"got {_shown(value)}; give text, a number, true, false, none, a list or a mapping")]


# --- sentences -------------------------------------------------------------------------------------------------------


def _sentences(
    error: ValidationError, model: type[BaseModel], data: Any, owner: str, siblings: tuple[str, ...]
) -> Iterator[Complaint]:
    """Yield one complaint a place; of a union's branches the one that went deepest into the data speaks."""
    found: dict[DocumentPath, list[str]] = {}
    types: dict[DocumentPath, set[str]] = {}
    branches: dict[DocumentPath, DocumentPath] = {}
    for item in error.errors(include_url=False):
        path, union = _place(item, data)
        allowed = _fields(model, path[:-1]) + (list(siblings) if len(path) == 1 else [])
        found.setdefault(path, []).append(_sentence(item, path, allowed, owner))
        types.setdefault(path, set()).add(item["type"])
        if union is not None:
            branches[path] = union
    deep = {union for path, union in branches.items() if len(path) > len(union)}
    for path, messages in found.items():
        # A list that lost a faulty item is not too short as well.
        echo = types[path] == {"too_short"}
        inside = any(len(other) > len(path) and other[: len(path)] == path for other in found)
        if not (echo and inside) and (branches.get(path) != path or path not in deep):
            yield path, _joined(messages)


def _joined(messages: list[str]) -> str:
    first, *others = dict.fromkeys(messages)
    head, separator, _ = first.partition("; ")
    tails = [other.removeprefix(head + separator) for other in others if other.startswith(head + separator)]
    return " or ".join([first, *(tail.removeprefix("expected ") for tail in tails)])


def _place(item: ErrorDetails, data: Any) -> tuple[DocumentPath, DocumentPath | None]:
    """Return the path in the data, and where a union is on it; pydantic names the union's branches in between."""
    path: DocumentPath = ()
    union = None
    for position, step in enumerate(item["loc"]):
        last = position == len(item["loc"]) - 1
        inside = isinstance(data, Mapping) and step in data
        if inside or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            path, data = (*path, step), data[step]
        elif last and item["type"] == "missing":
            path = (*path, step)
        elif step != "[key]" and union is None:
            union = path
    return path, union


def _sentence(item: ErrorDetails, path: DocumentPath, allowed: list[str], owner: str) -> str:
    kind, got, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "missing":
        return f"required key of {owner} is missing; add it"
    if kind == "extra_forbidden":
        return f"unknown key for {owner}; {did_you_mean(str(path[-1]), allowed)}"
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        got = context.get("tag", got)
        expected = str(context.get("expected", context.get("expected_tags")))
        names = re.findall(r"'([^']*)'", expected)
        tail = did_you_mean(got, names) if names and isinstance(got, str) else f"allowed: {expected}"
        return f"got {_shown(got)}; {tail}"
    if kind in ("too_short", "too_long"):
        limit = context.get("min_length", context.get("max_length"))
        return f"got {_shown(got)}; expected a list of at {'least' if kind == 'too_short' else 'most'} {limit}"
    message = item["msg"]
    if kind in ("value_error", "assertion_error"):
        return message.partition(", ")[2]
    if kind == "union_tag_not_found":
        return f"required key {context['discriminator']} is missing; add it"
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return f"got {_shown(got)}; {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(annotation: Any, path: DocumentPath) -> list[str]:
    """Return the keys that the models at `path` below a type have."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        if not path:
            return list(fields)
        return _fields(fields[str(path[0])], path[1:]) if path[0] in fields else []
    origin = get_origin(annotation)
    # A union passes the path on, a container uses up one step of it.
    container = isinstance(origin, type) and issubclass(origin, Collection)
    if container and not path:
        return []
    rest = path[1:] if container else path
    return [name for argument in get_args(annotation) for name in _fields(argument, rest)]
