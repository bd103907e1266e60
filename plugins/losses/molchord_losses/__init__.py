"""Built-in losses: records and configurations here, the mathematics in the modules beside.

Letters in the equations: a_i and b_i are the unit embeddings of entry i in two modalities A and B, tau is the pair's
temperature. Every sum over j runs over the entries that have both modalities and belong to another molecule than entry
i, and over j = i.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from molchord.api import Config, LossRecord, ModalityName, hookimpl

__all__ = [
    "AllPairsConfig",
    "ClipPairsConfig",
    "GraphCenteredConfig",
    "Learnable",
    "TanimotoInfonceConfig",
    "Temperature",
    "molchord_losses",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Learnable(Config):
    """A learned temperature, one for each pair of modalities, kept within bounds.

    What is learned is the logarithm of 1 / temperature, as in CLIP (Radford et al. 2021, section 2.5), whose initial
    value and upper bound of the scale, 100, are the defaults.

    Example:
        >>> Learnable(initial=0.05).lowest
        0.01
    """

    initial: Positive = Field(default=0.07, description="Temperature before training.")
    lowest: Positive = Field(default=0.01, description="Lower bound.")
    highest: Positive = Field(default=1.0, description="Upper bound.")

    @model_validator(mode="after")
    def _ordered(self) -> Learnable:
        if not self.lowest <= self.initial <= self.highest:
            raise ValueError(
                f"`initial` {self.initial!r} must lie between `lowest` {self.lowest!r} and `highest` {self.highest!r}"
            )
        return self


def _spelled_out(value: Any) -> Any:
    if isinstance(value, str) and value != "learnable":
        raise ValueError(f"got {value!r}; allowed: 'learnable', a number, a mapping of `initial`, `lowest`, `highest`")
    return Learnable() if value == "learnable" else value


Temperature: TypeAlias = Annotated[
    Learnable | Positive,
    BeforeValidator(_spelled_out, json_schema_input_type=Learnable | Positive | Literal["learnable"]),
]
"""A number, ``learnable``, or learnable within bounds of one's own: ``{initial: 0.05, lowest: 0.02, highest: 0.5}``."""


def _number_where_published(form: str, temperature: object) -> None:
    if form == "vibraclip" and not isinstance(temperature, float):
        raise ValueError(
            f"form 'vibraclip' needs a number as `temperature`, got {temperature!r}; the published one is 141"
        )


Form = Annotated[
    Literal["infonce", "vibraclip"],
    Field(description="`infonce`: cosines, one right answer a row; `vibraclip`: the loss of VibraCLIP's code."),
]


class GraphCenteredConfig(Config):
    r"""Contrast of every modality with one centre, as in VibraCLIP's graph-centered training.

    In words: of all molecules of the batch, each spectrum must pick its own structure and each structure its own
    spectrum. With the centre G, the other modalities S_1 to S_M and n entries that have both modalities of a pair
    (Rocabert-Oriols et al. 2025, equations 1 to 4; a mean over the entries, as in their code, not the printed sum)::

        l(A, B) = -1/n sum_i log( exp(a_i . b_i / tau) / sum_j exp(a_i . b_j / tau) )
        L(A, B) = (l(A, B) + l(B, A)) / 2
        L = 1/M sum_m L(G, S_m)

    ``form: vibraclip`` is the loss of VibraCLIP's published code instead. With raw (unnormalised) embeddings x^m,
    the fixed temperature T and the set M_i of the loss's modalities that entry i has::

        K_ij = 1/|M_i| sum_{m in M_i} x^m_i . x^m_j                       (0 where entry j lacks m)
        t_ij = exp(T K_ij) / sum_k exp(T K_ik)
        spectrum to centre:  -1/n sum_ij t_ij log( exp(s_i . g_j / T) / sum_k exp(s_i . g_k / T) )
        centre to spectrum:  -1/n sum_ij t_ij log( exp(s_i . g_j / T) / sum_k exp(s_k . g_j / T) )

    The second direction weights its rows with columns of t, which need not add up to one; that is how the code reads.
    The total is the mean of all directions. Gradients flow through the targets.

    Requirements:
        A centre: `centre`, or else the graph's candidate. Two molecules a batch at least that have both modalities.
    Inputs:
        Unit embeddings; ``vibraclip``: raw embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        The default form with its learnable temperature. ``vibraclip`` with ``temperature: 141`` reproduces the
        published recipe; it has no temperature of cosines, so a geometric mean weights all spectra alike.
    Relations:
        `AllPairsConfig` adds the pairs of spectra; `ClipPairsConfig` takes any list of pairs.

    Example:
        >>> import torch
        >>> from molchord.api import LossBatch
        >>> names, rows = ("structure", "ir", "raman"), torch.eye(3)
        >>> batch = LossBatch(
        ...     embeddings=dict.fromkeys(names, rows),
        ...     raw=dict.fromkeys(names, rows),
        ...     present=dict.fromkeys(names, torch.ones(3, dtype=torch.bool)),
        ...     molecule=torch.arange(3),
        ... )
        >>> loss = GRAPH_CENTERED.build(GraphCenteredConfig(temperature=1.0), names, "structure")
        >>> output = loss(batch)
        >>> list(output.per_pair), round(float(output.total), 4)
        ([('structure', 'ir'), ('structure', 'raman')], 0.5514)
    """

    centre: ModalityName | None = Field(
        default=None, description="Modality paired with all others; none: the candidate."
    )
    form: Form = "infonce"
    temperature: Temperature = Field(
        default=Learnable(), description="One number, or learnable for each pair; `vibraclip` was published with 141."
    )

    @model_validator(mode="after")
    def _published(self) -> GraphCenteredConfig:
        _number_where_published(self.form, self.temperature)
        return self


