"""A simulator whose spectra are the numbers of its molecules, and its program: ``toy_simulator.py JOBS RESULTS``."""

import sys
from pathlib import Path

import numpy as np

from molchord.api import Array, Config, Measurement, SampleError, SimulatorRecord
from molchord.simulation.files import Outcome, read_contents, read_entries, write_entries

JOBS = {"z": Array(unit="1", axis="atoms", dtype="uint8")}
RESULTS = {"freq": Array(unit="cm^-1", axis="modes"), "ir": Array(unit="km/mol", axis="modes")}
COMPUTED_BY = "numbers of atoms"


def compute(job):
    freq = 500.0 + 10.0 * job["z"].astype(np.float32)
    return {"freq": freq, "ir": freq / 100.0}


class Toy:
    def prepare(self, molecule):
        if not molecule.formula:
            raise SampleError(molecule.key14, "it has no formula")
        return {"z": np.frombuffer(molecule.smiles.encode(), dtype=np.uint8).copy()}

    def compute(self, job):
        return compute(job)

    def measurements(self, result):
        arrays = {"stick_wavenumber": result["freq"], "stick_intensity": result["ir"]}
        return {"ir": Measurement(arrays=arrays, columns={"origin": "computed"})}

    def prepared_by(self):
        return "letters"

    def computed_by(self):
        return COMPUTED_BY

    def program(self):
        return Path(__file__)


TOY = SimulatorRecord(
    name="toy",
    summary="a toy",
    api=1,
    makes=("ir",),
    jobs=JOBS,
    results=RESULTS,
    config=Config,
    build=lambda config: Toy(),
)


def main(jobs, results):
    contents = read_contents(Path(jobs))
    entries = [
        Outcome(id=entry.id, smiles=entry.smiles, arrays=compute(entry.arrays))
        for entry in read_entries(Path(jobs), JOBS)
    ]
    made_by = {"prepared_by": contents.prepared_by, "computed_by": COMPUTED_BY}
    write_entries(Path(results), RESULTS, [*entries, *contents.failed], **made_by)


if __name__ == "__main__":
    main(*sys.argv[1:])
