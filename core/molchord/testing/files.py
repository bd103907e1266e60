"""A check on files, which only who writes a reader has."""

from __future__ import annotations

from pathlib import Path

from molchord.api import Measurement, ModalityRecord, SampleError
from molchord.data.manifest import declare
from molchord.data.shards import encode
from molchord.testing.require import require
from molchord.testing.samples import batch_of, built


def check_file(record: ModalityRecord, path: str | Path) -> list[Measurement]:
    """Read a file as an import does and make batches as a training does, and return its measurements.

    The kit knows no file of yours; give it a real one.

    Raises:
        AssertionError: The file holds no measurement, or an entry cannot be read, stored or turned into a batch.

    Example:
        ```python
        def test_a_file_of_ours():
            [measurement] = check_file(NMR, "tests/ethanol.jdx")
        ```
    """
    arrays, _ = declare(record.name, record.stores, {})
    plugins = [built(record, kind) for kind in record.kinds]
    found = []
    for entry in plugins[0].read(Path(path)):
        if isinstance(entry, SampleError):
            raise AssertionError(f"`read` cannot use an entry: {entry}")
        try:
            encode(entry.measurement, arrays, record.stores)
            for plugin in plugins:
                batch_of(plugin, [entry.measurement])
        except SampleError as error:
            raise AssertionError(f"{entry.location}: {error}") from error
        found.append(entry.measurement)
    require(bool(found), f"`read` finds no measurement in {str(path)!r}")
    return found
