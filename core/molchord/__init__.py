"""molchord: find out what molecule a sample is, from its structure and any number of its spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molchord.api import Measurement as Measurement
    from molchord.api import ReadingOptions as ReadingOptions
    from molchord.api import SampleError
    from molchord.data.spectrum_files import ReadSpectrum as ReadSpectrum
    from molchord.data.store import DataSet as DataSet
    from molchord.errors import MolchordError as MolchordError
    from molchord.graph.resolve import ModelGraph as ModelGraph
    from molchord.graph.resolve import Use as Use
    from molchord.library.library import Hit as Hit
    from molchord.library.library import Library as Library
    from molchord.rerank.rerank import Rerank as Rerank
    from molchord.run import Run as Run
    from molchord.study import Study as Study

    __version__: str

# Names are imported when first asked for, so that `import molchord` stays light.
_EXPORTS = {
    "DataSet": "molchord.data.store",
    "Hit": "molchord.library.library",
    "Library": "molchord.library.library",
    "Measurement": "molchord.api",
    "ModelGraph": "molchord.graph.resolve",
    "MolchordError": "molchord.errors",
    "ReadSpectrum": "molchord.data.spectrum_files",
    "ReadingOptions": "molchord.api",
    "Rerank": "molchord.rerank.rerank",
    "Run": "molchord.run",
    "Study": "molchord.study",
    "Use": "molchord.graph.resolve",
}

__all__ = [
    "DataSet",
    "Hit",
    "Library",
    "Measurement",
    "ModelGraph",
    "MolchordError",
    "ReadSpectrum",
    "ReadingOptions",
    "Rerank",
    "Run",
    "Study",
    "Use",
    "__version__",
    "from_measurements",
    "import_files",
    "load",
    "read_spectra",
    "simulate",
    "tune",
]


def load(path: str | Path, *, device: str | None = None) -> Run:
    """Load a trained run.

    Example:
        ```python
        import molchord as mc

        run = mc.load("runs/demo")
        hits = run.search(mc.Library("runs/demo-library"), ir="a.jdx", k=5)
        ```
    """
    from molchord.run import Run

    return Run.load(path, device=device)


def read_spectra(
    path: str | Path, modality: str | None = None, options: ReadingOptions | None = None
) -> list[ReadSpectrum | SampleError]:
    """Read a spectrum file for you to check: which modality it names, and how its numbers were understood.

    Args:
        path: The file.
        modality: What it is; None: every modality is asked whether the file names itself as one of its own.
        options: How to read a table that does not say all itself.

    Returns:
        Each spectrum, or why an entry cannot be used, in the order of the file.

    Raises:
        QueryError: The file cannot be read, or no modality recognises it.

    Example:
        ```python
        [spectrum] = mc.read_spectra("a.csv", "ir", mc.ReadingOptions(x_unit="um", y_unit="%T"))
        print(spectrum.facts())
        ```
    """
    from molchord.data.spectrum_files import read_spectra as run_reading
    from molchord.host import installed

    return run_reading(path, modality, options, host=installed())


def from_measurements(
    smiles: Sequence[str],
    measurements: Mapping[str, Sequence[Measurement | Sequence[Measurement] | None]],
    path: str | Path | None = None,
    *,
    splits: Sequence[str] | None = None,
) -> DataSet:
    """Make a data set of measurements in memory; in a temporary folder, unless a path is given.

    Args:
        smiles: One SMILES per molecule.
        measurements: By modality, for each molecule a `Measurement`, several of them, or None.
        path: Folder to make.
        splits: "train", "val" or "test" per molecule; None: the hash rule.

    Example:
        >>> import numpy as np
        >>> import molchord as mc
        >>> curve = {"wavenumber": np.linspace(500, 4000, 50), "absorbance": np.ones(50)}
        >>> mc.from_measurements(["CCO", "CO"], {"ir": [mc.Measurement(arrays=curve), None]}).stored
        ('ir',)
    """
    from molchord.data.store import DataSet
    from molchord.host import installed

    stores = {name: installed().modality(name).stores for name in measurements}
    return DataSet.from_measurements(
        smiles, measurements, None if path is None else Path(path), stores=stores, splits=splits
    )


def import_files(files: Sequence[str | Path], out: str | Path, **options: Any) -> DataSet:
    """Make a data set of spectrum files; options as `molchord.data.importer.import_files` takes them.

    Example:
        ```python
        data = mc.import_files(["spectra.mgf", "computed.npz"], "data/mine")
        ```
    """
    from molchord.data.importer import import_files as run_import
    from molchord.data.store import DataSet
    from molchord.host import installed

    run_import([Path(file) for file in files], Path(out), **{"host": installed(), **options})
    return DataSet(out)


def simulate(smiles: str | Path | Sequence[str], out: str | Path, **options: Any) -> DataSet:
    """Make a data set of spectra computed from SMILES; options as `molchord.simulation.simulate.simulate` takes them.

    Args:
        smiles: SMILES, or a file of them.
        out: Folder to make.
        options: Such as ``workers``, ``limit``, and ``use``: a simulator's name, or a `Use` with its configuration.

    Example:
        ```python
        data = mc.simulate(["CCO", "c1ccccc1"], "data/computed")
        fine = mc.simulate(["CCO", "c1ccccc1"], "data/fine", use=mc.Use("aimnet2", members=4))
        ```
    """
    from molchord.data.store import DataSet
    from molchord.host import installed
    from molchord.simulation.simulate import simulate as run_simulation

    run_simulation(smiles, Path(out), **{"host": installed(), **options})
    return DataSet(out)


def tune(graph: str | Path | Mapping[str, Any], data: DataSet | str | Path, out: str | Path, **options: Any) -> Study:
    """Try settings of a model graph; options as `molchord.study.tune` takes them.

    Example:
        ```python
        study = mc.tune("my.yaml", "data/mine", "studies/mine", trials=30)
        print(study.text())
        ```
    """
    from molchord.study import tune as run_study

    return run_study(graph, data, out, **options)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("molchord")
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
