"""molchord: find out what molecule a sample is, from its structure and any number of its spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molchord.data.store import DataSet as DataSet
    from molchord.errors import MolchordError as MolchordError
    from molchord.graph import ModelGraph as ModelGraph
    from molchord.graph import Use as Use

    __version__: str

# Names are imported when first asked for, so that `import molchord` stays light.
_EXPORTS = {
    "DataSet": "molchord.data.store",
    "ModelGraph": "molchord.graph",
    "MolchordError": "molchord.errors",
    "Use": "molchord.graph",
}

__all__ = ["DataSet", "ModelGraph", "MolchordError", "Use", "__version__"]


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
