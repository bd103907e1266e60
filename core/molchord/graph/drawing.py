"""Draws a model graph: its towers, and the pairs of modalities that the loss aligns; as text and as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import NamedTuple, TypeAlias

from molchord.api import GraphSpec, PeaksSpec, Spec, SpectrumSpec, VectorSpec
from molchord.graph.nodes import ModalityNode
from molchord.graph.resolve import ModelGraph
from molchord.text_table import padded

__all__ = ["as_svg", "as_text", "loss_line"]

Pair: TypeAlias = tuple[str, str]

_LEFT, _RIGHT, _UP, _DOWN = 1, 2, 4, 8
_WIRES = {
    0: " ",
    _LEFT | _UP: "┘",
    _LEFT | _DOWN: "┐",
    _LEFT | _RIGHT: "─",
    _LEFT | _RIGHT | _UP: "┴",
    _LEFT | _RIGHT | _DOWN: "┬",
}


class _Tower(NamedTuple):
    """What is shown of a tower, from the measurement to the embedding."""

    name: str
    sample: str
    encoder: str
    head: str


def as_text(graph: ModelGraph, pairs: Sequence[Pair]) -> str:
    """Draw a graph with characters.

    Args:
        graph: The graph.
        pairs: Names of the modalities that the loss aligns.

    Example:
        >>> from molchord.graph.resolve import ModelGraph
        >>> print(as_text(ModelGraph.load("msms"), [("fingerprint", "msms")]))
        2 towers into an embedding of 256 numbers; * is retrieved
        <BLANKLINE>
          fingerprint *  6323 numbers           ─▶ mlp       ─▶ linear head ─●─┐
          msms           peaks (mz, intensity)  ─▶ peak_bag  ─▶ linear head ─●─┘
        <BLANKLINE>
        loss graph_centered aligns 1 pair: fingerprint-msms
    """
    shown = [_tower(graph, name) for name in graph.modalities]
    cells = padded([(tower.name, tower.sample, tower.encoder, tower.head) for tower in shown])
    wires = _wires([*graph.modalities], pairs)
    lines = [
        f"  {name}  {sample}  ─▶ {encoder}  ─▶ {head} ─●{wire}".rstrip()
        for (name, sample, encoder, head), wire in zip(cells, wires, strict=True)
    ]
    head = f"{len(shown)} towers into an embedding of {graph.embedding_dim} numbers; * is retrieved"
    return "\n".join([head, "", *lines, "", loss_line(graph, pairs)])


def as_svg(graph: ModelGraph, pairs: Sequence[Pair]) -> str:
    """Draw a graph as an SVG element; arguments as in `as_text`.

    Example:
        >>> from molchord.graph.resolve import ModelGraph
        >>> as_svg(ModelGraph.load("msms"), [("fingerprint", "msms")]).startswith("<svg ")
        True
    """
    from jinja2 import Environment, StrictUndefined

    source = (resources.files("molchord.graph") / "drawing.svg.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    names = [*graph.modalities]
    towers = [_tower(graph, name) for name in names]
    return environment.from_string(source).render(
        towers=[tower._replace(sample=tower.sample.replace("^-1", "⁻¹")) for tower in towers],
        retrieved=names.index(graph.candidate),
        pairs=[(names.index(first), names.index(second)) for first, second in pairs],
        loss=loss_line(graph, pairs),
    )


def loss_line(graph: ModelGraph, pairs: Sequence[Pair]) -> str:
    """Describe in one line what the loss aligns."""
    listed = ", ".join("-".join(pair) for pair in pairs)
    count = f"{len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'}"
    return f"loss {graph.loss.record.name} aligns {count}" + (f": {listed}" if pairs else "")


def _tower(graph: ModelGraph, name: str) -> _Tower:
    node = graph.modalities[name]
    head = "linear head" if node.head.layers == 1 else "2-layer head"
    return _Tower(
        name=f"{name} *" if name == graph.candidate else name,
        sample=_sample(node, node.spec) + (f" of {node.record.name}" if node.record.name != name else ""),
        encoder=node.encoder.record.name,
        head=head + (f" + {', '.join(node.scalar_features)}" if node.scalar_features else ""),
    )


def _sample(node: ModalityNode, spec: Spec) -> str:
    """Describe what reaches the encoder."""
    if isinstance(spec, SpectrumSpec):
        channels = f"{spec.channels} x " if spec.channels > 1 else ""
        return f"{channels}{spec.points} points, {spec.start:g}-{spec.stop:g} {spec.unit}"
    if isinstance(spec, PeaksSpec):
        return f"peaks ({', '.join(spec.peak)})"
    if isinstance(spec, GraphSpec):
        return f"graph, {spec.conformers} x positions" if spec.positions else "graph"
    if isinstance(spec, VectorSpec):
        return f"{spec.size} numbers"
    return node.kind


def _wires(names: Sequence[str], pairs: Iterable[Pair]) -> list[str]:
    r"""Return, for each name, the wires behind it: one column per pair, from the one name down to the other.

    Example:
        >>> print("\n".join(_wires("abc", [("a", "b"), ("a", "c")])))
        ─┬─┐
        ─┘ │
        ───┘
    """
    columns = [sorted((names.index(first), names.index(second))) for first, second in pairs]
    lines = []
    for row in range(len(names)):
        last = max((place for place, ends in enumerate(columns) if row in ends), default=-1)
        line = ""
        for place, (top, bottom) in enumerate(columns):
            through = "─" if place <= last else " "
            if top < row < bottom:
                line += f"{through}│"
                continue
            across = _LEFT | _RIGHT if place < last else _LEFT if place == last else 0
            line += through + _WIRES[across | (_DOWN if row == top else _UP if row == bottom else 0)]
        lines.append(line)
    return lines
