"""The kit itself: reports, strict expected failures, and wrong plugins beyond those of `test_mutants.py`."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from tests.one_check import failure_of
from torch import nn

from molchord.api import LossOutput, QualityWarning, Reading, SampleError, VectorBatch, VectorSpec
from molchord.host import installed
from molchord.testing import (
    check_file,
    check_loss,
    check_record,
    encoders,
    examples_of,
    explaining,
    indexes,
    loggers,
    losses,
    modalities,
    properties,
    records,
    rerankers,
    simulators,
)
from molchord.testing.samples import equal, same_arrays, same_columns


def record(kind, name):
    return installed().find(kind, name).record


def failures(report):
    return {result.check for result in report.results if result.failure}


def test_report_names_what_failed():
    broken = dataclasses.replace(record("loss", "all_pairs"), summary="", api=99)
    report = check_loss(broken)
    assert not report.ok
    assert failures(report) == {"summary_is_one_line", "api_is_current"}
    assert "summary is empty" in str(report)


def test_expected_failures_are_strict():
    good = record("loss", "all_pairs")
    report = check_record(good, expected_failures={"name_is_valid": "it is not"})
    assert not report.ok
    assert "passed, though expected to fail (it is not)" in str(report)
    broken = dataclasses.replace(good, summary="")
    assert check_record(broken, expected_failures={"summary_is_one_line": "no words"}).ok
    with pytest.raises(ValueError, match="unknown checks"):
        check_record(good, expected_failures={"no_such_check": "?"})


def with_build(kind, name, change):
    """A built-in record whose build is changed by a function of what it built."""
    found = record(kind, name)
    return dataclasses.replace(found, build=lambda *arguments: change(found.build(*arguments)))


class Loss(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


class PushesSameMoleculesApart(Loss):
    def forward(self, batch):
        return self.inner(dataclasses.replace(batch, molecule=torch.arange(len(batch.molecule))))


class PushesSameMoleculesHalfApart(Loss):
    def forward(self, batch):
        told, untold = self.inner(batch), PushesSameMoleculesApart(self.inner)(batch)
        return LossOutput(total=(told.total + untold.total) / 2, per_pair=told.per_pair)


class IgnoresPresence(Loss):
    def forward(self, batch):
        there = {name: torch.ones_like(mask) for name, mask in batch.present.items()}
        return self.inner(dataclasses.replace(batch, present=there))


class Backwards(Loss):
    def forward(self, batch):
        output = self.inner(batch)
        return LossOutput(total=-output.total, per_pair=output.per_pair)


class ForgetsTheRows(Loss):
    def forward(self, batch):
        return self.inner(dataclasses.replace(batch, rows=None))


@pytest.mark.parametrize(
    ("mutant", "caught"),
    [
        (PushesSameMoleculesApart, "same_molecule_is_no_negative"),
        (PushesSameMoleculesHalfApart, "same_molecule_is_no_negative"),
        (IgnoresPresence, "absent_modality_gets_no_gradient"),
        (Backwards, "aligned_is_lower_than_shuffled"),
        (ForgetsTheRows, "shares_add_up"),
    ],
)
def test_wrong_losses_are_caught(mutant, caught):
    assert failure_of(with_build("loss", "all_pairs", mutant), caught)


class Modality:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


class DropsSamples(Modality):
    def collate(self, samples):
        return self.inner.collate(list(samples)[:-1])


class TurnsSamplesAround(Modality):
    def collate(self, samples):
        return self.inner.collate(list(samples)[::-1])


class DrawsGlobally(Modality):
    def prepare(self, batch, generator):
        out = self.inner.prepare(batch, generator)
        return dataclasses.replace(out, values=out.values + torch.rand_like(out.values))


class ReturnsNone(Modality):
    def transform(self, measurement, rng):
        try:
            return self.inner.transform(measurement, rng)
        except ValueError:
            return None
        except Exception:
            return None


@pytest.mark.parametrize(
    ("mutant", "caught"),
    [
        (DropsSamples, "batch_matches_spec"),
        (DrawsGlobally, "transform_is_deterministic_without_rng"),
        (DrawsGlobally, "randomness_comes_from_the_generators"),
        (ReturnsNone, "bad_sample_raises"),
    ],
)
def test_wrong_modalities_are_caught(mutant, caught):
    assert failure_of(with_build("modality", "ir", mutant), caught)


@pytest.mark.parametrize("name", ["structure", "ir", "msms"])
def test_rows_of_every_kind_are_compared(name):
    assert failure_of(with_build("modality", name, TurnsSamplesAround), "collate_keeps_order")


class CentresTheBatch(Modality):
    def prepare(self, batch, generator):
        mean = batch.values.mean(dim=0, keepdim=True)
        return dataclasses.replace(self.inner.prepare(batch, generator), values=batch.values - mean)


def vector(build):
    """A modality of kind `vector` that is what `ir` measures, ten numbers of it."""
    ir = record("modality", "ir")

    class Ten(Modality):
        def collate(self, samples):
            found = self.inner.prepare(self.inner.collate(samples), None)
            return VectorBatch(values=found.values[:, 0, 500:510])

        def prepare(self, batch, generator):
            return batch

    def spec(config, kind):
        return VectorSpec(size=10, unit="1")

    return dataclasses.replace(
        ir, kinds=("vector",), spec=spec, build=lambda config, kind: build(Ten(ir.build(config, "spectrum1d")))
    )


@pytest.mark.parametrize("mutant", [TurnsSamplesAround, CentresTheBatch])
def test_rows_of_vectors_are_compared(mutant):
    assert not failure_of(vector(lambda modality: modality), "collate_keeps_order")
    assert failure_of(vector(mutant), "collate_keeps_order")


@pytest.mark.parametrize("ends", [{"stop": 500.0}, {"stop": float("inf")}, {"start": float("nan")}])
def test_a_grid_that_goes_nowhere_is_caught(ends):
    good = record("modality", "ir")
    wrong = dataclasses.replace(good, spec=lambda *arguments: dataclasses.replace(good.spec(*arguments), **ends))
    assert failure_of(wrong, "axis_is_monotonic")


def test_wrong_doubts_peaks_and_mass_columns_are_caught():
    def change(modality):
        modality.inspect = lambda measurement: [QualityWarning("it is odd", 1.5)]
        return modality

    odd = dataclasses.replace(with_build("modality", "ir", change), mass_needs="adduct")
    assert failure_of(odd, "quality_warnings_and_peaks_fit")
    assert failure_of(odd, "measurements_fit_declaration")

    def odd_curve(modality):
        inspect = modality.inspect
        modality.inspect = lambda measurement: [
            QualityWarning("", doubt.confidence_factor) for doubt in inspect(measurement)
        ]
        return modality

    # The examples are computed, so that they leave no doubt; their curves upside down do.
    assert failure_of(with_build("modality", "ir", odd_curve), "quality_warnings_and_peaks_fit")

    def unsure(modality):
        modality.peaks = lambda measurement: [[1.0]]
        return modality

    assert failure_of(with_build("modality", "ir", unsure), "quality_warnings_and_peaks_fit")


def test_a_missing_number_is_equal_to_a_missing_number_and_to_nothing_else():
    nan = float("nan")
    missing = {"value": np.array([nan, 1.0])}
    assert same_arrays(missing, {"value": np.array([nan, 1.0])})
    assert not same_arrays(missing, {"value": np.array([0.0, 1.0])})
    assert not same_arrays({"value": np.zeros(2)}, {"value": np.zeros(2, np.float32)})
    assert same_arrays({"id": np.array(["a"])}, {"id": np.array(["a"])})
    assert same_columns({"gain": nan, "state": None, "kind": "a"}, {"gain": float("nan"), "state": None, "kind": "a"})
    assert not same_columns({"gain": nan}, {"gain": 0.0})
    assert not same_columns({"gain": 0.0}, {"gain": nan})
    assert not same_columns({"gain": nan}, {})
    assert equal(torch.tensor([nan, 1.0]), torch.tensor([nan, 1.0]))
    assert not equal(torch.tensor([nan, 1.0]), torch.tensor([0.0, 1.0]))
    assert not equal(torch.tensor([torch.inf]), torch.tensor([torch.finfo(torch.float32).max]))


class Reads(Modality):
    """Reads any file as one entry, given by its class."""

    entry = None

    def read(self, path):
        yield from [] if self.entry is None else [self.entry]


def reading(**more):
    [measurement] = examples_of("ir", 1)
    changed = dataclasses.replace(measurement, **more)
    return Reading(measurement=changed, smiles=None, location="a.csv:3")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "finds no measurement in 'a.csv'"),
        (SampleError("a.csv:3", "is cut off"), "cannot use an entry: a.csv:3: is cut off"),
        (reading(arrays={"height": np.ones(3)}), "a.csv:3: height: array `height` is not declared"),
        (reading(columns={"origin": "guessed"}), "a.csv:3: origin: `origin` is 'guessed'"),
        (reading(arrays={"stick_wavenumber": np.ones(1), "stick_intensity": np.ones(1)}), "a.csv:3: ir: no stick"),
    ],
)
def test_a_wrong_reader_is_caught_by_a_file(entry, message):
    wrong = with_build("modality", "ir", lambda built: type("Wrong", (Reads,), {"entry": entry})(built))
    with pytest.raises(AssertionError, match=re.escape(message)):
        check_file(wrong, "a.csv")


def test_a_good_file_gives_its_measurements(tmp_path):
    (tmp_path / "a.csv").write_text("cm-1,absorbance\n" + "\n".join(f"{x},{x % 7}" for x in range(400, 4100, 4)))
    [measurement] = check_file(record("modality", "ir"), tmp_path / "a.csv")
    assert measurement.origin == "measured"


PARTS = [encoders, explaining, indexes, loggers, losses, modalities, properties, records, rerankers, simulators]


@pytest.mark.parametrize("part", PARTS)
def test_every_check_says_why_and_how_to_mend_it(part):
    for check in part.CHECKS:
        why, mend = check.__doc__.split("To mend it: ")
        assert len(why.split()) > 3, check
        assert len(mend.split()) > 2, check
