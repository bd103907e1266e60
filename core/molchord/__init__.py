"""molchord: find out what molecule a sample is, from its structure and any number of its spectra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molchord.api import Measurement as Measurement
    from molchord.data.store import DataSet as DataSet
    from molchord.errors import MolchordError as MolchordError
    from molchord.graph.resolve import ModelGraph as ModelGraph
    from molchord.graph.resolve import Use as Use
    from molchord.retrieval.library import Hit as Hit
    from molchord.retrieval.library import Library as Library
    from molchord.run import Run as Run

    __version__: str

# Names are imported when first asked for, so that `import molchord` stays light.
_EXPORTS = {
    "DataSet": "molchord.data.store",
    "Hit": "molchord.retrieval.library",
    "Library": "molchord.retrieval.library",
    "Measurement": "molchord.api",
    "ModelGraph": "molchord.graph.resolve",
    "MolchordError": "molchord.errors",
    "Run": "molchord.run",
    "Use": "molchord.graph.resolve",
}

__all__ = [
    "DataSet",
    "Hit",
    "Library",
    "Measurement",
    "ModelGraph",
    "MolchordError",
    "Run",
    "Use",
    "__version__",
    "import_files",
    "load",
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
