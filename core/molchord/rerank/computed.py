"""Computed measurements of candidates: from data sets that hold some, else computed on the spot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

from molchord.api import Measurement, Modality, Molecule, SampleError, Simulator, SimulatorRecord
from molchord.data.store import DataSet, MeasurementTable
from molchord.errors import DataError
from molchord.graph.nodes import ModalityNode
from molchord.host import Plugin

__all__ = ["Computed"]


@final
class Computed:
    """Finds the computed measurements of molecules and keeps them, so that each is read or simulated once.

    Args:
        nodes: The modalities asked for, as the model graph has them.
        modalities: What their plugins built.
        datasets: Data sets with measurements whose `origin` is "computed", looked up by key14; the first one wins.
        simulator: Computes what they lack, as `build_simulator` gives it; None: that stays unknown.
        workers: Processes that simulate; None: as many as there are cores.

    Attributes:
        failures: Why a molecule has no computed measurement, by key14.

    Raises:
        DataError: A data set holds no computed measurement of any of the modalities.
    """

    def __init__(
        self,
        nodes: Mapping[str, ModalityNode],
        modalities: Mapping[str, Modality],
        datasets: Sequence[DataSet],
        simulator: tuple[Plugin[SimulatorRecord], Simulator] | None = None,
        workers: int | None = None,
    ) -> None:
        self.failures: dict[str, str] = {}
        self._nodes = dict(nodes)
        self._simulator, self._workers = simulator, workers
        self._caches = [_Cache(dataset, nodes, modalities) for dataset in datasets]
        self._stored: dict[str, dict[str, Measurement]] = {}
        self._unreadable: dict[str, str] = {}
        self._kept: dict[str, dict[str, Measurement]] = {}

    def stored(self, molecules: Sequence[Molecule]) -> list[Mapping[str, Measurement]]:
        """Return what the data sets hold for each molecule, by modality name; nothing is computed on the spot.

        Raises:
            DataError: A data set is damaged.
        """
        return [self._read(molecule.key14) for molecule in molecules]

    def of(self, molecules: Sequence[Molecule]) -> list[Mapping[str, Measurement]]:
        """Return what is computed for each molecule, by modality name; empty where it cannot be had.

        Raises:
            DataError: A data set is damaged.
            PluginError: The simulator fails.
        """
        new = {m.key14: m for m in molecules if m.key14 not in self._kept}
        found = {key: dict(self._read(key)) for key in new}
        if self._simulator is not None:
            plugin, simulator = self._simulator
            makes = plugin.record.makes
            wanted = {name for name, node in self._nodes.items() if node.record.name in makes}
            missing = [m for key, m in new.items() if wanted - found[key].keys()]
            for key, made in self._simulated(simulator, missing):
                found[key] = made | found[key]
        for key in new:
            if found[key]:
                self.failures.pop(key, None)
            else:
                self.failures.setdefault(key, self._unreadable.get(key, "the data sets given do not hold it"))
        self._kept |= found
        return [self._kept[molecule.key14] for molecule in molecules]

    def _read(self, key: str) -> dict[str, Measurement]:
        if key not in self._stored:
            found: dict[str, Measurement] = {}
            for cache in self._caches:
                try:
                    found = cache.read(key) | found
                except SampleError as error:
                    self._unreadable[key] = error.reason
            self._stored[key] = found
        return self._stored[key]

    def _simulated(
        self, simulator: Simulator, molecules: Sequence[Molecule]
    ) -> Iterator[tuple[str, dict[str, Measurement]]]:
        """Simulate molecules; yields what is made, by key14, of those that can be."""
        from molchord.simulation.simulate import simulate_molecules

        for molecule, result in zip(molecules, simulate_molecules(simulator, molecules, self._workers), strict=True):
            if isinstance(result, SampleError):
                self.failures[molecule.key14] = result.reason
                continue
            made = {n: result[node.record.name] for n, node in self._nodes.items() if node.record.name in result}
            yield molecule.key14, made


class _Cache:
    """The computed measurements of one data set."""

    def __init__(self, dataset: DataSet, nodes: Mapping[str, ModalityNode], modalities: Mapping[str, Modality]) -> None:
        self._rows = {key: row for row, key in enumerate(dataset.keys())}
        self._tables: dict[str, MeasurementTable] = {
            name: dataset.table(node.data, node.record.stores, modalities[name])
            for name, node in nodes.items()
            if node.data in dataset.stored
        }
        self._computed = {name: table.select({"origin": "computed"}) for name, table in self._tables.items()}
        if not any(chosen.any() for chosen in self._computed.values()):
            wanted = ", ".join(map(repr, nodes))
            raise DataError(
                f"data set {str(dataset.path)!r} holds no computed measurement of {wanted}; give one that "
                "`molchord data simulate` made, or name a simulator"
            )

    def read(self, key: str) -> dict[str, Measurement]:
        """Return the first computed measurement of each modality."""
        found: dict[str, Measurement] = {}
        row = self._rows.get(key)
        if row is None:
            return found
        for name, table in self._tables.items():
            indices = [index for index in table.of(row).tolist() if self._computed[name][index]]
            if indices:
                found[name] = table.read(indices[0])
        return found
