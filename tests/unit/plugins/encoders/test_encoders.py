"""The built-in encoders but DimeNet++: contract of every one, and each against an independent reference."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from molchord.api import (
    Category,
    GraphSample,
    GraphSpec,
    PeaksSample,
    PeaksSpec,
    Real,
    SpectrumSample,
    SpectrumSpec,
    VectorSample,
    VectorSpec,
    collate_graphs,
    collate_peaks,
    collate_spectra,
    collate_vectors,
)
from molchord_encoders import molchord_encoders
from molchord_encoders.dimenetpp import DimeNetPlusPlusConfig
from molchord_encoders.gine import GineConfig
from molchord_encoders.mlp import MlpConfig
from molchord_encoders.peak_bag import PeakBagConfig
from molchord_encoders.peak_transformer import PeakTransformerConfig
from molchord_encoders.resnet1d import Resnet1dConfig
from molchord_encoders.resnet1d_settings import Flatten, Patches, Stage

RECORDS = {record.name: record for record in molchord_encoders()}
MODE = Category(("positive", "negative"))
WHOLE = {"energy": Real("eV"), "mode": MODE}
GRAPH = GraphSpec(
    atom={"ring": Category(("no", "yes")), "charge": Real("e")},
    bond={"order": Category(("1", "2")), "length": Real("1")},
)
PEAKS = PeaksSpec(
    unit="m/z", peak={"mz": Real("m/z"), "intensity": Real("1"), "type": Category(("b", "y"))}, whole=WHOLE
)
SPECTRUM = SpectrumSpec(unit="cm^-1", points=90, channels=2, whole=WHOLE)
VECTOR = VectorSpec(size=7, unit="1")


# --- samples and cases -----------------------------------------------------------------------------------------------


def graph_sample(rng: np.random.Generator, atoms: int | None = None) -> GraphSample:
    """Make a chain of atoms with random columns."""
    n = int(rng.integers(2, 7)) if atoms is None else atoms
    ends = np.stack([np.arange(n - 1), np.arange(1, n)])
    bonds = np.concatenate([ends, ends[::-1]], axis=1)
    return GraphSample(
        elements=rng.choice([1, 6, 7, 8, 118], n),
        bonds=bonds,
        atom={"ring": rng.integers(0, 3, n), "charge": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n))},
        bond={
            "order": rng.integers(0, 3, bonds.shape[1]),
            "length": np.where(rng.random(bonds.shape[1]) < 0.3, np.nan, rng.random(bonds.shape[1])),
        },
    )


def whole_sample(rng: np.random.Generator) -> dict[str, float | int]:
    return {"energy": math.nan if rng.random() < 0.4 else float(rng.uniform(10, 60)), "mode": int(rng.integers(0, 3))}


def spectrum_sample(rng: np.random.Generator) -> SpectrumSample:
    observed = np.ones(SPECTRUM.points, dtype=bool)
    observed[: rng.integers(0, 40)] = False
    values = rng.random((SPECTRUM.channels, SPECTRUM.points)) * observed
    return SpectrumSample(values=values, observed=observed, whole=whole_sample(rng))


def peaks_sample(rng: np.random.Generator, n: int | None = None) -> PeaksSample:
    n = int(rng.integers(0, 8)) if n is None else n
    peak = {
        "mz": rng.uniform(50, 500, n),
        "intensity": np.where(rng.random(n) < 0.2, np.nan, rng.random(n)),
        "type": rng.integers(0, 3, n),
    }
    return PeaksSample(
        peak={k: v if v.dtype == int else v.astype(np.float32) for k, v in peak.items()}, whole=whole_sample(rng)
    )


def vector_sample(rng: np.random.Generator) -> VectorSample:
    return VectorSample(values=rng.normal(size=VECTOR.size))


@dataclass(frozen=True)
class Case:
    """An encoder with a configuration, on a spec."""

    encoder: str
    options: dict[str, Any]
    spec: Any
    sample: Callable[[np.random.Generator], Any]
    collate: Callable[[Sequence[Any], Any], Any]

    def build(self, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        record = RECORDS[self.encoder]
        return record.build(record.config(width=5, **self.options), self.spec)

    def settle(self) -> Any:
        """Build in evaluation mode, with running statistics of some batches."""
        encoder = self.build()
        with torch.no_grad():
            for seed in range(20):
                encoder(self.batch(self.samples(9, seed=seed + 50)))
        return encoder.eval()

    def samples(self, count: int, seed: int = 0) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [self.sample(rng) for _ in range(count)]

    def batch(self, samples: Sequence[Any]) -> Any:
        return self.collate(samples, self.spec)


STAGES = ({"channels": 6, "kernel": 5, "stride": 2, "blocks": 1}, {"channels": 4, "kernel": 3, "stride": 2})
XCEPTION = {"stem": (4, 6), "entry": (6, 8), "middle": 1, "exit": (8, 10, 12)}
SMALL = {"hidden": 8, "layers": 2, "heads": 2}
CASES = {
    "gine": Case("gine", {"hidden": 8, "layers": 2, "dropout": 0.1}, GRAPH, graph_sample, collate_graphs),
    "gine, no columns": Case(
        "gine",
        {"hidden": 8},
        GraphSpec(),
        lambda rng: replace(graph_sample(rng), atom={}, bond={}),
        collate_graphs,
    ),
    "mlp": Case("mlp", {"hidden": (9, 8), "dropout": 0.1}, SPECTRUM, spectrum_sample, collate_spectra),
    "mlp, mask": Case("mlp", {"hidden": (9,), "mask": True}, SPECTRUM, spectrum_sample, collate_spectra),
    "mlp, no norm": Case(
        "mlp", {"hidden": (9,), "batch_norm": False, "activation": "tanh"}, SPECTRUM, spectrum_sample, collate_spectra
    ),
    "mlp, vector": Case("mlp", {"hidden": (8,), "activation": "gelu"}, VECTOR, vector_sample, collate_vectors),
    "mlp, linear": Case("mlp", {"hidden": ()}, VECTOR, vector_sample, collate_vectors),
    "resnet1d": Case("resnet1d", {"stages": STAGES}, SPECTRUM, spectrum_sample, collate_spectra),
    "resnet1d, patches": Case(
        "resnet1d",
        {"stages": STAGES, "readout": {"use": "patches", "size": 4, **SMALL}},
        SPECTRUM,
        spectrum_sample,
        collate_spectra,
    ),
    "peak_transformer": Case("peak_transformer", {"feedforward": 16, **SMALL}, PEAKS, peaks_sample, collate_peaks),
    "peak_transformer, no whole": Case(
        "peak_transformer",
        {"feedforward": 16, **SMALL},
        replace(PEAKS, whole={}),
        lambda rng: replace(peaks_sample(rng), whole={}),
        collate_peaks,
    ),
    "attentivefp": Case("attentivefp", {"hidden": 24, "dropout": 0.1}, GRAPH, graph_sample, collate_graphs),
    "xception1d": Case("xception1d", XCEPTION, SPECTRUM, spectrum_sample, collate_spectra),
    "vit1d": Case("vit1d", {"patch": 20, "feedforward": 16, **SMALL}, SPECTRUM, spectrum_sample, collate_spectra),
    "clerms": Case("clerms", {"feedforward": 16, "pooled": 12, **SMALL}, PEAKS, peaks_sample, collate_peaks),
    "peak_bag": Case("peak_bag", {"hidden": 8, "rows": 64}, PEAKS, peaks_sample, collate_peaks),
    "peak_bag, no whole": Case(
        "peak_bag",
        {"hidden": 8, "rows": 64, "strongest": 0},
        replace(PEAKS, whole={}),
        lambda rng: replace(peaks_sample(rng, int(rng.integers(1, 8))), whole={}),
        collate_peaks,
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def weigh(output: torch.Tensor) -> torch.Tensor:
    """Reduce to a scalar in which every entry has its own weight."""
    weights = torch.linspace(-1, 1.3, output.numel(), dtype=output.dtype).view_as(output)
    return (output * weights).sum() + (output * output).sum()


# --- contract --------------------------------------------------------------------------------------------------------


@every_case
def test_output_is_one_finite_row_a_molecule_of_the_width(case: Case) -> None:
    encoder = case.build()
    output = encoder(case.batch(case.samples(6)))
    assert encoder.width == 5
    assert output.shape == (6, 5)
    assert output.isfinite().all()


@every_case
def test_gradient_reaches_every_parameter(case: Case) -> None:
    encoder = case.build()
    weigh(encoder(case.batch(case.samples(8)))).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-7, name


@every_case
@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row_train(case: Case, rows: int) -> None:
    encoder = case.build().train()
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    output = encoder(case.batch(case.samples(rows)))
    assert output.shape == (rows, 5)
    weigh(output).backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(g is None or g.isfinite().all() for g in gradients)
    assert any(g is not None for g in gradients)  # the autograd graph is connected
    for name, buffer in encoder.named_buffers():  # no statistics of nothing
        assert torch.equal(buffer, before[name]), name


@every_case
def test_evaluation_does_not_depend_on_batch_neighbours_or_padding(case: Case) -> None:
    encoder = case.settle()
    samples = case.samples(7)
    together = encoder(case.batch(samples))
    alone = torch.cat([encoder(case.batch([sample])) for sample in samples])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-4  # and it is not a constant


@every_case
def test_a_seed_fixes_the_weights(case: Case) -> None:
    first, again, other = case.build(3).state_dict(), case.build(3).state_dict(), case.build(4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_case
def test_weights_carry_over_bit_for_bit(case: Case) -> None:
    encoder, twin = case.build(1).eval(), case.build(2).eval()
    twin.load_state_dict(encoder.state_dict())
    batch = case.batch(case.samples(4))
    assert torch.equal(encoder(batch), twin(batch))


@every_case
def test_bfloat16_autocast_is_near_full_precision(case: Case) -> None:
    encoder = case.build().eval()
    batch = case.batch(case.samples(5))
    full = encoder(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(batch)
        weigh(encoder.train()(batch).float()).backward()
    assert (half.float() - full).norm() < 0.03 * full.norm()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def changed_columns(batch: Any) -> list[tuple[str, Any]]:
    """Return the batch once for each of its columns, in which that column has other values."""
    out = []
    for group in ("atom", "bond", "peak", "whole"):
        if group not in {f.name for f in fields(batch)}:
            continue
        for name, column in getattr(batch, group).items():
            other = (column + 1) % 3 if column.dtype == torch.int64 else column.nan_to_num(0.0) * 1.2 + 0.3
            out.append((f"{group}.{name}", replace(batch, **{group: {**getattr(batch, group), name: other}})))
    return out


@every_case
def test_every_declared_column_matters(case: Case) -> None:
    encoder = case.build().eval()
    batch = case.batch(case.samples(6))
    reference = encoder(batch)
    for name, other in changed_columns(batch):
        assert (encoder(other) - reference).abs().max() > 1e-4, name


# --- records and configurations --------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, molchord_encoders; print([m for m in ('torch', 'numpy', 'rdkit') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_records() -> None:
    graphs, peaks = {"dimenetpp", "gine", "attentivefp"}, {"peak_transformer", "peak_bag", "clerms"}
    assert set(RECORDS) == graphs | {"mlp", "resnet1d", "xception1d", "vit1d"} | peaks
    assert RECORDS["dimenetpp"].needs == ("positions",)
    assert RECORDS["mlp"].accepts == ("spectrum1d", "vector")
    assert all(record.api == 1 and record.summary for record in RECORDS.values())


CONFIGS = [Stage, Flatten, Patches, *(record.config for record in RECORDS.values())]


@pytest.mark.parametrize("config", CONFIGS)
def test_configurations_have_defaults_and_descriptions_and_round_trip(config: type[BaseModel]) -> None:
    assert all(field.description for field in config.model_fields.values())
    made = config()
    assert config.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError, match="widht"):
        config.model_validate({"widht": 3})
    with pytest.raises(ValidationError, match="frozen"):
        made.__setattr__(next(iter(config.model_fields)), 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GineConfig(layers=0), "greater than 0"),
        (lambda: MlpConfig(hidden=(8, 0)), "greater than 0"),
        (lambda: MlpConfig.model_validate({"activation": "swish"}), "'elu', 'gelu', 'relu', 'silu' or 'tanh'"),
        (lambda: MlpConfig(dropout=1.0), "less than 1"),
        (lambda: Stage(kernel=4), "`kernel` 4 must be odd; take 3 or 5"),
        (lambda: Resnet1dConfig(stages=()), "at least 1 item"),
        (lambda: Resnet1dConfig.model_validate({"readout": {"use": "average"}}), "'flatten', 'patches'"),
        (lambda: Resnet1dConfig.model_validate({"readout": {"use": "flatten", "size": 3}}), "size"),
        (lambda: Patches(hidden=10, heads=4), "`hidden` 10 must be a multiple of `heads` 4"),
        (lambda: PeakTransformerConfig(heads=3), "`hidden` 128 must be a multiple of `heads` 3"),
        (lambda: PeakTransformerConfig(wavelengths=(10.0, 1.0)), "shortest wavelength 10.0 must be below"),
        (lambda: DimeNetPlusPlusConfig(cutoff=0.0), "greater than 0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_rule(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    assert message in str(caught.value)


# --- batch normalisation ---------------------------------------------------------------------------------------------


def test_batch_norm_is_torchs_from_two_rows_on() -> None:
    from molchord_encoders.batch_norm import BatchNorm

    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    for shape in [(2, 3), (5, 3), (2, 3, 4)]:
        values = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(ours(values), theirs(values), atol=0, rtol=0)
    assert torch.equal(ours.running_var, theirs.running_var)
    one = torch.rand(1, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours.train()(one), theirs.eval()(one), atol=0, rtol=0)


# --- columns ---------------------------------------------------------------------------------------------------------


def test_numbers_are_embedded_by_the_published_equation() -> None:
    from molchord_encoders.columns import RealEmbedding

    shortest, longest, count = 0.01, 1e4, 16
    embed = RealEmbedding(4, (shortest, longest), count)
    values = np.array([0.0, 0.37, 123.4567, 1000.25])
    wavelengths = shortest * (longest / shortest) ** (np.arange(count) / (count - 1))
    phase = 2 * np.pi * values[:, None] / wavelengths
    features = np.concatenate([np.sin(phase), np.cos(phase), np.zeros((4, 1))], axis=1)
    expected = features @ embed.linear.weight.detach().double().numpy().T + embed.linear.bias.detach().numpy()
    got = embed(torch.from_numpy(values).float()).detach().numpy()
    # single precision rounds a phase of 2 pi 1000 / 0.01 by up to about 0.05
    np.testing.assert_allclose(got[:2], expected[:2], atol=2e-5)
    np.testing.assert_allclose(got, expected, atol=0.03)


def test_a_missing_number_has_one_learned_vector() -> None:
    from molchord_encoders.columns import RealEmbedding

    embed = RealEmbedding(4, (0.1, 10.0), 8)
    missing = embed(torch.tensor([math.nan, math.nan, 0.0]))
    assert torch.equal(missing[0], missing[1])
    assert (missing[0] - missing[2]).abs().max() > 0.01
    missing[:2].sum().backward()
    assert embed.linear.weight.grad is not None
    assert embed.linear.weight.grad[:, -1].abs().min() > 0
    assert embed.linear.weight.grad[:, :-1].abs().max() == 0


def test_the_default_wavelengths_tell_close_masses_and_close_intensities_apart() -> None:
    from molchord_encoders.columns import ColumnEmbedding

    embed = ColumnEmbedding({"mz": Real("m/z"), "intensity": Real("1")}, 32, frequencies=64)
    columns = {"mz": torch.tensor([300.1000, 300.1364, 300.1000]), "intensity": torch.tensor([0.50, 0.50, 0.55])}
    embedded = embed(columns, like=columns["mz"])
    scale = embedded[0].norm(dim=-1)
    assert (embedded[0, 0] - embedded[1, 0]).norm() > 0.2 * scale[0]  # O against CH4
    assert (embedded[0, 1] - embedded[2, 1]).norm() > 0.2 * scale[1]


def test_a_column_may_have_any_name() -> None:
    from molchord_encoders.columns import ColumnEmbedding

    names = ["type", "forward", "a.b", "keys", "1"]
    embed = ColumnEmbedding({name: MODE for name in names}, 4)
    codes = torch.tensor([0, 1, 2])
    assert embed(dict.fromkeys(names, codes), like=codes).shape == (3, 5, 4)


# --- mlp -------------------------------------------------------------------------------------------------------------


def test_mlp_is_the_spectrum_encoder_of_vibraclip() -> None:
    config = MlpConfig(hidden=(1262,), width=497, activation="elu", batch_norm=True)
    encoder = RECORDS["mlp"].build(config, SpectrumSpec(unit="cm^-1", points=1750))
    reference = nn.Sequential(nn.Linear(1750, 1262), nn.BatchNorm1d(1262), nn.ELU(), nn.Linear(1262, 497))
    with torch.no_grad():
        reference[0].weight.copy_(encoder.layers[0].weight)
        reference[3].load_state_dict(encoder.layers[-1].state_dict())
    values = torch.rand(6, 1, 1750)
    batch = collate_spectra([SpectrumSample(values=row.numpy()) for row in values], SpectrumSpec(unit="", points=1750))
    torch.testing.assert_close(encoder(batch), reference(values[:, 0]), atol=1e-5, rtol=1e-5)
    count = sum(p.numel() for p in reference.parameters()) - 1262  # the bias that the normalisation subtracts again
    assert sum(p.numel() for p in encoder.parameters()) == count


@pytest.mark.parametrize("name", ["mlp, mask", "resnet1d", "resnet1d, patches"])
def test_not_observed_is_not_zero(name: str) -> None:
    case = CASES[name]
    encoder = case.settle()
    batch = case.batch(case.samples(3))
    blank = replace(batch, values=torch.zeros_like(batch.values), observed=torch.ones_like(batch.observed))
    assert (encoder(blank) - encoder(replace(blank, observed=~blank.observed))).abs().max() > 0.01


@pytest.mark.parametrize("name", ["mlp", "mlp, mask", "resnet1d", "resnet1d, patches"])
def test_what_lies_outside_the_observed_range_is_ignored(name: str) -> None:
    case = CASES[name]
    encoder = case.build().eval()
    batch = case.batch(case.samples(5))
    assert not batch.observed.all()
    damaged = batch.values.masked_fill(~batch.observed[:, None], math.nan)
    assert torch.equal(encoder(batch), encoder(replace(batch, values=damaged)))


def test_mlp_marks_missing_numbers_of_a_vector() -> None:
    encoder = RECORDS["mlp"].build(MlpConfig(hidden=(8,), width=3, mask=True), VECTOR).eval()
    values = np.ones(VECTOR.size, dtype=np.float32)
    zero, missing = values.copy(), values.copy()
    zero[2], missing[2] = 0.0, math.nan
    output = encoder(collate_vectors([VectorSample(values=v) for v in (zero, missing)], VECTOR))
    assert output.isfinite().all()
    assert (output[0] - output[1]).abs().max() > 1e-3


# --- resnet1d --------------------------------------------------------------------------------------------------------


def test_default_resnet1d_is_the_strided_flattened_tower_with_a_mask_channel() -> None:
    """Two strided convolutions, flattened, one hidden layer, written out in plain torch."""
    spec = SpectrumSpec(unit="cm^-1", points=1750, channels=2)
    encoder = RECORDS["resnet1d"].build(Resnet1dConfig(), spec).eval()
    convolutions = nn.Sequential(
        *(nn.Conv1d(2, 32, 15, 5, 7), nn.BatchNorm1d(32), nn.SiLU()),
        *(nn.Conv1d(32, 32, 7, 2, 3), nn.BatchNorm1d(32), nn.SiLU()),
    )
    dense = nn.Sequential(nn.Linear(32 * 175, 512), nn.BatchNorm1d(512), nn.SiLU(), nn.Linear(512, 256))
    first, second = (stage[0] for stage in encoder.stages)
    layers = encoder.readout.layers
    with torch.no_grad():
        first.weight[:, 2] = 0.0
        for convolution, ours in ((convolutions[0], first.weight[:, :2]), (convolutions[3], second.weight)):
            convolution.weight.copy_(ours)
            convolution.bias.zero_()
        dense[0].weight.copy_(layers[0].weight)
        dense[0].bias.zero_()
        dense[3].load_state_dict(layers[3].state_dict())
    reference = nn.Sequential(convolutions, nn.Flatten(), dense).eval()
    values = torch.rand(3, 2, 1750)
    batch = collate_spectra([SpectrumSample(values=row.numpy()) for row in values], spec)
    torch.testing.assert_close(encoder(batch), reference(values), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("readout", [{"use": "flatten"}, {"use": "patches", "size": 5}])
def test_resnet1d_keeps_absolute_position(readout: dict[str, Any]) -> None:
    spec = SpectrumSpec(unit="cm^-1", points=400)
    encoder = RECORDS["resnet1d"].build(Resnet1dConfig.model_validate({"readout": readout}), spec).eval()
    values = np.zeros((3, 1, 400), dtype=np.float32)
    values[0, 0, 148:152] = values[1, 0, 248:252] = 1.0  # moved by two patches of all strides: an average is the same
    batch = collate_spectra([SpectrumSample(values=v) for v in values], spec)
    here, there, nowhere = encoder(batch)
    assert (here - there).norm() > 0.3 * (here - nowhere).norm()
    features = encoder.stages(torch.cat([batch.values, batch.observed[:, None].float()], dim=1))
    here, there, nowhere = features.mean(dim=2)
    assert (here - there).norm() < 1e-3 * (here - nowhere).norm()  # what averaging would have left of it


@pytest.mark.parametrize("points", [1, 2, 7, 41])
@pytest.mark.parametrize("use", ["flatten", "patches"])
def test_resnet1d_takes_any_number_of_points(points: int, use: str) -> None:
    spec = SpectrumSpec(unit="1", points=points)
    encoder = RECORDS["resnet1d"].build(Resnet1dConfig.model_validate({"readout": {"use": use}}), spec)
    samples = [SpectrumSample(values=np.ones((1, points))) for _ in range(2)]
    assert encoder(collate_spectra(samples, spec)).shape == (2, 256)


# --- gine ------------------------------------------------------------------------------------------------------------


def test_gine_agrees_with_its_equation_atom_by_atom() -> None:
    case = CASES["gine"]
    encoder = case.build().double().eval()
    samples = case.samples(4)
    batch = case.batch(samples)
    rows = []
    for sample in samples:
        one = case.batch([sample])
        x = encoder.element(one.elements) + encoder.atom(one.atom, like=one.elements).sum(dim=-2)
        for step in encoder.rounds:
            bonds = step.any_bond + step.bond(one.bond, like=one.bonds[0]).sum(dim=-2)
            norm, linear = step.state
            y = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
            y = y @ linear.weight.T + linear.bias
            new = []
            for i in range(len(x)):
                messages = (1 + step.conv.eps) * y[i]
                for k, (source, target) in enumerate(one.bonds.T.tolist()):
                    if target == i:
                        messages = messages + (y[source] + bonds[k]).clamp(min=0)
                new.append(x[i] + step.conv.nn(messages))
            x = torch.stack(new)
        x = encoder.norm(x)
        rows.append(encoder.out(torch.cat([x.sum(0) / 18, x.max(0).values])))
    torch.testing.assert_close(encoder(batch), torch.stack(rows), atol=1e-12, rtol=1e-10)


def test_gine_counts() -> None:
    case = CASES["gine, no columns"]
    encoder = case.build().eval()
    bonds = np.array([[0, 1], [1, 0]])
    one = GraphSample(elements=np.array([6, 8]), bonds=bonds)
    two = GraphSample(elements=np.array([6, 8, 6, 8]), bonds=np.concatenate([bonds, bonds + 2], axis=1))
    output = encoder(case.batch([one, two]))
    assert (output[0] - output[1]).norm() > 0.01 * output[0].norm()  # a mean or a maximum alone would give the same


def test_gine_adds_a_linear_map_of_the_counts_of_a_column_of_many_values() -> None:
    """Against numpy, molecule by molecule: codes from 1, 0 is unknown and does not count."""
    many = 300
    spec = GraphSpec(atom={"small": Category(("a", "b")), "piece": Category(tuple(map(str, range(many))))})
    torch.manual_seed(0)
    encoder = RECORDS["gine"].build(GineConfig(hidden=8, width=5), spec).eval()
    rng = np.random.default_rng(3)
    samples = [
        replace(graph_sample(rng, n), atom={"small": rng.integers(0, 3, n), "piece": codes}, bond={})
        for n, codes in ((4, np.array([7, 7, 0, 300])), (2, np.array([1, 2])), (1, np.array([0])))
    ]
    batch = collate_graphs(samples, spec)
    with torch.no_grad():
        found = encoder(batch)
        weight, bias = (p.double().numpy() for p in (encoder.pieces.linear.weight, encoder.pieces.linear.bias))
        encoder.pieces = None
        rounds = encoder(batch).double().numpy()
    for row, sample in enumerate(samples):
        counts = np.log1p(np.bincount(sample.atom["piece"], minlength=many + 1)[1:])
        unit = 10 * counts / max(np.linalg.norm(counts), 1e-12)
        np.testing.assert_allclose(found[row].double(), rounds[row] + weight @ unit + bias, atol=1e-5)
    assert len(encoder.atom.names) == 1  # counted instead of embedded


def test_gine_does_not_depend_on_the_order_of_atoms_and_ignores_positions() -> None:
    spec = replace(GRAPH, positions=True)
    torch.manual_seed(0)
    encoder = RECORDS["gine"].build(GineConfig(hidden=8, width=5), spec).eval()
    rng = np.random.default_rng(0)
    sample = replace(graph_sample(rng, 6), positions=rng.normal(size=(6, 1, 3)))
    order = rng.permutation(6)
    shuffled = replace(
        sample,
        elements=sample.elements[order],
        bonds=np.argsort(order)[sample.bonds],
        atom={name: column[order] for name, column in sample.atom.items()},
        positions=rng.normal(size=(6, 1, 3)),
    )
    output = encoder(collate_graphs([sample, shuffled], spec))
    torch.testing.assert_close(output[0], output[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("atoms", [1, 2])
def test_gine_takes_single_atoms_and_pairs(atoms: int) -> None:
    case = CASES["gine"]
    encoder = case.build()
    sample = graph_sample(np.random.default_rng(1), atoms)
    output = encoder(case.batch([sample, sample]))
    output.sum().backward()
    assert output.isfinite().all()


# --- peak_transformer -------------------------------------------------------------------------------------------------


def test_attention_is_torchs_transformer_layer() -> None:
    from molchord_encoders.attention import SetAttention

    ours = SetAttention(8, layers=1, heads=2, feedforward=16, dropout=0.0)
    theirs = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=True)
    (layer,) = ours.layers
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(layer.query_key_value.weight)
        theirs.self_attn.in_proj_bias.copy_(layer.query_key_value.bias.uniform_(-1, 1))
        theirs.self_attn.out_proj.load_state_dict(layer.attention_out.state_dict())
        theirs.norm2.weight.copy_(layer.feedforward[0].weight)
        theirs.linear1.load_state_dict(layer.feedforward[1].state_dict())
        theirs.linear2.load_state_dict(layer.feedforward[3].state_dict())
    tokens = torch.randn(3, 5, 8)
    mask = torch.tensor([[True] * 5, [True, False] * 2 + [True], [False] * 5])
    states = torch.cat([ours.readout.expand(3, 1, -1), tokens], dim=1)
    expected = ours.norm(theirs(states, src_key_padding_mask=~ours.with_readout(mask)))
    torch.testing.assert_close(ours(tokens, mask), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["peak_transformer", "peak_bag"])
def test_peaks_are_a_set_and_padding_is_nothing(name: str) -> None:
    case = CASES[name]
    encoder = case.build().eval()
    batch = case.batch([peaks_sample(np.random.default_rng(s), 6) for s in range(4)])
    reference = encoder(batch)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = replace(batch, peak={name: column[:, order] for name, column in batch.peak.items()})
    torch.testing.assert_close(encoder(shuffled), reference, atol=1e-5, rtol=1e-5)
    rubbish = {
        name: torch.cat(
            [column, torch.full((4, 3), 2 if column.dtype == torch.int64 else math.nan, dtype=column.dtype)], 1
        )
        for name, column in batch.peak.items()
    }
    padded = replace(batch, peak=rubbish, mask=torch.cat([batch.mask, torch.zeros(4, 3, dtype=torch.bool)], 1))
    torch.testing.assert_close(encoder(padded), reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["peak_transformer", "peak_bag"])
def test_spectra_without_peaks_are_encoded_from_their_columns(name: str) -> None:
    case = CASES[name]
    encoder = case.build().eval()
    samples = [replace(peaks_sample(np.random.default_rng(0), 0), whole={"energy": e, "mode": 1}) for e in (10.0, 40.0)]
    batch = case.batch(samples)
    assert batch.mask.shape == (2, 0)
    output = encoder(batch)
    assert output.isfinite().all()
    assert (output[0] - output[1]).abs().max() > 1e-3


def test_tokens_are_readout_columns_and_peaks() -> None:
    case = CASES["peak_transformer"]
    encoder = case.build().eval()
    batch = case.batch([peaks_sample(np.random.default_rng(0), n) for n in (2, 4)])
    states, mask = encoder.tokens(batch)
    assert states.shape == (2, 1 + 2 + 4, 8)
    assert mask.tolist() == [[True] * 5 + [False] * 2, [True] * 7]
    torch.testing.assert_close(encoder.out(states[:, 0]), encoder(batch))


def test_peaks_of_another_unit_need_no_configuration() -> None:
    spec = PeaksSpec(unit="ppm", peak={"shift": Real("ppm"), "multiplicity": Category(("s", "d", "t", "q"))})
    encoder = RECORDS["peak_transformer"].build(PeakTransformerConfig(width=4), spec).eval()
    samples = [
        PeaksSample(peak={"shift": np.array([shift], dtype=np.float32), "multiplicity": np.array([1])})
        for shift in (128.4, 128.9, 20.0)
    ]
    output = encoder(collate_peaks(samples, spec))
    assert (output[0] - output[1]).norm() > 1e-3
    assert (output[0] - output[2]).norm() > 1e-3


# --- peak_bag ---------------------------------------------------------------------------------------------------------

MS = PeaksSpec(unit="m/z", peak={"mz": Real("m/z"), "intensity": Real("1")})


def bag_rows(mz: Sequence[float], intensity: Sequence[float], **options: Any) -> list[np.ndarray]:
    encoder = RECORDS["peak_bag"].build(PeakBagConfig(rows=2048, step=0.5, **options), MS)
    batch = collate_peaks([PeaksSample(peak={"mz": np.array(mz), "intensity": np.array(intensity)})], MS)
    seen: list[np.ndarray] = []
    for histogram in encoder.histograms:
        histogram.register_forward_pre_hook(lambda _, given: seen.append(given[0][0].numpy()))
    with torch.no_grad():
        encoder(batch)
    return seen


def test_a_bag_holds_the_histograms_of_peaks_and_of_their_differences() -> None:
    peaks, differences = bag_rows([10.0, 14.25, 30.0], [0.5, 1.0, 0.2])
    expected = np.zeros(2048)
    expected[[20, 28, 29, 60]] = 0.5, 0.5, 0.5, 0.2  # 14.25 lies midway between two points of the grid
    np.testing.assert_allclose(peaks, expected / np.linalg.norm(expected), atol=1e-6)
    expected = np.zeros(2048)
    expected[[8, 9, 31, 32, 40]] = 0.25, 0.25, 0.1, 0.1, 0.1  # 4.25, 15.75 and 20 by the products of intensities
    np.testing.assert_allclose(differences, expected / np.linalg.norm(expected), atol=1e-6)


def test_differences_are_of_the_strongest_peaks_alone() -> None:
    _, weak_left_out = bag_rows([10.0, 14.25, 30.0], [0.5, 1.0, 0.2], strongest=2)
    assert np.flatnonzero(weak_left_out).tolist() == [8, 9]
    _, tied = bag_rows([30.0, 20.0, 10.0], [1.0, 1.0, 1.0], strongest=2)
    assert np.flatnonzero(tied).tolist() == [20]  # of equally strong ones the lowest
    assert len(bag_rows([10.0, 20.0], [1.0, 1.0], strongest=0)) == 1


def test_a_bag_sees_peaks_beyond_its_rows_and_no_difference_of_one_peak() -> None:
    peaks, differences = bag_rows([1030.0], [1.0])
    assert np.flatnonzero(peaks).tolist() == [(2060) % 2048]
    assert not differences.any()


@pytest.mark.parametrize("peak", [{"type": Category(("b",))}, {"mz": Real("m/z"), "drift": Real("ms")}])
def test_a_bag_refuses_what_is_neither_position_nor_weight(peak: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs peaks with a position in 'm/z' and weights of unit '1'"):
        RECORDS["peak_bag"].build(PeakBagConfig(), PeaksSpec(unit="m/z", peak=peak))
