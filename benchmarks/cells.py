"""Markdown and numbers, as both the page and the full tables write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "DEFAULT_FUSION",
    "METRICS",
    "folded",
    "interval",
    "markdown",
    "number_range",
    "quoted",
    "subset_name",
    "value",
]

METRICS: Mapping[str, str] = {
    "top1": "Top-1",
    "top5": "Top-5",
    "top10": "Top-10",
    "top25": "Top-25",
    "mrr": "MRR",
    "tanimoto": "Tanimoto",
}
DEFAULT_FUSION = "gm-exp"


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table.

    Example:
        >>> print(markdown(["a", "b"], [["1", "x|y"]]), end="")
        | a | b |
        | --- | --- |
        | 1 | x/y |
    """
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows) + "\n"


def folded(title: str, text: str) -> str:
    """Return text that a reader unfolds."""
    return f"<details><summary>{title}</summary>\n\n{text}\n</details>\n"


def subset_name(subset: Sequence[str]) -> str:
    """Name the spectra of a query.

    Example:
        >>> subset_name(["ir", "raman"])
        'ir + raman'
    """
    return " + ".join(subset)


def interval(figure: Sequence[float | None], *, signed: bool = False) -> str:
    """Return a share and its interval in %.

    Example:
        >>> interval([0.5, 0.41, 0.6]), interval([None, None, None])
        ('50.0 [41.0, 60.0]', '-')
    """
    if figure[0] is None:
        return "-"
    middle, low, high = (f"{100 * float(x or 0):{'+' if signed else ''}.1f}" for x in figure)
    return f"{middle} [{low}, {high}]"


def value(figure: float | None, metric: str) -> str:
    """Return one figure: a share in %, MRR and Tanimoto as they are.

    Example:
        >>> value(0.5, "top5"), value(0.5, "mrr")
        ('50.0', '0.500')
    """
    if figure is None:
        return "-"
    return f"{figure:.3f}" if metric in ("mrr", "tanimoto") else f"{100 * figure:.1f}"


def quoted(names: Iterable[str]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


def number_range(numbers: Sequence[float], form: str) -> str:
    """Return the smallest and the largest number, or the one that both are.

    Example:
        >>> number_range([3, 1, 2], "{:.0f}"), number_range([2, 2], "{:.0f}")
        ('1-3', '2')
    """
    return "-".join(dict.fromkeys(form.format(number) for number in (min(numbers), max(numbers))))
