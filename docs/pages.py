"""Fills pages from what they would otherwise repeat: the README, and the help of every command. Sets formulas."""

import argparse
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert

from molchord.cli import _parser

README = Path(__file__).parent.parent / "README.md"


class Examples(Extension):  # type: ignore[misc]
    """Has the sections `Example` of docstrings set as code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Call them as the parser of docstrings knows them."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page: the README for the first one, every command's help behind that of the command line."""
    if page.file.src_uri == "index.md":
        return README.read_text(encoding="utf-8").replace("](docs/", "](")
    if page.file.src_uri == "reference/cli.md":
        helps = [f"## {parser.prog}\n\n```text\n{parser.format_help()}```\n" for parser in _leaves(_parser())]
        return "\n".join([markdown, *helps])
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Return a page's HTML with its formulas as MathML, which browsers set without a script."""
    return re.sub(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", _formula, content, flags=re.DOTALL)


def _formula(match: re.Match[str]) -> str:
    inline, block = match.groups()
    return convert(html.unescape(inline or block), display="inline" if inline else "block")


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for child in group.choices.values():
            yield from _leaves(child)
