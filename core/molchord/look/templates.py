"""Templates of pages and reports, which all see the shared look; what they are given is escaped."""

from __future__ import annotations

import re
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from molchord.look import words

__all__ = ["breakable", "environment", "sentence"]

_ATOM = re.compile(r"[-=#:/\\$~]?(?:\[[^\]]*\]|Br|Cl|[A-Za-z*])(?:[-=#:/\\]?(?:\d|%\d\d))*|[().]|.", re.DOTALL)


@cache
def environment(package: str = "molchord.look", folder: str = ".") -> Environment:
    """Return the environment of a package's templates, in which those of the look are found too.

    Filters: `percent`, `ppm`, `formula` and `unit` of `molchord.look.words`; `smiles`, which lets a line be broken
    between atoms alone; and `sentence`, in which what stands between backticks is code.

    Args:
        package: Import name of the package.
        folder: Where its templates are in it.

    Example:
        >>> environment().from_string("{{ name }}: {{ p | percent }}").render(name="<b>", p=0.5)
        '&lt;b&gt;: 50.0 %'
    """
    loaders = [PackageLoader(package, folder), PackageLoader("molchord.look", ".")]
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=ChoiceLoader(loaders)
    )
    made.filters |= {name: getattr(words, name) for name in ("percent", "ppm", "formula", "unit")}
    made.filters |= {"smiles": breakable, "sentence": sentence}
    return made


def breakable(smiles: str) -> Markup:
    """Return a SMILES as markup that is broken between atoms, where it has to be, and never inside one.

    Example:
        >>> breakable("C[N+]1")
        Markup('C<wbr>[N+]1')
    """
    return Markup("<wbr>").join(escape(part) for part in _ATOM.findall(smiles))


def sentence(text: str) -> Markup:
    """Return a sentence as markup in which what stands between backticks is code.

    Example:
        >>> sentence("give `molchord <x>`")
        Markup('give <code>molchord &lt;x&gt;</code>')
    """
    said = text.split("`")
    if len(said) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(one) if n % 2 else escape(one) for n, one in enumerate(said)
    )