class AllPairsConfig(Config):
    r"""Contrast of every two modalities, as in VibraCLIP's all-pairs training.

    In words: of all molecules of the batch, each measurement must pick the measurements of its own molecule in every
    other modality. With L(A, B) of `GraphCenteredConfig` and P pairs of modalities (Rocabert-Oriols et al. 2025,
    equation 5)::

        L = 1/P sum_{A, B} L(A, B)

    ``form: vibraclip`` is the loss of VibraCLIP's published code: as in `GraphCenteredConfig`, with the candidate as
    the centre. Two modalities A and B of which neither is the candidate, A the one whose name sorts first, count in
    the direction from A to B alone, and their products x^A_i . x^B_j enter the mean K_ij as a further term where entry
    i has both. With a structure, IR and Raman this makes five directions and four terms of K, as published.

    Requirements:
        Two molecules a batch at least that have two modalities in common.
    Inputs:
        Unit embeddings; ``vibraclip``: raw embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        The default where molecules often lack a measurement: every two that a molecule has are used.
    Relations:
        `GraphCenteredConfig` leaves the pairs of spectra out; `TanimotoInfonceConfig` has softer targets.

    Example:
        >>> import torch
        >>> from molchord.api import LossBatch
        >>> names, rows = ("structure", "ir", "raman"), torch.eye(3)
        >>> batch = LossBatch(
        ...     embeddings=dict.fromkeys(names, rows),
        ...     raw=dict.fromkeys(names, rows),
        ...     present=dict.fromkeys(names, torch.ones(3, dtype=torch.bool)),
        ...     molecule=torch.arange(3),
        ... )
        >>> loss = ALL_PAIRS.build(AllPairsConfig(), names, "structure")
        >>> len(loss(batch).per_pair), round(loss.temperatures()["ir", "raman"], 4)
        (3, 0.07)
    """

    form: Form = "infonce"
    temperature: Temperature = Field(
        default=Learnable(), description="One number, or learnable for each pair; `vibraclip` was published with 141."
    )

    @model_validator(mode="after")
    def _published(self) -> AllPairsConfig:
        _number_where_published(self.form, self.temperature)
        return self


