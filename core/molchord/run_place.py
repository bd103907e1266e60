"""Where a run is and which spectra it takes, without loading it: what a command line needs before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from molchord.checksums import unsealed
from molchord.errors import RunError, newer_version

__all__ = ["RUN_FORMAT", "SHIPPED", "find_run", "refuse_format", "spectra_of_run"]

RUN_FORMAT = 1
"""Version of the run folder's format."""

SHIPPED = Path(__file__).with_name("pretrained")
"""The trained run that comes with molchord."""


def find_run(run: str | Path) -> Path:
    """Return the folder of a run: the path itself, or for the bare word ``pretrained`` the run that is shipped.

    A folder of that name in the working directory wins over the word.

    Example:
        >>> find_run("runs/demo").as_posix()
        'runs/demo'
    """
    path = Path(run)
    return SHIPPED if str(run) == SHIPPED.name and not path.exists() else path


def refuse_format(run: str | Path, version: object) -> NoReturn:
    """Refuse a run of another format.

    Raises:
        RunError: Naming both.
    """
    newer_version("run", run, {"format": version}, "format", RUN_FORMAT, RunError)
    raise RunError(f"run {str(run)!r} has format {version!r}, this molchord reads {RUN_FORMAT}; train it again")


def spectra_of_run(run: str | Path) -> dict[str, str]:
    """Return the kind of each modality of a run that can be a query, by name, from its manifest alone.

    Raises:
        RunError: The folder is not a run, or its manifest is damaged.

    Example:
        >>> sorted(spectra_of_run("pretrained"))[:2]
        ['carbon', 'ir']
    """
    path = find_run(run) / "manifest.json"
    if not path.is_file():
        lack = "has no manifest.json" if path.parent.exists() else "does not exist"
        raise RunError(f"run {str(run)!r} {lack}; give a folder that `molchord train` wrote, or 'pretrained'")
    try:
        content = path.read_bytes()
        found = json.loads(content)
        if found.get("format") != RUN_FORMAT:
            refuse_format(run, found.get("format"))
        unsealed(content)
        specs, candidate = found["specs"], found["candidate"]
        return {name: str(spec["kind"]) for name, spec in specs.items() if name != candidate}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"run {str(run)!r} has a damaged manifest.json ({error!r}); train it again") from error
