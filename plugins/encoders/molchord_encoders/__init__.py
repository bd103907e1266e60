"""Built-in encoders: records and configurations here, networks in the modules beside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from molchord.api import Config, EncoderRecord, GraphSpec, PeaksSpec, SpectrumSpec, VectorSpec, hookimpl

__all__ = [
    "UNIT_WAVELENGTHS",
    "WAVELENGTHS",
    "DimeNetPlusPlusConfig",
    "Flatten",
    "GineConfig",
    "MlpConfig",
    "Patches",
    "PeakBagConfig",
    "PeakTransformerConfig",
    "Resnet1dConfig",
    "Stage",
    "Wavelengths",
    "molchord_encoders",
]

Count = Annotated[int, Field(ge=0)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Activation = Literal["elu", "gelu", "relu", "silu", "tanh"]


def _ascending(wavelengths: tuple[float, float]) -> tuple[float, float]:
    if wavelengths[0] >= wavelengths[1]:
        raise ValueError(f"the shortest wavelength {wavelengths[0]!r} must be below the longest {wavelengths[1]!r}")
    return wavelengths


Wavelengths = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
"""Shortest and longest wavelength of a sinusoidal embedding, in the unit of the embedded number."""


WAVELENGTHS = (1e-2, 1e4)
"""Default band: from an accurate mass (m/z) or chemical shift (ppm) to the whole range of either."""

UNIT_WAVELENGTHS = {"1": (0.05, 10.0), "%": (1.0, 1e3), "eV": (1.0, 1e3)}
"""Default bands of units whose numbers mean less finely; "1" is a number without unit, such as a fraction."""


def _heads_divide(hidden: int, heads: int) -> None:
    if hidden % heads:
        raise ValueError(f"`hidden` {hidden!r} must be a multiple of `heads` {heads!r}")


class GineConfig(Config):
    """Graph isomorphism network with bond features on the 2-D graph; positions are ignored.

    Example:
        >>> GineConfig(layers=3).hidden
        128
    """

    width: PositiveInt = Field(default=256, description="Size of the output, numbers a molecule.")
    hidden: PositiveInt = Field(default=128, description="Size of an atom's state.")
    layers: PositiveInt = Field(default=4, description="Rounds of message passing.")
    dropout: Dropout = Field(default=0.0, description="Dropout on each round's update.")


class MlpConfig(Config):
    """Multilayer perceptron on the flattened channels of a spectrum, or on a vector.

    VibraCLIP's spectrum encoder is ``hidden: [1262], width: 497, activation: elu, batch_norm: true``.

    Example:
        >>> MlpConfig(hidden=(1262,), width=497).activation
        'elu'
    """

    width: PositiveInt = Field(default=256, description="Size of the output, numbers a molecule.")
    hidden: tuple[PositiveInt, ...] = Field(
        default=(1024,), description="Sizes of the hidden layers; none: one linear map."
    )
    activation: Activation = Field(default="elu", description="Nonlinearity of the hidden layers.")
    batch_norm: bool = Field(default=True, description="Batch normalisation in the hidden layers.")
    dropout: Dropout = Field(default=0.0, description="Dropout behind each hidden layer.")
    mask: bool = Field(
        default=False,
        description="Take the mask of observed points as further inputs; for spectra that cover part of the grid.",
    )


class Stage(Config):
    """One strided convolution and the residual blocks behind it.

    Example:
        >>> Stage(channels=64, kernel=7, stride=2, blocks=2).stride
        2
    """

    channels: PositiveInt = Field(default=32, description="Output channels.")
    kernel: PositiveInt = Field(
        default=7, description="Kernel of the strided convolution and of the blocks, odd, in points."
    )
    stride: PositiveInt = Field(default=2, description="Stride of the first convolution.")
    blocks: Count = Field(default=0, description="Residual blocks of two convolutions behind it.")

    @model_validator(mode="after")
    def _odd_kernel(self) -> Stage:
        if self.kernel % 2 == 0:
            raise ValueError(f"`kernel` {self.kernel!r} must be odd; take {self.kernel - 1!r} or {self.kernel + 1!r}")
        return self


class Flatten(Config):
    """Every channel at every position is an input of a linear layer: absolute position is kept as it is."""

    use: Literal["flatten"] = Field(default="flatten", description="Flatten channels and positions.")
    hidden: PositiveInt = Field(default=512, description="Size of the hidden layer.")
    dropout: Dropout = Field(default=0.1, description="Dropout on the flattened features.")


class Patches(Config):
    """Patches of neighbouring positions, with learned positions, that see each other: fewer weights on long grids."""

    use: Literal["patches"] = Field(default="patches", description="Attention over patches with learned positions.")
    size: PositiveInt = Field(default=5, description="Positions a patch.")
    hidden: PositiveInt = Field(default=128, description="Size of a patch's state.")
    layers: PositiveInt = Field(default=2, description="Attention layers.")
    heads: PositiveInt = Field(default=4, description="Attention heads; divides `hidden`.")
    dropout: Dropout = Field(default=0.1, description="Dropout in the attention layers.")

    @model_validator(mode="after")
    def _heads(self) -> Patches:
        _heads_divide(self.hidden, self.heads)
        return self


class Resnet1dConfig(Config):
    """Strided and residual convolutions whose readout keeps absolute position.

    Example:
        >>> Resnet1dConfig(readout=Patches(size=4)).readout.use
        'patches'
    """

    width: PositiveInt = Field(default=256, description="Size of the output, numbers a molecule.")
    stages: tuple[Stage, ...] = Field(
        default=(Stage(channels=32, kernel=15, stride=5), Stage(channels=32, kernel=7, stride=2)),
        description="Convolution stages, first to last.",
        min_length=1,
    )
    readout: Annotated[Flatten | Patches, Field(discriminator="use")] = Field(
        default=Flatten(), description="How the features of all positions become one vector."
    )


class PeakTransformerConfig(Config):
    """Set attention over peaks; the columns of the whole spectrum are further tokens.

    Example:
        >>> PeakTransformerConfig().unit_wavelengths["1"]
        (0.05, 10.0)
    """

    width: PositiveInt = Field(default=256, description="Size of the output, numbers a molecule.")
    hidden: PositiveInt = Field(default=128, description="Size of a token.")
    layers: PositiveInt = Field(default=2, description="Attention layers.")
    heads: PositiveInt = Field(default=4, description="Attention heads; divides `hidden`.")
    feedforward: PositiveInt = Field(default=256, description="Hidden size of the feed-forward part of a layer.")
    dropout: Dropout = Field(default=0.1, description="Dropout in the attention layers.")
    frequencies: Annotated[int, Field(ge=2)] = Field(default=64, description="Wavelengths a number is embedded with.")
    wavelengths: Wavelengths = Field(
        default=WAVELENGTHS, description="Shortest and longest wavelength, in the column's unit, geometrically spaced."
    )
    unit_wavelengths: dict[str, Wavelengths] = Field(
        default=UNIT_WAVELENGTHS,
        description="Wavelengths for columns in these units instead; '1' is a number without unit, such as a fraction.",
    )

    @model_validator(mode="after")
    def _heads(self) -> PeakTransformerConfig:
        _heads_divide(self.hidden, self.heads)
        return self


class PeakBagConfig(Config):
    """Fine histograms of peaks and of the differences between them, through a perceptron; fast, for few molecules.

    Example:
        >>> PeakBagConfig().step
        0.02
    """

    width: PositiveInt = Field(default=256, description="Size of the output, numbers a molecule.")
    hidden: PositiveInt = Field(default=256, description="Size of the hidden layers.")
    layers: Count = Field(default=1, description="Hidden layers behind the one that reads the histograms.")
    dropout: Dropout = Field(default=0.1, description="Dropout behind each hidden layer.")
    step: PositiveFloat = Field(default=0.02, description="Step of the histograms, in the spectrum's unit.")
    rows: Annotated[int, Field(ge=64)] = Field(
        default=8192, description="Numbers that a histogram's grid is wound up on: positions `rows` steps apart share."
    )
    strongest: Count = Field(
        default=20, description="Peaks, the strongest ones, whose differences are counted; 0: no differences."
    )


class DimeNetPlusPlusConfig(Config):
    """Directional message passing on positions, with the parameter names of torch-geometric's class.

    Example:
        >>> DimeNetPlusPlusConfig(cutoff=4.0).out_channels
        256
    """

    hidden_channels: PositiveInt = Field(default=128, description="Size of a directed edge's state.")
    out_channels: PositiveInt = Field(default=256, description="Size of the output, numbers a molecule (the width).")
    num_blocks: PositiveInt = Field(default=4, description="Interaction blocks.")
    int_emb_size: PositiveInt = Field(default=64, description="Size that triplets are worked on in.")
    basis_emb_size: PositiveInt = Field(default=8, description="Size that the bases are projected to.")
    out_emb_channels: PositiveInt = Field(default=256, description="Size of an atom's state in the output blocks.")
    num_spherical: Annotated[int, Field(ge=2)] = Field(
        default=7, description="Spherical harmonics, orders 0 to this less one."
    )
    num_radial: PositiveInt = Field(default=6, description="Radial basis functions.")
    cutoff: PositiveFloat = Field(default=5.0, description="Distance up to which two atoms are neighbours, angstrom.")
    max_num_neighbors: PositiveInt | None = Field(
        default=None,
        description="Neighbours an atom may have, the nearest kept; null: no limit, so that none is cut off.",
    )
    envelope_exponent: PositiveInt = Field(default=5, description="Exponent of the smooth cutoff.")
    num_before_skip: Count = Field(default=1, description="Residual layers before the skip connection.")
    num_after_skip: Count = Field(default=2, description="Residual layers behind the skip connection.")
    num_output_layers: Count = Field(default=3, description="Linear layers of an output block.")
    output_initializer: Literal["glorot_orthogonal", "zeros"] = Field(
        default="glorot_orthogonal",
        description="First weights of the last output layer; 'zeros', torch-geometric's default for a scalar target, "
        "gives every molecule the zero vector at first, which has no direction to compare.",
    )


def _gine(config: GineConfig, spec: GraphSpec) -> Any:
    from molchord_encoders.gine import build

    return build(config, spec)


def _mlp(config: MlpConfig, spec: SpectrumSpec | VectorSpec) -> Any:
    from molchord_encoders.mlp import build

    return build(config, spec)


def _resnet1d(config: Resnet1dConfig, spec: SpectrumSpec) -> Any:
    from molchord_encoders.resnet1d import build

    return build(config, spec)


def _peak_transformer(config: PeakTransformerConfig, spec: PeaksSpec) -> Any:
    from molchord_encoders.peak_transformer import build

    return build(config, spec)


def _peak_bag(config: PeakBagConfig, spec: PeaksSpec) -> Any:
    from molchord_encoders.peak_bag import build

    return build(config, spec)


def _dimenetpp(config: DimeNetPlusPlusConfig, spec: GraphSpec) -> Any:
    from molchord_encoders.dimenetpp import build

    return build(config, spec)


@hookimpl
def molchord_encoders() -> list[EncoderRecord]:
    """Return the built-in encoders."""
    return [
        EncoderRecord(
            name="dimenetpp",
            summary="DimeNet++: directional message passing on positions (distances and angles)",
            api=1,
            accepts=("graph",),
            needs=("positions",),
            config=DimeNetPlusPlusConfig,
            build=_dimenetpp,
        ),
        EncoderRecord(
            name="gine",
            summary="graph isomorphism network with bond features on the 2-D graph; fast",
            api=1,
            accepts=("graph",),
            config=GineConfig,
            build=_gine,
        ),
        EncoderRecord(
            name="mlp",
            summary="multilayer perceptron on a whole spectrum or vector",
            api=1,
            accepts=("spectrum1d", "vector"),
            config=MlpConfig,
            build=_mlp,
        ),
        EncoderRecord(
            name="resnet1d",
            summary="strided and residual convolutions that keep absolute position",
            api=1,
            accepts=("spectrum1d",),
            config=Resnet1dConfig,
            build=_resnet1d,
        ),
        EncoderRecord(
            name="peak_transformer",
            summary="set attention over peaks with sinusoidal embeddings",
            api=1,
            accepts=("peaks",),
            config=PeakTransformerConfig,
            build=_peak_transformer,
        ),
        EncoderRecord(
            name="peak_bag",
            summary="fine histograms of peaks and of their differences; fast, for few molecules",
            api=1,
            accepts=("peaks",),
            config=PeakBagConfig,
            build=_peak_bag,
        ),
    ]
