"""A model's card as HTML: of Markdown the headings, paragraphs, lists, tables and code that cards have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup, escape

__all__ = ["card_html"]


def card_html(markdown: str) -> Markup:
    r"""Return a card as HTML; what it says is escaped, and links stay text.

    Example:
        >>> card_html("# A model\n\nIt takes `ir` <b>.")
        Markup('<h2>A model</h2>\n<p>It takes <code>ir</code> &lt;b&gt;.</p>')
    """
    return Markup("\n").join(_blocks(markdown))


def _blocks(markdown: str) -> Iterator[Markup]:
    for kind, group in groupby(markdown.splitlines(), key=_kind):
        lines = list(group)
        if kind == "heading":
            for line in lines:
                level = min(len(line) - len(line.lstrip("#")) + 1, 4)
                yield Markup(f"<h{level}>") + _inline(line.lstrip("# ")) + Markup(f"</h{level}>")
        elif kind == "table":
            yield _table(lines)
        elif kind == "code":
            yield Markup('<pre tabindex="0">') + escape("\n".join(line[4:] for line in lines)) + Markup("</pre>")
        elif kind == "list":
            items = Markup("").join(Markup("<li>") + _inline(line.lstrip("-* ")) + Markup("</li>") for line in lines)
            yield Markup("<ul>") + items + Markup("</ul>")
        elif kind == "text":
            yield Markup("<p>") + _inline(" ".join(lines)) + Markup("</p>")


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    starts = {"#": "heading", "|": "table", "- ": "list", "* ": "list", "    ": "code"}
    return next((kind for start, kind in starts.items() if line.startswith(start)), "text")


def _inline(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _table(lines: list[str]) -> Markup:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    head = Markup("").join(Markup('<th scope="col">') + _inline(cell) + Markup("</th>") for cell in rows[0])
    body = Markup("").join(
        Markup("<tr>")
        + Markup("").join(Markup("<td>") + _inline(cell) + Markup("</td>") for cell in row)
        + Markup("</tr>")
        for row in rows[1:]
    )
    frame = '<div class="scroll" tabindex="0"><table><thead><tr>'
    return Markup(frame) + head + Markup("</tr></thead><tbody>") + body + Markup("</tbody></table></div>")
