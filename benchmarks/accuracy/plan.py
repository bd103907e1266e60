"""What a table is made of: systems that are trained, tests that they are put to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

__all__ = ["FIVE_FOLDS", "Curve", "Realign", "System", "Table", "Test"]

FIVE_FOLDS = tuple(f"fold:{number}" for number in range(5))


@dataclass(frozen=True, kw_only=True)
class Realign:
    """A second training, of every tower or of the parts named `trainable`; see `molchord.Run.realign`.

    Attributes:
        data: Name of the data set, split as the table says.
        where: Which measurements to use, by modality.
        epochs: Passes over the data.
        trainable: Parts to train, or ``heads``; None: every tower.
    """

    data: str
    where: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    epochs: int = 40
    trainable: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """A model: how it is trained.

    Attributes:
        name: As in the table.
        graph: Model graph file, relative to the repository.
        change: New values by dotted path of the graph; None removes what is there.
        data: Training data; None: the table's.
        own_split: Whether this data keeps its own split where the table has another one; it then must leave out what
            the table tests, or the table is refused.
        realign: A second training after the first.
        as_long_as: Name of a system of the same table whose training time this one must not exceed.
        seeds: How many of the table's seeds to take; None: all.
        line: Its line in a figure over systems.
        x: Where on that line it stands.
    """

    name: str
    graph: str
    change: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    own_split: bool = False
    realign: Realign | None = None
    as_long_as: str | None = None
    seeds: int | None = None
    line: str = ""
    x: float | None = None

    def changed(self, **values: Any) -> System:
        """Return this system with further changes to its graph, by path with "__" for dots, or with other fields.

        Example:
            >>> System(name="a", graph="a.yaml").changed(name="b", train__fraction=0.5).change
            {'train.fraction': 0.5}
        """
        own = {key: value for key, value in values.items() if key in self.__dataclass_fields__}
        paths = {key.replace("__", "."): value for key, value in values.items() if key not in own}
        return replace(self, **own, change={**self.change, **paths})


@dataclass(frozen=True, kw_only=True)
class Test:
    """What a system is put to.

    Attributes:
        name: As in the table, such as "clean".
        data: Name of the data set that holds queries and candidates; None: the table's.
        pools: Pools.
        condition: What happens to the queries, see `perturb.CONDITIONS`.
        modes: Query modes.
        fusions: Maps of the geometric mean.
        split: Whose molecules are queries; "val" for whatever is chosen.
        where: Which measurements to use, by modality.
        known: Columns that a query's measurement must have, by modality.
        rerank: A re-ranker that gets rows of its own, fitted on validation queries; measured queries only.
        rerank_k: How many of the first candidates it looks at; None: its default.
        computed: Data sets whose computed measurements it takes for candidates.
        options: Further options of `molchord.Run.evaluate`.
        line: Its line in a figure over tests.
        x: Where on that line it stands.
    """

    __test__: ClassVar[bool] = False  # pytest is not to collect it

    name: str
    data: str | None = None
    pools: tuple[str, ...] = ("test", "all")
    condition: str = "clean"
    modes: tuple[str, ...] = ("blind",)
    fusions: tuple[str, ...] = ("gm-exp",)
    split: str = "test"
    where: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    rerank: str | None = None
    rerank_k: int | None = None
    computed: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    line: str = ""
    x: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure of Top-1: bars for systems, or lines over numbers that systems or tests carry."""

    over: Literal["bars", "systems", "tests"] = "bars"
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the results.

    Attributes:
        title: Heading.
        text: What is measured, for the reader.
        data: Name of the data set.
        systems: Models; the first one is what the others are compared with, and what the baselines stand beside.
        tests: Tests, all of them for every system.
        minutes: About how long it takes on one core with all seeds, trainings included.
        seeds: Seeds of the trainings.
        splits: Split rules in place of the data set's own; with several, such as `FIVE_FOLDS`, every one is trained and
            tested for itself and the figures are pooled over the tested molecules (out of fold).
        candidates_only: Whether to train the candidates-only baseline of the first system.
        figure: The figure that goes with it.
        measured: Whether its queries are measured spectra; these tables come first on the page of results.
        headline: Pairs of test and pool that the page of results shows; empty: all pools but `test`. The full table
            has all of them.
    """

    title: str
    text: str
    data: str
    systems: tuple[System, ...]
    tests: tuple[Test, ...]
    minutes: float
    seeds: tuple[int, ...] = (7, 8, 9)
    splits: tuple[str, ...] = ()
    candidates_only: bool = True
    figure: Curve | None = None
    measured: bool = False
    headline: tuple[tuple[str, str], ...] = ()
