"""A model graph of several layers: what it extends, itself, then single settings laid over it.

A mapping is laid over a mapping key by key; anything else replaces what was there. A mapping whose ``use`` names
another plugin replaces all of it, since the settings below belong to the old one; a modality that is null is left out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from molchord.complaints import DocumentPath, dotted, plain
from molchord.errors import GraphError, did_you_mean
from molchord.graph.renames import renewed
from molchord.graph.strict_yaml import Document, parse_yaml, read

__all__ = ["EXTENDS", "Layers", "laid_over", "read_layers", "recipes", "settings"]

EXTENDS = "extends"
"""Key of a model graph that names what it is laid over: the path of a YAML file, or a built-in recipe."""

SET = "--set"
"""Where complaints about single settings are."""


class Place(NamedTuple):
    """Where a value was written: the layer, its line there (0 where it has none), and the layer's name."""

    layer: int
    line: int
    source: str


@dataclass(frozen=True)
class Layers:
    """What all layers together set, and where each value comes from.

    Attributes:
        data: Mappings, lists and scalars.
        places: Where each value was written, by path.
    """

    data: Any
    places: Mapping[DocumentPath, Place]

    def place(self, path: DocumentPath) -> Place:
        """Return where the value at `path`, or the nearest value above it, was written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def locate(self, path: DocumentPath, message: str) -> str:
        """Return a complaint as ``file:line: path: message``; without file and line where there is no file."""
        place = self.place(path)
        where = f"{place.source}:{place.line}: " if place.line else f"{place.source}: " if place.source else ""
        what = dotted(path) or ("" if place.line else "model graph")
        return where + (f"{what}: {message}" if what else message)

    def over(self, overrides: Mapping[str, Any]) -> Layers:
        """Lay single values over these layers, by dotted path.

        Raises:
            GraphError: A value is not plain, or belongs to a modality that is not there.
        """
        layers = self
        for path, value in overrides.items() if isinstance(self.data, dict) else ():
            data, complaints = plain(value)
            if complaints:
                raise GraphError([f"{SET}: {dotted((path, *at))}: {message}" for at, message in complaints])
            for key in reversed(path.split(".")):
                data = {key: data}
            _check_modality(data, layers.data)
            layers = layers._under(renewed(Document(data, {}, SET)))
        return layers

    def _under(self, upper: Document) -> Layers:
        """Lay a document over these layers."""
        over = {key: value for key, value in upper.data.items() if key != EXTENDS}
        places = dict(self.places)
        data = _merged(self.data, over, (), places)
        layer = 1 + max(place.layer for place in places.values())
        lines = upper.lines or _lineless(over)
        return Layers(data, places | {at: Place(layer, line, upper.source) for at, line in lines.items()})


@functools.cache
def recipes() -> Mapping[str, Path]:
    """Return the built-in recipes by name.

    Example:
        >>> "demo" in recipes()
        True
    """
    folder = Path(str(resources.files("molchord") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def settings(texts: Iterable[str], form: str = "PATH=VALUE, such as train.epochs=30") -> dict[str, Any]:
    """Read single settings as the command line has them, ``PATH=VALUE``; a value is YAML.

    Args:
        texts: What the command line has.
        form: What to write, for the error.

    Raises:
        GraphError: One has no path, is not YAML, or occurs twice; holds all complaints.

    Example:
        >>> settings(["modalities.ir.encoder.width=96", "train.optimizer={lr: 1e-3}"])
        {'modalities.ir.encoder.width': 96, 'train.optimizer': {'lr': 0.001}}
    """
    found: dict[str, Any] = {}
    complaints: list[str] = []
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            complaints.append(f"{SET}: got {text!r}; write {form}")
        elif path in found:
            complaints.append(f"{SET}: {path}: stands twice; leave one out")
        else:
            try:
                found[path] = parse_yaml(value, f"{SET}: {path}").data
            except GraphError as error:
                complaints += error.complaints
    if complaints:
        raise GraphError(complaints)
    return found


def read_layers(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Layers:
    """Read a graph file, or a built-in recipe by its name, with all that it extends.

    Args:
        path: YAML file, or name of a recipe.
        overrides: Values laid over it at last, by dotted path.

    Raises:
        GraphError: A file is missing or not YAML, or extends itself; holds all complaints.
    """
    known = recipes()
    if str(path) in known:
        path = known[str(path)]
    elif not Path(path).suffix and not Path(path).exists():
        raise GraphError(
            [f"model graph {str(path)!r} does not exist; give the path of a YAML file, or a built-in recipe: "
             f"{did_you_mean(str(path), known)}"]
        )  # fmt: skip
    return laid_over(read(path), Path(path), overrides)


def laid_over(document: Document, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Layers:
    r"""Lay a document over what it extends, and single values over it.

    Args:
        document: The document.
        path: Its file; what it extends is looked for next to it. None: in the working directory.
        overrides: Values laid over it, by dotted path.

    Raises:
        GraphError: Something that it extends is missing, not YAML or extends itself, or an override is not plain.

    Example:
        >>> layers = laid_over(parse_yaml("extends: demo\nloss: {use: all_pairs}"), overrides={"seed": 8})
        >>> layers.data["loss"], layers.data["seed"], layers.locate(("loss", "use"), "wrong")
        ({'use': 'all_pairs'}, 8, '<text>:2: loss.use: wrong')
    """
    lowest, *others = reversed(list(_chain(document, path)))
    layers = Layers(lowest.data, _places(lowest))
    for upper in others:
        layers = layers._under(upper)
    return layers.over(overrides or {})


def _chain(document: Document, path: Path | None) -> Iterator[Document]:
    """Yield a document and what it extends, the lowest layer last."""
    seen = [] if path is None else [path.resolve()]
    while True:
        document = renewed(document)
        yield document
        if not isinstance(document.data, dict) or EXTENDS not in document.data:
            return
        name = document.data[EXTENDS]
        path = _extended(document, name, Path() if path is None else path.parent)
        if path.resolve() in seen:
            raise _complaint(document, f"{name!r} extends this file in turn; leave one of the two out")
        seen.append(path.resolve())
        document = read(path)
        if not isinstance(document.data, dict):
            raise GraphError([document.locate((), "a model graph is a mapping")])


def _extended(document: Document, name: object, folder: Path) -> Path:
    if not isinstance(name, str):
        raise _complaint(document, f"got {name!r}; give the path of a YAML file or the name of a built-in recipe")
    known = recipes()
    if name in known:
        return known[name]
    path = folder / name
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise _complaint(document, f"file {str(path)!r} does not exist; give a path relative to this file")
    raise _complaint(document, f"unknown recipe {name!r}; {did_you_mean(name, known)}")


def _complaint(document: Document, message: str) -> GraphError:
    return GraphError([Layers(None, _places(document)).locate((EXTENDS,), message)])


def _places(document: Document) -> dict[DocumentPath, Place]:
    return {at: Place(0, line, document.source) for at, line in (document.lines or _lineless(document.data)).items()}


def _check_modality(over: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse a single setting of a modality that is not there, which would else begin a new one."""
    known: Any = data.get("modalities")
    named: Any = over.get("modalities")
    for name, setting in named.items() if isinstance(named, dict) and isinstance(known, dict) else ():
        if name not in known and not (isinstance(setting, dict) and "use" in setting):
            message = f"unknown modality {name!r} in this graph; {did_you_mean(name, known)}"
            raise GraphError([f"{SET}: modalities.{name}: {message}"])


def _lineless(value: Any, path: DocumentPath = ()) -> dict[DocumentPath, int]:
    """Return the paths of all values, without lines."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {path: 0}
    for key, item in items:
        found |= _lineless(item, (*path, key))
    return found


def _merged(under: Any, over: Any, path: DocumentPath, places: dict[DocumentPath, Place]) -> Any:
    """Lay one value over another, and forget where replaced ones came from."""
    if isinstance(under, dict) and isinstance(over, dict) and _same_plugin(under, over):
        out = dict(under)
        for key, value in over.items():
            out[key] = _merged(under[key], value, (*path, key), places) if key in under else value
            if path == ("modalities",) and value is None and key in under:
                del out[key]
        return out
    for at in [at for at in places if at[: len(path)] == path]:
        del places[at]
    return over


def _same_plugin(under: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Return whether two mappings configure one plugin, named with its distribution or without."""
    names = [str(mapping["use"]).split(":") for mapping in (under, over) if "use" in mapping]
    if len(names) < 2 or names[0] == names[1]:
        return True
    return names[0][-1] == names[1][-1] and len(names[0]) != len(names[1])
