"""Which measurement would tell the first hits of a search apart: what each would give is drawn, and the search redone.

What a modality's vector looks like, given the molecule, is learned on validation queries as a linear channel with
Gaussian noise, in the directions in which candidates differ most: z = offset + gain g + noise, g the vector of the
candidate. So what a modality sees little of has a small gain or much noise there, and molecules that differ in it stay
together. The noise of two modalities is correlated: a 1H spectrum errs where a 13C spectrum does. So what the spectra
that were made say of a candidate is part of what the next one would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from molchord.checksums import check_header, refuse_damaged, write_sealed_tensors
from molchord.errors import RunError
from molchord.files import one_line

__all__ = ["Channels", "Prospect", "prospects"]

_FILE = "channels.safetensors"

_SCALE = 256.0
"""Covariances are small, and half precision is coarse near zero."""

_DRAWS = 128
"""Measurements drawn of each candidate."""


@final
@dataclass(frozen=True, kw_only=True)
class Channels:
    """How the vectors of modalities follow from the molecule's, in r directions.

    Attributes:
        basis: (d, r) orthonormal directions.
        offset: (r,) mean vector of each modality.
        gain: (r, r) of each: what the molecule's vector adds, as a row: ``g @ gain``.
        noise: (r, r) covariance of what is left, of each two modalities joined by " + ", and of each with itself.
    """

    basis: Float[Tensor, "d r"]
    offset: Mapping[str, Float[Tensor, " r"]]
    gain: Mapping[str, Float[Tensor, "r r"]]
    noise: Mapping[str, Float[Tensor, "r r"]]

    def covariance(self, one: str, other: str) -> Float[Tensor, "r r"]:
        """Return the covariance of the noise of two modalities, rows of the first; zeros where it was not fitted."""
        if f"{other} + {one}" in self.noise:
            return self.noise[f"{other} + {one}"].T
        size = self.basis.shape[1]
        return self.noise.get(f"{one} + {other}", torch.zeros(size, size))

    def write(self, run: Path) -> None:
        """Write them into a run folder, in half precision."""
        tensors = {"basis": self.basis}
        for field in ("offset", "gain", "noise"):
            tensors |= {f"{field}.{name}": value for name, value in getattr(self, field).items()}
        scaled = {key: (_SCALE if key.startswith("noise.") else 1.0) * value for key, value in tensors.items()}
        write_sealed_tensors(run / _FILE, {key: value.half().contiguous() for key, value in scaled.items()}, {})

    @staticmethod
    def read(run: Path) -> Channels | None:
        """Read those of a run folder; None where it has none.

        Raises:
            RunError: The file is damaged.
        """
        path = run / _FILE
        if not path.exists():
            return None
        try:
            check_header(path)
            with safe_open(path, framework="pt") as file:
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            basis = tensors.pop("basis")
        except (OSError, SafetensorError, KeyError) as error:
            raise RunError(f"{str(path)!r} cannot be read ({one_line(error)}); calibrate the run again") from error
        refuse_damaged(path, RunError, "calibrate the run again")
        found: dict[str, dict[str, Tensor]] = {"offset": {}, "gain": {}, "noise": {}}
        for key, value in tensors.items():
            field, _, name = key.partition(".")
            found[field][name] = value / _SCALE if field == "noise" else value
        return Channels(basis=basis, **found)


@final
@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What is to be expected of a measurement that has not been made.

    Attributes:
        modality: Its name.
        right: Expected probability that the first of the candidates is the right one once it is made.
        entropy: Expected entropy of the candidates then, in bits.
        right_now: The same probability without it.
        entropy_now: The same entropy without it.
    """

    modality: str
    right: float
    entropy: float
    right_now: float
    entropy_now: float


def prospects(
    candidates: Float[Tensor, "n d"],
    shares: Sequence[float],
    channels: Channels,
    scales: Mapping[str, float],
    made: Mapping[str, Float[Tensor, " d"]] | None = None,
    *,
    seed: int = 0,
) -> list[Prospect]:
    """Return what each measurement is expected to tell of the candidates that remain, the most telling one first.

    For each candidate in turn, measurements are drawn that its molecule might give; the probabilities of all candidates
    are multiplied by what each draw says, and what is left of their entropy is averaged: the expected information gain
    of Lindley (1956), over candidates that are right as often as they are probable.

    Args:
        candidates: Unit vectors of those that remain.
        shares: Their probabilities; what is left to 1 is that of other molecules, which no measurement makes right.
        channels: Of the run.
        scales: beta / tau of each modality that can be measured; one without a channel is left out.
        made: The query's vectors; None: nothing is known of how its spectra err.
        seed: Of the draws.

    Example:
        >>> channels = Channels(
        ...     basis=torch.eye(2), offset={"ir": torch.zeros(2), "raman": torch.zeros(2)},
        ...     gain={"ir": torch.zeros(2, 2), "raman": torch.eye(2)},
        ...     noise={"ir + ir": torch.eye(2), "raman + raman": 0.01 * torch.eye(2)},
        ... )
        >>> best, worst = prospects(torch.eye(2), [0.5, 0.5], channels, {"ir": 1.0, "raman": 10.0})
        >>> best.modality, round(best.right, 2), round(worst.right_now, 2), worst.entropy_now
        ('raman', 1.0, 0.5, 1.0)
    """
    chances = torch.as_tensor(shares, dtype=torch.float64)
    listed = min(1.0, float(chances.sum()))
    prior = chances / chances.sum()
    within = candidates.float() @ channels.basis
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(_DRAWS, channels.basis.shape[1], generator=generator)
    found = []
    for name in [name for name in scales if name in channels.gain]:
        mean, root = _given(channels, name, within, made or {})
        drawn = mean[:, None] + normal @ root  # (true, draws, r)
        evidence = scales[name] * (drawn @ within.T).double()
        posterior = (prior.clamp_min(1e-12).log() + evidence).softmax(dim=2)
        right = (posterior.argmax(dim=2) == torch.arange(len(prior))[:, None]).double().mean(dim=1)
        found.append(
            Prospect(
                modality=name,
                right=listed * float(prior @ right),
                entropy=float(prior @ _entropy(posterior).mean(dim=1)),
                right_now=listed * float(prior.max()),
                entropy_now=float(_entropy(prior)),
            )
        )
    return sorted(found, key=lambda prospect: prospect.entropy)


def _given(
    channels: Channels, name: str, within: Float[Tensor, "n r"], made: Mapping[str, Float[Tensor, " d"]]
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "r r"]]:
    """Return the mean of a modality for each candidate and a root of its covariance, given the spectra made."""
    mean, spread = channels.offset[name] + within @ channels.gain[name], channels.covariance(name, name)
    known = [other for other in made if other in channels.gain and other != name]
    if known:
        errors = [
            made[other].float().cpu() @ channels.basis - channels.offset[other] - within @ channels.gain[other]
            for other in known
        ]
        joint = torch.cat([torch.cat([channels.covariance(a, b) for b in known], dim=1) for a in known])
        cross = torch.cat([channels.covariance(name, other) for other in known], dim=1)
        pull = torch.linalg.solve(joint + 1e-6 * torch.eye(len(joint)), cross.T)
        mean, spread = mean + torch.cat(errors, dim=1) @ pull, spread - cross @ pull
    values, vectors = torch.linalg.eigh((spread + spread.T) / 2)
    # The symmetric root: like covariances have like roots, so that half precision changes little.
    return mean, (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _entropy(shares: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Return the entropy in bits."""
    return -(shares * shares.clamp_min(1e-300).log()).sum(dim=-1) / math.log(2)
