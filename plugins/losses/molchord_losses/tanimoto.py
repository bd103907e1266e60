"""Contrast of pairs of modalities with targets from the Tanimoto similarity of fingerprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from molchord.api import LossBatch, LossOutput, Molecule, SampleError
from molchord_losses import Learnable, TanimotoInfonceConfig
from molchord_losses.clip import in_graph_order
from molchord_losses.entries import Entries, Pair, full_precision, mean_over_pairs
from molchord_losses.temperature import Temperatures

__all__ = ["PrintedInfoNce", "SoftInfoNce", "fingerprint", "tanimoto", "tanimoto_infonce"]

FingerprintName = Literal["morgan", "rdkit"]
BITS = 2048
COLUMNS = 4096
"""Fingerprints unpacked at a time: 32 MiB of float32."""


def tanimoto_infonce(config: TanimotoInfonceConfig, modalities: tuple[str, ...]) -> SoftInfoNce | PrintedInfoNce:
    """Build the loss, over the named pairs or every two modalities.

    Raises:
        ValueError: A pair names no modality of the graph.
    """
    pairs = in_graph_order(config.pairs or tuple(combinations(modalities, 2)), modalities)
    if config.temperature is None or config.target_temperature is None:
        return PrintedInfoNce(pairs, config.fingerprint)
    return SoftInfoNce(dict.fromkeys(pairs, config.temperature), config.target_temperature, config.fingerprint)


@final
class SoftInfoNce(nn.Module):
    """Cross-entropy with targets softened by Tanimoto similarity; `TanimotoInfonceConfig` has the equation.

    Args:
        temperatures: Temperature of each pair, names in graph order.
        target_temperature: tau_S of the equation.
        kind: Fingerprint.
    """

    def __init__(
        self, temperatures: Mapping[Pair, Learnable | float], target_temperature: float, kind: FingerprintName
    ) -> None:
        super().__init__()
        self.pairs = tuple(temperatures)
        self.temperature = Temperatures(temperatures)
        self.target_temperature = target_temperature
        self.kind = kind

    def features(self, molecule: Molecule) -> dict[str, NDArray[np.uint8]]:
        """Return the packed fingerprint of a molecule."""
        return {"fingerprint": fingerprint(molecule, self.kind)}

    def temperatures(self) -> dict[Pair, float]:
        """Return the temperature of each pair."""
        return self.temperature.values()

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings and fingerprints."""
        with full_precision(batch):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        a, b = (batch.embeddings[name] for name in pair)
        packed = batch.features["fingerprint"]
        entries = Entries.of(batch, pair)
        scaled = a * self.temperature.scale(pair, a.dtype)

        def tile(start: int, stop: int) -> Float[Tensor, " t"]:
            apart = entries.told_apart(start, stop)
            similarity = _similarity(packed, start, stop, a.dtype) / self.target_temperature
            target = similarity.masked_fill(~apart, -torch.inf).softmax(dim=1)
            there, back = scaled[start:stop] @ b.T, b[start:stop] @ scaled.T
            values = [
                logits.masked_fill(~apart, -torch.inf).logsumexp(dim=1) - (target * logits).sum(dim=1)
                for logits in (there, back)
            ]
            return (values[0] + values[1]) / 2

        return entries.mean(entries.tiled(tile, entries.owned))


