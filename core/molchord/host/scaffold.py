"""Writes the package of a new plugin: the templates in ``templates/``, filled in."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Any

from molchord.api import API_VERSION
from molchord.errors import PluginError, did_you_mean
from molchord.files import replace_file, replace_folder
from molchord.host.discovery import Host, installed
from molchord.host.types import NAME, PLUGIN_TYPES
from molchord.vocabulary import KINDS

__all__ = ["new_plugin", "new_types"]

TEMPLATES = resources.files("molchord.host") / "templates"

DEFAULT_KIND = "spectrum1d"

_SPECS = {"graph": "GraphSpec", "spectrum1d": "SpectrumSpec", "peaks": "PeaksSpec", "vector": "VectorSpec"}
_ROLES = {"encoder": "network"}
"""What the module next to a plugin's record holds, where it is not called after the type."""

_LINES = {
    "graph": '{"smiles": "CO", "element": [6, 8], "charge": [0.2, -0.6], "bond": [[0, 1]]}',
    "spectrum1d": '{"smiles": "CCO", "position": [200, 201], "value": [0.1, 0.3]}',
    "peaks": '{"smiles": "CCO", "position": [18.1, 57.8], "height": [1, 1]}',
    "vector": '{"smiles": "CCO", "values": [0.1, 1.2, ...]}',
}


def new_types() -> list[str]:
    """Return the types of plugin that there are templates for, each in the folder of its name.

    Example:
        >>> new_types()
        ['modality', 'encoder', 'loss', 'property']
    """
    return [type for type in PLUGIN_TYPES if (TEMPLATES / type).is_dir()]


def new_plugin(
    type: str, name: str, kind: str | None = None, folder: str | Path | None = None, host: Host | None = None
) -> list[Path]:
    """Write a package that works as written, and return its files.

    Args:
        type: One of `new_types`.
        name: Name of the plugin, ``[a-z][a-z0-9_]*``.
        kind: Form in which a modality reaches an encoder, or that an encoder accepts; None: "spectrum1d".
        folder: Where to write it; None: ``molchord-NAME`` in the working directory.
        host: Plugins whose names are taken; None: those installed.

    Raises:
        PluginError: Type, name or kind is not possible, or the folder already exists.

    Example:
        >>> [path.name for path in new_plugin("loss", "barlow")]
        ['README.md', 'graph.yaml', 'pyproject.toml', 'test_contract.py',
         '__init__.py', 'barlow.py', 'barlow_loss.py']
    """
    _check(type, name, kind, installed() if host is None else host)
    dashed = name.replace("_", "-")
    target = Path(f"molchord-{dashed}" if folder is None else folder)
    if target.exists():
        raise PluginError(f"folder {str(target)!r} already exists and is not replaced; choose another with `--out`")
    package = f"molchord_{name}"
    kind = (kind or DEFAULT_KIND) if PLUGIN_TYPES[type].kinds else ""
    article = "an" if type == "encoder" else "a"
    words = {
        "type": type,
        "name": name,
        "Name": "".join(word.capitalize() for word in name.split("_")),
        "NAME": name.upper(),
        "kind": kind,
        "role": _ROLES.get(type, type),
        "hook": PLUGIN_TYPES[type].hook,
        "record": PLUGIN_TYPES[type].record.__name__,
        "package": package,
        "dist": f"molchord-{dashed}",
        "title": f"{article} {type} from a template; say here in one line what it is",
        "article": article,
        "Article": article.capitalize(),
        "api": API_VERSION,
        "spec": _SPECS.get(kind, ""),
        "line": _LINES.get(kind, ""),
    }
    files = dict(_rendered(type, words))
    with replace_folder(target) as new:
        for path, text in files.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            replace_file(new / path, text)
    return [target / path for path in files]


def _check(type: str, name: str, kind: str | None, host: Host) -> None:
    if type not in new_types():
        raise PluginError(f"no template for plugin type {type!r}; {did_you_mean(type, new_types())}")
    if NAME.fullmatch(name) is None or name.endswith("_") or "__" in name:
        raise PluginError(
            f"{type} cannot have the name {name!r}; take lower-case letters, digits and single '_', a letter first"
        )
    if iskeyword(name):
        raise PluginError(f"{type} cannot have the name {name!r}, which is a word of Python; take another name")
    if name in PLUGIN_TYPES[type].names:
        raise PluginError(f"{type} cannot have the name {name!r}, which the command line uses; take another name")
    taken = [plugin.qualified for plugin in host.plugins if (plugin.type, plugin.name) == (type, name)]
    if taken or find_spec(f"molchord_{name}") is not None:
        owner = f"{type} {taken[0]!r}" if taken else f"the installed package 'molchord_{name}'"
        raise PluginError(f"{type} cannot have the name {name!r}, which {owner} has; take another name")
    if kind is not None and not PLUGIN_TYPES[type].kinds:
        raise PluginError(f"a {type} has no kind, got {kind!r}; leave `--kind` out")
    if kind is not None and kind not in KINDS:
        raise PluginError(f"no template for kind {kind!r}; {did_you_mean(kind, KINDS)}")


def _rendered(type: str, words: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each file of the package, by its path in the folder."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(lambda name: (TEMPLATES / name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

    def template(name: str) -> str:
        for choice in (f"{type}/{words['kind']}/{name}.j2", f"{type}/{name}.j2", f"{name}.j2"):
            if (TEMPLATES / choice).is_file():
                return choice
        raise AssertionError(f"no template for {name!r}")

    package, role = words["package"], words["role"]
    names = {
        "README.md": "README.md",
        **({} if words["type"] == "property" else {"graph.yaml": "graph.yaml"}),
        "pyproject.toml": "pyproject.toml",
        "tests/test_contract.py": "test_contract.py",
        f"{package}/__init__.py": "__init__.py",
        f"{package}/{words['name']}.py": "plugin.py",
        f"{package}/{words['name']}_{role}.py": f"{role}.py",
    }
    for path, name in names.items():
        yield path, environment.get_template(template(name)).render(words).strip() + "\n"
