"""Contrast with targets softened by the similarity of fingerprints: configuration and record.

Letters in the equation: a_i and b_i are the unit embeddings of entry i in two modalities A and B, tau is the pair's
temperature. Every sum over j runs over the entries that have both modalities and belong to another molecule than entry
i, and over j = i.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

from pydantic import Field, field_validator

from molchord.api import Config, LossRecord
from molchord_losses.pairs import in_graph_order
from molchord_losses.settings import Learnable, Pairs, Positive, Temperature

__all__ = ["TANIMOTO_INFONCE", "TanimotoInfonceConfig"]


class TanimotoInfonceConfig(Config):
    r"""Contrast of pairs of modalities in which molecules of like structure repel each other less.

    In words: of all molecules of the batch, each measurement must give its own molecule the largest share, and others
    a share that grows with the Tanimoto similarity S_ij of their fingerprints to its own. The default form, with l
    averaged over both directions and L over all pairs, is a cross-entropy with soft targets::

        t_ij = exp(S_ij / tau_S) / sum_k exp(S_ik / tau_S)
        l(Q, R) = -1/n sum_i sum_j t_ij log( exp(q_i . r_j / tau) / sum_k exp(q_i . r_k / tau) )

    ``form: printed`` is equation 3 of the paper of molvis ("Molecular Vision", PNNL 2024)::

        L(Q, R, S) = sum_i -log( exp(q_i . r_i) / sum_j exp(|q_i . r_j - S_ij|) )

    with S_ii = 1 and without the entries j != i whose S_ij is 1. Two things are ours: the sum over i is divided by the
    number of entries, and both directions L(Q, R, S) and L(R, Q, S) are averaged, so that no order of the modalities
    matters.

    What differs. (1) The printed numerator is not a term of its denominator, which has exp(|q_i . r_i - 1|) instead,
    exp(0) at a perfect match: the ratio is not a probability (it reaches e / n where all targets are met, more than one
    for n = 2); the default is a cross-entropy, never below the entropy of its targets.
    (2) Printed, a negative's distance to its target counts in an exponent between 0 and 2, without temperature: all
    negatives weigh almost equally, however wrong they are; the default has temperatures tau and tau_S. (3) Printed, the
    gradient jumps where a cosine meets its target; the default is smooth. (4) Printed, an entry with the fingerprint
    of entry i is left out; by default it shares the target equally.

    Requirements:
        A SMILES for every molecule; its fingerprint is computed once. At least two molecules per batch in a pair.
    Inputs:
        Unit embeddings, and the feature ``fingerprint``, 2048 bits packed into 256 bytes. Entries that lack a modality
        of a pair do not take part in it.
    Recommendations:
        The default form. `target_temperature` 0.1 leaves a molecule of similarity 0.6 one fiftieth of the own
        molecule's target; 0.02 comes close to `AllPairsConfig`. ``fingerprint: rdkit`` is molvis's.
    Relations:
        `AllPairsConfig` is the limit of a vanishing `target_temperature`, but for equal fingerprints.

    Example:
        >>> import torch
        >>> from molchord.api import LossBatch
        >>> names, rows = ("structure", "ir"), torch.eye(3)
        >>> batch = LossBatch(
        ...     embeddings=dict.fromkeys(names, rows),
        ...     raw=dict.fromkeys(names, rows),
        ...     present=dict.fromkeys(names, torch.ones(3, dtype=torch.bool)),
        ...     molecule=torch.arange(3),
        ...     features={"fingerprint": torch.eye(3, 256, dtype=torch.uint8)},
        ... )
        >>> loss = TANIMOTO_INFONCE.build(TanimotoInfonceConfig(form="printed"), names, "structure")
        >>> round(float(loss(batch).total), 4)  # all targets met: log(3) - 1
        0.0986
    """

    pairs: Pairs = Field(default=(), description="Pairs of modalities; none: every two.")
    form: Literal["soft_targets", "printed"] = Field(
        default="soft_targets", description="The corrected form, or molvis's."
    )
    temperature: Temperature | None = Field(
        default=None,
        validate_default=True,
        description="One number, or learnable for each pair (default); `printed` has none.",
    )
    target_temperature: Positive | None = Field(
        default=None,
        validate_default=True,
        description="How fast a target falls with 1 - Tanimoto similarity, 0.1 by default; `printed` has none.",
    )
    fingerprint: Literal["morgan", "rdkit"] = Field(
        default="morgan", description="`morgan`: radius 2; `rdkit`: paths of 1 to 7 bonds, 2 bits each; 2048 bits both."
    )

    @field_validator("temperature", "target_temperature")
    @classmethod
    def _fits_form(cls, value: Learnable | float | None, info: Any) -> Learnable | float | None:
        # `info` is a ValidationInfo, a protocol that no run-time type check can test.
        form = info.data.get("form")
        if form == "printed" and value is not None:
            raise ValueError(f"form 'printed' has no `{info.field_name}`, got {value!r}; leave it out")
        if form == "printed" or value is not None:
            return value
        return Learnable() if info.field_name == "temperature" else 0.1


def build(config: TanimotoInfonceConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    """Return the loss; torch is imported here, not before.

    Raises:
        ValueError: A pair does not name a modality of the graph.
    """
    from molchord_losses.tanimoto_infonce_loss import PrintedInfoNce, SoftInfoNce

    pairs = in_graph_order(config.pairs or tuple(combinations(modalities, 2)), modalities)
    if config.temperature is None or config.target_temperature is None:
        return PrintedInfoNce(pairs, config.fingerprint)
    return SoftInfoNce(dict.fromkeys(pairs, config.temperature), config.target_temperature, config.fingerprint)


TANIMOTO_INFONCE = LossRecord(
    name="tanimoto_infonce",
    summary="contrast with targets softened by the Tanimoto similarity of fingerprints",
    api=1,
    config=TanimotoInfonceConfig,
    build=build,
)
