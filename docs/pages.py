"""Fills pages from what they would otherwise repeat: README, notebook, help of commands, settings. Sets formulas."""

import argparse
import html
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert

from molchord.cli.explain import explain_parser
from molchord.cli.main import main_parser
from molchord.cli.search import search_parser
from molchord.graph.schema import graph_schema
from molchord.host import PLUGIN_TYPES
from molchord.testing import records

KIT = {"Every record": records} | {
    row.plural.capitalize(): import_module(row.checks) for row in PLUGIN_TYPES.values() if row.checks
}
README = Path(__file__).parent.parent / "README.md"
NOTEBOOK = Path(__file__).parent / "from-python.ipynb"


class Examples(Extension):  # type: ignore[misc]
    """Has the sections `Example` of docstrings set as code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Call them as the parser of docstrings knows them."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page, with what is written elsewhere: README, notebook, help of commands, settings."""
    if page.file.src_uri == "index.md":
        return README.read_text(encoding="utf-8").replace("](docs/", "](")
    if page.file.src_uri == "from-python.md":
        return "\n\n".join([*_cells(), markdown])
    if page.file.src_uri == "reference/cli.md":
        helps = [f"## {parser.prog}\n\n```text\n{parser.format_help()}```\n" for parser in _leaves(main_parser())]
        return "\n".join([markdown, *helps])
    if page.file.src_uri == "reference/testing.md":
        return "\n".join([markdown, *_kit()])
    if page.file.src_uri == "reference/graph.md":
        return "\n".join([markdown, *_settings(graph_schema())])
    # A block that replaces functions of a file is set as one that stands in it.
    return markdown.replace('python replace="', 'python title="in ')


def on_page_content(content: str, **_: Any) -> str:
    """Return a page's HTML with its formulas as MathML, which browsers set without a script.

    Raises:
        ValueError: A block of code was not understood as one.
    """
    if "```" in content:
        raise ValueError(f"a block of code is set as plain text: {content[content.index('```') :][:80]!r}")
    return re.sub(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", _formula, content, flags=re.DOTALL)


def _formula(match: re.Match[str]) -> str:
    inline, block = match.groups()
    return convert(html.unescape(inline or block), display="inline" if inline else "block")


def _cells() -> Iterator[str]:
    """Yield the cells of the notebook as Markdown."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        own = {"search": search_parser, "explain": explain_parser}.get(parser.prog.rpartition(" ")[2])
        yield parser if own is None else own()
    for group in groups:
        for child in group.choices.values():
            yield from _leaves(child)


def _kit() -> Iterator[str]:
    """Yield a table of checks for each type of plugin, from their docstrings."""
    for title, part in KIT.items():
        rows = [
            (check.__name__, *" ".join((check.__doc__ or "").split()).split(" To mend it: ")) for check in part.CHECKS
        ]
        table = [f"| `{name}` | {why.replace('``', '`')} | {mend[0].upper()}{mend[1:]} |" for name, why, mend in rows]
        yield "\n".join([f"### {title}\n", "| check | why | to mend it |", "|---|---|---|", *table, ""])


def _settings(schema: dict[str, Any]) -> Iterator[str]:
    """Yield a table of settings for each part of a model graph, and for each plugin that is installed."""
    parts = schema["properties"]
    whole = {key: value for key, value in parts.items() if key not in ("modalities", "loss", "train", "tune")}
    modality = parts["modalities"]["additionalProperties"]
    frame = {
        key: modality["allOf"][0]["then"]["properties"][key] for key in ("scalar_features", "data", "where", "head")
    }
    shared = schema["$defs"]
    yield _table("The whole", whole, shared)
    named = "`use` names the modality and `encoder.use` its encoder; the settings of both stand beside these.\n\n"
    yield _table("A modality", frame, shared, named)
    for key, reference in (("train", parts["train"]), ("tune", parts["tune"]["else"])):
        yield _table(f"`{key}`", _referred(reference, shared)["properties"], shared)
    for title, chosen in (("Modality", modality), ("Encoder", shared["encoder"]), ("Loss", parts["loss"])):
        for case in chosen["allOf"]:
            own = dict(case.get("then", {}).get("properties", {}))
            use = own.pop("use", {})
            names = [name for name in use.get("enum", ()) if ":" not in name]
            if names:
                own = {key: value for key, value in own.items() if key not in (*frame, "encoder", "kind")}
                yield _table(f"{title} `{names[0]}`", own, shared, f"{use['description']}.\n\n")


def _referred(value: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference refers to; anything else as it is."""
    found: dict[str, Any] = shared.get(value.get("$ref", "").removeprefix("#/$defs/"), value)
    return found


def _table(title: str, settings: dict[str, Any], shared: dict[str, Any], text: str = "") -> str:
    unbroken = '<code style="white-space: nowrap">{}</code>'
    rows = [f"| {unbroken.format(key)} | {default} | {meaning} |" for key, default, meaning in _rows(settings, shared)]
    table = ["| key | default | meaning |", "|---|---|---|", *rows] if rows else ["No settings."]
    return f"## {title}\n\n{text}" + "\n".join([*table, ""])


def _rows(settings: dict[str, Any], shared: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, str]]:
    for key, value in settings.items():
        inner = _referred(value, shared)
        default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
        if inner.get("properties"):
            yield from _rows(inner["properties"], shared, f"{above}{key}.")
        else:
            allowed = ", ".join(f"`{item}`" for item in inner.get("enum", ()))
            meaning = value.get("description", inner.get("description", "")).replace("|", "\\|").replace("\n", " ")
            meaning = meaning.replace("{", "&#123;").replace("}", "&#125;")  # else attributes of the cell
            yield above + key, default, meaning + (f" ({allowed})" if allowed else "")
