"""Batches in which molecules meet those that the model takes for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["HardNegatives"]

_PIVOTS = 256  # molecules whose similarities to all others are held at a time


class HardNegatives:
    """Orders the training molecules so that half of every batch is groups of near neighbours.

    Once random molecules are distinguished, a batch of them has nothing left to teach; what a search gets wrong are
    structures that are close together. After Sachidananda et al., Global Selection of Contrastive Batches via
    Optimization on Sample Permutations (ICML 2023), here with greedy groups, and with the candidates' embeddings as
    training saw them last, which cost nothing. The other half stays random, so that what was learned first is kept.

    Args:
        rows: Training molecules.
        width: Size of an embedding.
        group: Molecules per group.
        batch_size: Molecules per batch.
        device: Where the embeddings are kept, in half precision.

    Attributes:
        order: The molecules of this epoch, batch after batch.

    Example:
        >>> hard = HardNegatives(np.arange(8), width=2, group=2, batch_size=4, device=torch.device("cpu"))
        >>> angles = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.1, 1.1, 2.1, 3.1])
        >>> hard.see(torch.arange(8), torch.stack([angles.cos(), angles.sin()], dim=1), torch.ones(8).bool())
        >>> hard.begin(np.random.default_rng(3))
        >>> hard.order.reshape(2, 4)  # each row a batch; its first two are neighbours
        array([[6, 2, 4, 5],
               [7, 1, 3, 0]])
    """

    def __init__(
        self, rows: NDArray[np.int64], *, width: int, group: int, batch_size: int, device: torch.device
    ) -> None:
        self._rows = rows
        self._group = group
        self._batch_size = batch_size
        # zero until seen: as near to one as to another, so that the first groups are random
        self._vectors = torch.zeros(len(rows), width, dtype=torch.float16, device=device)
        self._place = torch.full((int(rows.max()) + 1,), -1, dtype=torch.int64, device=device)
        self._place[torch.from_numpy(rows).to(device)] = torch.arange(len(rows), device=device)
        self.order = rows

    def see(self, molecules: Int64[Tensor, " b"], vectors: Float[Tensor, "b d"], present: Bool[Tensor, " b"]) -> None:
        """Keep the candidate embeddings of a training batch; zero for one not present."""
        kept = torch.where(present[:, None], vectors.detach(), 0.0).to(self._vectors.dtype)
        self._vectors.index_copy_(0, self._place[molecules], kept)

    def begin(self, rng: np.random.Generator) -> None:
        """Choose the order of an epoch: in each batch first groups of neighbours, then molecules at random."""
        size = self._batch_size
        near = size // 2 // self._group * self._group  # whole groups
        places = rng.permutation(len(self._rows))
        grouped, alone = np.split(places, [len(places) * near // size])
        groups = self._groups(grouped)
        grouped = np.concatenate([grouped[:0], *(groups[i] for i in rng.permutation(len(groups)))])
        mixed = []
        for batch in range(-(-len(places) // size)):
            mixed.append(grouped[batch * near : (batch + 1) * near])
            mixed.append(alone[batch * (size - near) : (batch + 1) * (size - near)])
        self.order = self._rows[np.concatenate(mixed)]

    def _groups(self, places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Divide molecules into groups: one that is free after another, each with the nearest that are free."""
        vectors = self._vectors[torch.from_numpy(places).to(self._vectors.device)].float()
        nearest = min(4 * self._group, len(places))  # more than a group, as many are taken already
        free = np.ones(len(places), dtype=bool)
        groups = []
        for start in range(0, len(places), _PIVOTS):
            pivots = start + np.flatnonzero(free[start : start + _PIVOTS])
            similarities = vectors[torch.from_numpy(pivots).to(vectors.device)] @ vectors.T
            for pivot, others in zip(pivots, similarities.topk(nearest).indices.cpu().numpy(), strict=True):
                if free[pivot]:
                    free[pivot] = False
                    members = others[free[others]][: self._group - 1]
                    free[members] = False
                    groups.append(places[[pivot, *members]])
        return groups

    def state(self) -> dict[str, Tensor]:
        """Return what an exact resume needs."""
        return {"vectors": self._vectors, "order": torch.from_numpy(self.order.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up where `state` was taken."""
        self._vectors.copy_(state["vectors"])
        self.order = state["order"].cpu().numpy()
