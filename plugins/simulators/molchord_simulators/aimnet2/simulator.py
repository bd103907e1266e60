"""The simulator `aimnet2`: conformers by RDKit, spectra by AIMNet2, and by GFN2-xTB where AIMNet2 lacks an element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from molchord.api import Measurement, Molecule, SampleError
from molchord.chem import conformer_seed, conformers, parse, with_hydrogens
from molchord_simulators import gfn2
from molchord_simulators.aimnet2 import spectra, surface, weights
from molchord_simulators.aimnet2.network import ELEMENTS, Network
from molchord_simulators.aimnet2.spectra import Spectrum
from molchord_simulators.gfn2 import Failed
from molchord_simulators.harmonic import Harmonic
from molchord_simulators.threads import one_thread

__all__ = ["AIMNet2", "averaged"]

BATCH = 48  # molecules that are computed together; in a random order enough of each size are among them
TEMPERATURE = 298.15  # kelvin
NEGLIGIBLE = 1e-3  # share of a conformer that is left out

_BOLTZMANN = 3.166811563e-6  # Hartree/kelvin
_SAME_ENERGY, _SAME_SHAPE = 2e-5, 5e-3  # Hartree; part of a rotational constant

Arrays = Mapping[str, NDArray[Any]]


class AIMNet2:
    """Harmonic infrared and Raman spectra by AIMNet2, of many molecules at once; also a `molchord.api.Batched`.

    Args:
        members: Networks whose mean is taken.
        conformers: How many to start from.
        device: Where the networks are computed, or ``auto``.

    Example:
        ```python
        record = installed().find("simulator", "aimnet2").record
        simulator = record.build(record.config(members=1))
        simulator.compute(simulator.prepare(molecule("CC=O")))["freq"]
        ```
    """

    batch = BATCH

    def __init__(self, members: int = weights.MEMBERS, conformers: int = 1, device: str = "auto") -> None:
        self.members, self.conformers, self.device = members, conformers, device
        self._gfn2 = Harmonic()

    def prepare(self, molecule: Molecule) -> dict[str, NDArray[Any]]:
        """Embed conformers by ETKDGv3 and relax them by MMFF94, or UFF where MMFF94 lacks parameters.

        The first one is that of `gfn2`.

        Shape:
            ``z`` (n,), ``pos`` (conformers * n, 3) in angstrom, ``bonds`` (k, 2), ``charge`` ().

        Raises:
            SampleError: It consists of several fragments, or no conformer is found.
        """
        job = self._gfn2.prepare(molecule)
        further = [conformer_seed("simulate", molecule.key14, i) for i in range(1, self.conformers)]
        if further:
            full = with_hydrogens(parse(molecule.smiles, molecule.key14))
            more = conformers(full, further, molecule.key14, relax="mmff_or_uff", attempts=0)
            job["pos"] = np.concatenate([job["pos"], *more])
        return job

    def compute(self, job: Arrays) -> dict[str, NDArray[Any]]:
        """Relax the conformers and compute their spectra, averaged by Boltzmann's weights.

        Raises:
            SampleError: It cannot be simulated.
            ImportError: Auto3D or tblite is not installed, or holds other parameters.
        """
        (found,) = self.compute_batch([job])
        if isinstance(found, SampleError):
            raise found
        return found

    def compute_batch(self, jobs: Sequence[Arrays]) -> list[dict[str, NDArray[Any]] | SampleError]:
        """Do `compute` for many, to within rounding; a failure takes its place."""
        with one_thread():
            own = [i for i, job in enumerate(jobs) if set(np.asarray(job["z"]).tolist()) <= ELEMENTS]
            found: dict[int, Spectrum | Failed] = {}
            if own:
                found = dict(zip(own, self._averages([jobs[i] for i in own]), strict=True))
            for i in set(range(len(jobs))) - found.keys():
                found[i] = _by_gfn2(jobs[i])
        own_name = "aimnet2" if self.members == weights.MEMBERS else "aimnet2 (one member)"
        return [_entry(found[i], own_name) for i in range(len(jobs))]

    def measurements(self, result: Arrays) -> dict[str, Measurement]:
        """Return the sticks of both spectra; their column `source` names what computed them."""
        made = self._gfn2.measurements(result)
        source = str(result["simulator"])
        return {
            name: Measurement(arrays=one.arrays, columns={**one.columns, "source": source})
            for name, one in made.items()
        }

    def prepared_by(self) -> str:
        """Describe how conformers are made."""
        one = self._gfn2.prepared_by()
        if self.conformers == 1:
            return one
        return one.replace("one conformer", f"{self.conformers} conformers")

    def computed_by(self) -> str:
        """Describe what is computed, by which parameters and programs.

        Raises:
            ImportError: Auto3D or tblite is not installed, or holds other parameters.
        """
        weights.verify(weights.find())
        fields = gfn2.description().partition(" (")[0]
        count = "the mean of four members" if self.members == weights.MEMBERS else "the first member"
        average = (
            ""
            if self.conformers == 1
            else f"conformers weighted by their energies at {TEMPERATURE:g} K, those that became alike counted once; "
        )
        return (
            f"AIMNet2 wB97M-D3, {count} (parameters {weights.SHA256[:12]} of Auto3D 2.3.1, torch {version('torch')}); "
            f"relaxed to {surface.CONVERGED:g} Hartree/Bohr; harmonic, unscaled; IR from the charges' dipole moment; "
            f"Raman activities by gradients of {fields} in fields of {gfn2.FIELD} a.u. on the same modes; {average}"
            f"average atomic masses; pushed off saddle points (a mode below {spectra.SADDLE:g} cm^-1) and left out "
            f"where one below {spectra.LOWEST:g} cm^-1 remained or bonds changed; elements other than H B C N O F Si P "
            "S Cl As Se Br I: all by gfn2, as `simulator` says"
        )

    def _averages(self, jobs: Sequence[Arrays]) -> list[Spectrum | Failed]:
        """Compute all conformers of all molecules together, and average those of each."""
        places = [np.asarray(job["pos"]).reshape(-1, len(job["z"]), 3) for job in jobs]
        each = [{**job, "pos": one} for job, several in zip(jobs, places, strict=True) for one in several]
        network = _network(self.members, self.device)
        found = iter(spectra.compute(network, each))
        return [averaged([next(found) for _ in several]) for several in places]


def averaged(conformers: Sequence[Spectrum | Failed]) -> Spectrum | Failed:
    """Return the lines of all conformers that were computed, their intensities weighted by Boltzmann's factors.

    Conformers that relaxed to the same shape count once. The geometry is that of the lowest.
    """
    good = [one for one in conformers if not isinstance(one, Failed)]
    if not good:
        return conformers[0]
    distinct: list[Spectrum] = []
    for one in sorted(good, key=lambda one: float(one["energy"])):
        if not any(_alike(one, other) for other in distinct):
            distinct.append(one)
    energy = np.array([float(one["energy"]) for one in distinct])
    share = np.exp(-(energy - energy[0]) / (_BOLTZMANN * TEMPERATURE))
    kept = share > NEGLIGIBLE * share.sum()
    share = share[kept] / share[kept].sum()
    chosen = [one for one, keep in zip(distinct, kept, strict=True) if keep]
    freq = np.concatenate([one["freq"] for one in chosen])
    order = np.argsort(freq, kind="stable")
    out = {"z": chosen[0]["z"], "pos": chosen[0]["pos"], "freq": freq[order]}
    for name in ("ir", "raman"):
        values = np.concatenate([part * one[name] for part, one in zip(share, chosen, strict=True)])
        out[name] = values[order].astype(np.float32)
    out["kind"] = np.concatenate([one["kind"] for one in chosen])[order]
    return {**out, "constants": chosen[0]["constants"], "energy": chosen[0]["energy"]}


def _alike(one: Spectrum, other: Spectrum) -> bool:
    if abs(float(one["energy"] - other["energy"])) > _SAME_ENERGY:
        return False
    first, second = one["constants"], other["constants"]
    return bool((np.abs(first - second) <= _SAME_SHAPE * np.maximum(first, second)).all())


def _entry(found: Spectrum | Failed, own_name: str) -> dict[str, NDArray[Any]] | SampleError:
    if isinstance(found, Failed):
        return SampleError("aimnet2", str(found))
    return {name: values for name, values in found.items() if name != "energy"} | {
        "simulator": np.array("gfn2" if "energy" not in found else own_name)
    }


def _by_gfn2(job: Arrays) -> Spectrum | Failed:
    """Compute the first conformer by GFN2-xTB, for an element that AIMNet2 lacks."""
    try:
        return gfn2.compute({**job, "pos": np.asarray(job["pos"])[: len(job["z"])]})
    except Failed as failure:
        return failure


@cache
def _network(members: int, device: str) -> Network:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Network(weights.read(weights.find(), members), torch.float32, torch.device(device))