def _distinct(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for position, pair in enumerate(pairs):
        if pair[0] == pair[1]:
            raise ValueError(f"pair {list(pair)} names one modality twice; name two")
        if set(pair) in [set(earlier) for earlier in pairs[:position]]:
            raise ValueError(f"pair {list(pair)} is listed twice; leave one out")
    return pairs


Pairs = Annotated[tuple[tuple[ModalityName, ModalityName], ...], AfterValidator(_distinct)]


class ClipPairsConfig(Config):
    r"""Contrast of named pairs of modalities.

    In words: of all molecules of the batch, each measurement must pick that of its own molecule in the other modality
    of the pair. With L(A, B) of `GraphCenteredConfig` (Radford et al. 2021; Rocabert-Oriols et al. 2025, equations 1
    to 3) and P named pairs::

        L = 1/P sum_{(A, B)} L(A, B)

    ``form: vibraclip`` is the loss of VibraCLIP's published code, as `AllPairsConfig` says, over the named pairs and
    the modalities in them.

    Requirements:
        Pairs of two different modalities, or a candidate. Two molecules a batch at least that have both.
    Inputs:
        Unit embeddings; ``vibraclip``: raw embeddings. Entries that lack a modality of a pair do not take part in it.
    Recommendations:
        For a chosen set of pairs, or a temperature of its own for each: ``temperature: [0.05, learnable]``.
    Relations:
        With no pair named it is `GraphCenteredConfig`; with all of them named it is `AllPairsConfig`.

    Example:
        >>> import torch
        >>> from molchord.api import LossBatch
        >>> names, rows = ("structure", "ir", "raman"), torch.eye(3)
        >>> batch = LossBatch(
        ...     embeddings=dict.fromkeys(names, rows),
        ...     raw=dict.fromkeys(names, rows),
        ...     present=dict.fromkeys(names, torch.ones(3, dtype=torch.bool)),
        ...     molecule=torch.arange(3),
        ... )
        >>> config = ClipPairsConfig(pairs=(("ir", "structure"), ("ir", "raman")), temperature=(0.5, Learnable()))
        >>> loss = CLIP_PAIRS.build(config, names, "structure")
        >>> list(loss(batch).per_pair), round(loss.temperatures()["structure", "ir"], 4)
        ([('structure', 'ir'), ('ir', 'raman')], 0.5)
    """

    pairs: Pairs = Field(default=(), description="Pairs of modalities; none: every other modality with the candidate.")
    form: Form = "infonce"
    temperature: Temperature | tuple[Temperature, ...] = Field(
        default=Learnable(),
        description="One number, or learnable for each pair; a list: one for each of `pairs`, in their order.",
    )

    @model_validator(mode="after")
    def _published(self) -> ClipPairsConfig:
        _number_where_published(self.form, self.temperature)
        if isinstance(self.temperature, tuple) and len(self.temperature) != len(self.pairs):
            raise ValueError(
                f"a list of `temperature` needs one for each of `pairs`, got {len(self.temperature)} for "
                f"{len(self.pairs)}; give one for all, or as many"
            )
        return self


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

    What differs. (1) The printed numerator is no term of its denominator, which has exp(|q_i . r_i - 1|) in its place,
    exp(0) at a perfect match: the ratio is no probability (it reaches e / n where all targets are met, more than one
    for n = 2); the default is a cross-entropy, never below the entropy of its targets.
    (2) Printed, a negative's distance to its target counts in an exponent between 0 and 2, without temperature: all
    negatives weigh almost alike, however wrong they are; the default has temperatures tau and tau_S. (3) Printed, the
    gradient jumps where a cosine meets its target; the default is smooth. (4) Printed, an entry with the fingerprint
    of entry i is left out; by default it shares the target equally.

    Requirements:
        A SMILES for every molecule; its fingerprint is computed once. Two molecules a batch at least in a pair.
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


def _clip_pairs(config: ClipPairsConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    from molchord_losses.clip import clip_pairs

    return clip_pairs(config, modalities, candidate)


def _graph_centered(config: GraphCenteredConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    from molchord_losses.clip import graph_centered

    return graph_centered(config, modalities, candidate)


def _all_pairs(config: AllPairsConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    from molchord_losses.clip import all_pairs

    return all_pairs(config, modalities, candidate)


def _tanimoto_infonce(config: TanimotoInfonceConfig, modalities: tuple[str, ...], candidate: str | None) -> Any:
    from molchord_losses.tanimoto import tanimoto_infonce

    return tanimoto_infonce(config, modalities)


CLIP_PAIRS = LossRecord(
    name="clip_pairs",
    summary="contrast of named pairs of modalities",
    api=1,
    config=ClipPairsConfig,
    build=_clip_pairs,
)

GRAPH_CENTERED = LossRecord(
    name="graph_centered",
    summary="contrast of every modality with one centre, by default the candidate",
    api=1,
    config=GraphCenteredConfig,
    build=_graph_centered,
)

ALL_PAIRS = LossRecord(
    name="all_pairs",
    summary="contrast of every two modalities",
    api=1,
    config=AllPairsConfig,
    build=_all_pairs,
)

TANIMOTO_INFONCE = LossRecord(
    name="tanimoto_infonce",
    summary="contrast with targets softened by the Tanimoto similarity of fingerprints",
    api=1,
    config=TanimotoInfonceConfig,
    build=_tanimoto_infonce,
)


@hookimpl
def molchord_losses() -> list[LossRecord]:
    """Return the built-in losses."""
    return [CLIP_PAIRS, GRAPH_CENTERED, ALL_PAIRS, TANIMOTO_INFONCE]