@final
class PrintedInfoNce(nn.Module):
    """Equation 3 of the paper of molvis; `TanimotoInfonceConfig` has it, and what is wrong with it.

    Args:
        pairs: Pairs of modalities, names in graph order.
        kind: Fingerprint.
    """

    def __init__(self, pairs: Sequence[Pair], kind: FingerprintName) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.kind = kind

    def features(self, molecule: Molecule) -> dict[str, NDArray[np.uint8]]:
        """Return the packed fingerprint of a molecule."""
        return {"fingerprint": fingerprint(molecule, self.kind)}

    def forward(self, batch: LossBatch) -> LossOutput:
        """Compute the loss of a batch's unit embeddings and fingerprints."""
        with full_precision(batch):
            return mean_over_pairs(batch, {pair: self._share(batch, pair) for pair in self.pairs})

    def _share(self, batch: LossBatch, pair: Pair) -> Float[Tensor, ""]:
        a, b = (batch.embeddings[name] for name in pair)
        packed = batch.features["fingerprint"]
        entries = Entries.of(batch, pair)

        def tile(start: int, stop: int) -> Float[Tensor, " t"]:
            similarity = _similarity(packed, start, stop, a.dtype)
            itself = torch.arange(start, stop, device=a.device)[:, None] == torch.arange(len(a), device=a.device)
            counted = entries.told_apart(start, stop) & ((similarity != 1) | itself)
            values = [
                (cosines - similarity).abs().masked_fill(~counted, -torch.inf).logsumexp(dim=1)
                for cosines in (a[start:stop] @ b.T, b[start:stop] @ a.T)
            ]
            return (values[0] + values[1]) / 2

        own = (a * b).sum(dim=1)[entries.owned.start : entries.owned.stop]
        return entries.mean(entries.tiled(tile, entries.owned) - own)


def fingerprint(molecule: Molecule, kind: FingerprintName) -> NDArray[np.uint8]:
    """Compute a fingerprint of 2048 bits, packed eight bits a byte.

    Args:
        molecule: Whose SMILES it is computed of.
        kind: ``morgan`` (radius 2; Rogers and Hahn 2010) or ``rdkit`` (paths of 1 to 7 bonds, 2 bits each).

    Shape:
        (256,)

    Raises:
        SampleError: RDKit refuses the SMILES.

    Example:
        >>> ethanol = Molecule(key14="LFQSCWFLJHTTHZ", smiles="CCO", formula="C2H6O", exact_mass=46.0419)
        >>> int(np.unpackbits(fingerprint(ethanol, "morgan")).sum())
        6
    """
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    parsed = Chem.MolFromSmiles(molecule.smiles)
    if parsed is None:
        raise SampleError(molecule.key14, f"RDKit cannot make a molecule of SMILES {molecule.smiles!r}")
    generator: Any
    if kind == "morgan":
        generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)
    else:
        generator = rdFingerprintGenerator.GetRDKitFPGenerator(minPath=1, maxPath=7, fpSize=BITS, numBitsPerFeature=2)
    return np.packbits(generator.GetFingerprintAsNumPy(parsed).astype(np.uint8))


def tanimoto(
    a: UInt8[Tensor, "t w"], b: UInt8[Tensor, "n w"], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "t n"]:
    """Compute the Tanimoto similarity of packed fingerprints; 0 where both have no bit.

    Example:
        >>> tanimoto(torch.tensor([[3]], dtype=torch.uint8), torch.tensor([[1], [3]], dtype=torch.uint8))
        tensor([[0.5000, 1.0000]])
    """
    left = _unpacked(a)
    tiles = []
    for start in range(0, max(1, len(b)), COLUMNS):
        right = _unpacked(b[start : start + COLUMNS])
        # Counts of bits are whole numbers below 2^24, so float32 holds them exactly.
        shared = (left @ right.T).to(dtype)
        either = (left.sum(dim=1)[:, None] + right.sum(dim=1)).to(dtype) - shared
        tiles.append(shared / either.clamp(min=1))
    return torch.cat(tiles, dim=1)


def _similarity(packed: UInt8[Tensor, "n w"], start: int, stop: int, dtype: torch.dtype) -> Float[Tensor, "t n"]:
    """Compute rows `start` to `stop` of the similarity matrix, 1 on the diagonal even for an empty fingerprint."""
    similarity = tanimoto(packed[start:stop], packed, dtype)
    if stop > start:
        similarity.diagonal(offset=start).fill_(1)
    return similarity


def _unpacked(packed: UInt8[Tensor, "n w"]) -> Float[Tensor, "n bits"]:
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & 1).flatten(1).float()
