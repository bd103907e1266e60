"""For every check of the kit a plugin that is wrong in one way only: this check finds it, and its neighbours do not.

A good toy of each plugin type passes every check; each mutant is that toy with one mistake. A check without a mutant, or
a plugin type without a toy, fails here.
"""

import dataclasses
import itertools
import sys

import numpy as np
import pytest
import torch
from tests.conformance.toy_simulator import TOY as TOY_SIMULATOR
from tests.conformance.toy_simulator import Toy as Simulator
from torch import nn

from molchord.api import (
    Array,
    CleaningStep,
    Config,
    EncoderRecord,
    IndexRecord,
    LoggerRecord,
    LossRecord,
    Measurement,
    ModalityRecord,
    PropertyRecord,
    Proposals,
    QualityWarning,
    Real,
    RerankerRecord,
    SampleError,
    SpectrumSample,
    SpectrumSpec,
    StatedMass,
    Stores,
    Trace,
    Window,
    collate_spectra,
)
from molchord.host import PLUGIN_TYPES, installed
from molchord.testing import check_record, checks
from molchord.testing.records import CHECKS

COMMON = {check.__name__ for check in CHECKS}

MUTANTS = {}
"""By plugin type and check: the wrong record, and the checks that cannot but find it too."""


def mutant(type, check, also=(), **fields):
    """Register a class as what `build` of a mutant returns, or, called with fields, a changed record."""
    if fields:
        MUTANTS[type, check] = (dataclasses.replace(TOYS[type], **fields), {check, *also})
        return None

    def register(wrong):
        return mutant(type, check, also, build=lambda *given: wrong(*given)) or wrong

    return register


# --- toys ------------------------------------------------------------------------------------------------------------

POINTS = 6
SPEC = SpectrumSpec(unit="cm^-1", points=POINTS, start=1.0, stop=6.0)


class Modality:
    """How often letters stand in a SMILES."""

    def __init__(self, *_):
        pass

    def can_read(self, path):
        return False

    def read(self, path):
        raise SampleError(path.name, "no file is ours")

    def transform(self, measurement, rng):
        height = np.asarray(measurement.arrays["height"], dtype=np.float32)
        seen = np.isfinite(height)
        if not seen.any():
            raise SampleError("?", "it is empty")
        return SpectrumSample(values=self.shaken(np.where(seen, height, 0), rng)[None], observed=seen)

    def shaken(self, height, rng):
        return height if rng is None else height * rng.uniform(0.9, 1.1)

    def collate(self, samples):
        return collate_spectra(samples, SPEC)

    def prepare(self, batch, generator):
        return batch

    def example(self, molecules, seed):
        heights = [[m.smiles.count(c) + 0.1 * seed for c in "CcNOF="] for m in molecules]
        columns = {"origin": "computed", "gain": float("nan")}
        return [Measurement(arrays={"height": np.array(h, dtype=np.float32)}, columns=dict(columns)) for h in heights]

    def similarity(self, query, references):
        return -np.array([np.abs(query.arrays["height"] - r.arrays["height"]).sum() for r in references])

    def inspect(self, measurement):
        return [QualityWarning("it is a toy", 0.5)]

    def peaks(self, measurement):
        return measurement.arrays["height"]

    def windows(self, measurement):
        return [Window(name=f"from {x}", start=x, stop=x + 0.5, unit="cm^-1") for x in range(1, POINTS + 1)]

    def without(self, measurement, windows):
        height = np.array(measurement.arrays["height"])
        for window in windows:
            height[int(window.start) - 1] = np.nan
        return dataclasses.replace(measurement, arrays={"height": height})

    def annotate(self, measurement, windows, molecule):
        return [[molecule.formula] for _ in windows]

    def trace(self, measurement):
        height = measurement.arrays["height"]
        return Trace(position=np.arange(POINTS), height=height / height.max(), axis="place", scale="height")


class Encoder(nn.Module):
    """Sums of what each column says of each peak."""

    def __init__(self, config, spec):
        super().__init__()
        self.width = 8
        self.parts = nn.ModuleDict(
            {
                f"{group}_{name}": nn.Linear(2, 8) if isinstance(column, Real) else nn.Embedding(len(column.values) + 1, 8)
                for group in ("peak", "whole")
                for name, column in self.columns(getattr(spec, group)).items()
            }
        )  # fmt: skip
        self.out = nn.Linear(8, 8)

    def columns(self, declared):
        return declared

    def said(self, group, columns):
        total = 0.0
        for name, values in columns.items():
            if f"{group}_{name}" not in self.parts:
                continue
            part = self.parts[f"{group}_{name}"]
            if isinstance(part, nn.Linear):
                total = total + part(torch.stack([torch.nan_to_num(values) / 100, values.isnan().float()], dim=-1))
            else:
                total = total + part(values)
        return total

    def forward(self, batch):
        peaks = torch.tanh(self.said("peak", batch.peak)) * batch.mask[..., None]
        return self.out(peaks.sum(dim=1) + self.said("whole", batch.whole))


class Loss(nn.Module):
    """The built-in `all_pairs`, which is told of the batch."""

    def __init__(self, config, modalities, candidate):
        super().__init__()
        record = installed().find("loss", "all_pairs").record
        self.inner, self.first = record.build(record.config(), modalities, candidate), modalities[:2]

    def forward(self, batch):
        return self.inner(batch)


class Reranker:
    """Lengths of SMILES, where something is computed for them."""

    def __init__(self, config):
        pass

    def names(self, modalities):
        return ("length",)

    def features(self, query, candidates):
        return np.array([[len(c.molecule.smiles) if c.computed else np.nan] for c in candidates], dtype=np.float64)


class Index:
    """All inner products."""

    def __init__(self, config):
        pass

    def write(self, folder, vectors):
        blocks = list(vectors)
        np.save(folder / "rows.npy", np.concatenate([block.rows for block in blocks]))
        np.save(folder / "vectors.npy", np.concatenate([block.vectors for block in blocks]))

    def open(self, folder):
        self.rows, self.vectors = np.load(folder / "rows.npy"), np.load(folder / "vectors.npy")
        return self

    def propose(self, queries, count, limits):
        keep = np.isin(self.rows, self.rows if limits.rows is None else limits.rows)
        products = queries @ self.vectors[keep].T
        order = np.argsort(-products, axis=1)[:, :count]
        last = np.take_along_axis(products, order[:, -1:], axis=1)[:, 0]
        bound = np.where(keep.sum() > count, last.astype(np.float64) + 1e-5, -np.inf)
        return Proposals(rows=self.rows[keep][order], bound=bound)


class Logger:
    """A line an epoch."""

    def __init__(self, config):
        pass

    def open(self, training):
        self.run, self.file = training.run, training.folder / "figures.txt"

    def log(self, epoch, figures):
        self.file.write_text(f"{epoch} {figures['loss']}\n")

    def close(self, finished):
        pass


class Property:
    """Which letters a SMILES has."""

    names = ("O", "N")

    def __init__(self, config):
        pass

    def of(self, molecule):
        return [float(letter in molecule.smiles) for letter in self.names]


COMMONS = {"name": "toy", "summary": "a toy", "api": 1, "config": Config}
TOYS = {
    "modality": ModalityRecord(
        **COMMONS,
        kinds=("spectrum1d",),
        stores=Stores(arrays={"height": Array(unit="1", shape=(POINTS,))}, columns={"gain": Real(unit="1")}),
        spec=lambda config, kind: SPEC,
        build=Modality,
    ),
    "encoder": EncoderRecord(**COMMONS, accepts=("peaks",), build=Encoder),
    "loss": LossRecord(**COMMONS, build=Loss),
    "reranker": RerankerRecord(**COMMONS, build=Reranker, computed=True),
    "simulator": TOY_SIMULATOR,
    "index": IndexRecord(**COMMONS, build=Index),
    "logger": LoggerRecord(**COMMONS, build=Logger),
    "property": PropertyRecord(**COMMONS, build=Property),
}

# --- every record ----------------------------------------------------------------------------------------------------


class Open(Config, frozen=True, extra="ignore"):
    """Takes any key."""


class Lossy(Config):
    """What is written is not what was there."""

    number: float = float("nan")


for wrong_config in (Open, Lossy):
    wrong_config.__module__ = "molchord.api"


class Heavy(Config):
    """Stands in a package that is heavy by itself."""


Heavy.__module__ = "numpy"

mutant("loss", "name_is_valid", name="Toy")
mutant("loss", "summary_is_one_line", summary="a\ntoy")
mutant("loss", "api_is_current", api=2)
mutant("loss", "import_is_light", config=Heavy)
mutant("loss", "config_is_strict", config=Open)
mutant("loss", "config_round_trips", config=Lossy)

# --- modalities ------------------------------------------------------------------------------------------------------


@mutant("modality", "example_is_deterministic")
class CountsItsExamples(Modality):
    counted = itertools.count()

    def example(self, molecules, seed):
        more = 0.5 * next(self.counted)
        made = super().example(molecules, seed)
        return [dataclasses.replace(m, arrays={"height": m.arrays["height"] + more}) for m in made]


mutant("modality", "measurements_fit_declaration", mass_needs="adduct")


class Coarse(Modality):
    def example(self, molecules, seed):
        made = super().example(molecules, seed)
        return [dataclasses.replace(m, arrays={"height": m.arrays["height"] + np.float32(0.123)}) for m in made]


mutant(
    "modality",
    "survives_the_data_set",
    build=Coarse,
    stores=Stores(
        arrays={"height": Array(unit="1", shape=(POINTS,), dtype="float16")}, columns={"gain": Real(unit="1")}
    ),
)


# what no generator decides differs between any two samples, so also after a round trip and in a worker
@mutant("modality", "transform_is_deterministic_without_rng", also=["survives_the_data_set", "pickles_for_workers"])
class ShakesAnyway(Modality):
    def shaken(self, height, rng):
        return height + 1e-6 * np.random.default_rng().random(POINTS) if rng is None else height


@mutant("modality", "randomness_comes_from_the_generators")
class HasARandomnessOfItsOwn(Modality):
    def shaken(self, height, rng):
        return height if rng is None else height + np.random.default_rng().random(POINTS)


mutant("modality", "batch_matches_spec", spec=lambda config, kind: dataclasses.replace(SPEC, channels=2))
mutant("modality", "axis_is_monotonic", spec=lambda config, kind: dataclasses.replace(SPEC, stop=SPEC.start))


@mutant("modality", "collate_keeps_order")
class TurnsSamplesAround(Modality):
    def collate(self, samples):
        return super().collate(samples[::-1])


@mutant("modality", "collate_takes_none_and_one")
class NeedsASample(Modality):
    def collate(self, samples):
        return super().collate([samples[0], *samples[1:]])


# what was not measured is nothing to see for it, too
@mutant("modality", "bad_sample_raises", also=["parts_left_out_are_not_measured"])
class TakesNothingForZero(Modality):
    def transform(self, measurement, rng):
        filled = {"height": np.nan_to_num(measurement.arrays["height"])}
        return super().transform(dataclasses.replace(measurement, arrays=filled), rng)


@mutant("modality", "pickles_for_workers")
class HoldsAFunction(Modality):
    def __init__(self, *_):
        self.function = lambda: None


@mutant("modality", "reading_survives_damage")
class ReadsAnything(Modality):
    def can_read(self, path):
        return path.read_text(encoding="utf-8").startswith("height")


mutant("modality", "derives_as_declared", derives=True)


@mutant("modality", "similarity_prefers_itself")
class MistakesADistance(Modality):
    def similarity(self, query, references):
        return -super().similarity(query, references)


@mutant("modality", "quality_warnings_and_peaks_fit")
class DoublesTheTrust(Modality):
    def inspect(self, measurement):
        return [QualityWarning("it is a toy", 2.0)]


@mutant("modality", "parts_left_out_are_not_measured")
class PutsNothingThere(Modality):
    def without(self, measurement, windows):
        height = np.nan_to_num(super().without(measurement, windows).arrays["height"], nan=-1)
        return dataclasses.replace(measurement, arrays={"height": height})


@mutant("modality", "notes_and_traces_fit")
class NotesTheFirstOnly(Modality):
    def annotate(self, measurement, windows, molecule):
        return super().annotate(measurement, windows[:1], molecule)


@mutant("modality", "stated_mass_is_that_of_the_molecule")
class StatesTheIonForTheMolecule(Modality):
    def stated_mass(self, measurement):
        weight = float(measurement.arrays["height"].sum()) if measurement.arrays else 0.0
        return StatedMass(mz=weight, adduct="[M+H]+", masses={"[M+H]+": weight}, tolerance=0.01) if weight else None


@mutant("modality", "views_are_forms_of_the_sample")
class ShowsNothing(Modality):
    def views(self, sample):
        return []


@mutant("modality", "views_are_forms_of_the_sample")
class SpoilsTheSample(Modality):
    def views(self, sample):
        sample.values[:] *= 0.5
        return [sample]


class Bleach(CleaningStep):
    step: str = "bleach"


@mutant("modality", "clean_up_is_by_named_steps")
class NamesAStepOtherwise(Modality):
    cleaning_steps = {"polish": Bleach}  # noqa: RUF012
    default_cleaning = ()

    def clean(self, measurement, steps):
        return measurement


@mutant("modality", "clean_up_is_by_named_steps")
class TakesAStepThatItDoesNotOffer(Modality):
    cleaning_steps = {}  # noqa: RUF012
    default_cleaning = (Bleach(),)

    def clean(self, measurement, steps):
        return measurement


# --- encoders --------------------------------------------------------------------------------------------------------


@mutant("encoder", "output_has_width")
class SaysMoreInEvaluation(Encoder):
    def forward(self, batch):
        out = super().forward(batch)
        return out if self.training else torch.cat([out, out[:, :1]], dim=1)


@mutant("encoder", "gradient_reaches_every_parameter")
class HasADeadWeight(Encoder):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.unused = nn.Parameter(torch.zeros(1))


@mutant("encoder", "independent_of_neighbours")
class CentresInEvaluation(Encoder):
    def forward(self, batch):
        out = super().forward(batch)
        return out if self.training else out - out.mean(dim=0, keepdim=True) / 2


@mutant("encoder", "zero_and_one_rows_train")
class CutsTheGraph(Encoder):
    def forward(self, batch):
        return super().forward(batch) if len(batch.mask) else torch.zeros(0, self.width)


@mutant("encoder", "seed_fixes_weights")
class DrawsItsOwnWeights(Encoder):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        nn.init.normal_(self.out.bias, generator=torch.Generator().manual_seed(id(self) % 2**31))
        self.register_buffer("made", torch.tensor(float(next(MADE))))


MADE = itertools.count()


@mutant("encoder", "saves_bit_exact")
class KeepsANumberAside(Encoder):
    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.shift = float(torch.randn(()))

    def forward(self, batch):
        return super().forward(batch) + self.shift


@mutant("encoder", "runs_in_bf16")
class CannotMixPrecisions(Encoder):
    def forward(self, batch):
        out = super().forward(batch)
        rows = torch.arange(len(out), device=out.device)
        return torch.zeros(out.shape, device=out.device).index_add(0, rows, out)


@mutant("encoder", "uses_every_column")
class LeavesAColumnOut(Encoder):
    def columns(self, declared):
        return dict([*declared.items()][1:])


@mutant("encoder", "batch_is_left_alone")
class RoundsInPlace(Encoder):
    def forward(self, batch):
        next(values for values in batch.peak.values() if values.is_floating_point()).round_()
        return super().forward(batch)


# --- losses ----------------------------------------------------------------------------------------------------------


def several(batch):
    """Whether there are two molecules to tell apart."""
    return len(batch.molecule.unique()) > 1


@mutant("loss", "total_is_finite_and_differentiable")
class HasADimension(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        return dataclasses.replace(output, total=output.total[None])


@mutant("loss", "aligned_is_lower_than_shuffled")
class HasTheWrongSign(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        return dataclasses.replace(output, total=-output.total)


@mutant("loss", "absent_modality_gets_no_gradient")
class PullsAtAbsentModalities(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        absent = [rows.sum() for name, rows in batch.embeddings.items() if not batch.present[name].any()]
        return dataclasses.replace(output, total=output.total + sum(absent))


@mutant("loss", "empty_pairs_are_zero")
class CostsForNothing(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        return output if several(batch) else dataclasses.replace(output, total=output.total + 1)


@mutant("loss", "partly_missing_is_finite")
class PullsAtAbsentRows(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        partly = {name: there for name, there in batch.present.items() if there.any()}
        pull = sum(batch.embeddings[name][~there].sum() for name, there in partly.items())
        return dataclasses.replace(output, total=output.total + pull)


@mutant("loss", "order_of_modalities_is_irrelevant")
class PrefersTheFirstPair(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        return dataclasses.replace(output, total=output.total + output.per_pair[tuple(self.first)])


@mutant("loss", "same_molecule_is_no_negative")
class KnowsNoMolecules(Loss):
    def forward(self, batch):
        rows = torch.arange(len(batch.molecule))
        return super().forward(dataclasses.replace(batch, molecule=rows) if several(batch) else batch)


@mutant("loss", "shares_add_up")
class SharesTwice(Loss):
    def forward(self, batch):
        output = super().forward(batch)
        return output if batch.rows is None else dataclasses.replace(output, total=2 * output.total)


# --- re-rankers ------------------------------------------------------------------------------------------------------


@mutant("reranker", "features_have_names")
class NamesOneTwice(Reranker):
    def names(self, modalities):
        return ("length", "length")

    def features(self, query, candidates):
        return np.repeat(super().features(query, candidates), 2, axis=1)


@mutant("reranker", "features_are_not_all_missing")
class SaysNothing(Reranker):
    def features(self, query, candidates):
        return np.full((len(candidates), 1), np.nan)


@mutant("reranker", "features_follow_the_candidates")
class NumbersThePlaces(Reranker):
    def features(self, query, candidates):
        return super().features(query, candidates) + np.arange(len(candidates))[:, None]


@mutant("reranker", "features_are_repeatable")
class Drifts(Reranker):
    counted = itertools.count()

    def features(self, query, candidates):
        return super().features(query, candidates) + 1e-9 * next(self.counted)


@mutant("reranker", "nothing_computed_is_no_error")
class SaysZero(Reranker):
    def features(self, query, candidates):
        return np.nan_to_num(super().features(query, candidates))


# --- simulators ------------------------------------------------------------------------------------------------------


class ToySimulator(Simulator):
    def __init__(self, config):
        pass


# what does not fit the declaration fits no file either, which all of these write
@mutant(
    "simulator",
    "arrays_are_as_declared",
    also=["modalities_read_the_results", "program_gives_the_same"],
)
class ForgetsAnArray(ToySimulator):
    def compute(self, job):
        return {"freq": super().compute(job)["freq"]}


# each compares two computations
@mutant("simulator", "simulation_is_deterministic", also=["program_gives_the_same"])
class DrawsItsResult(ToySimulator):
    def compute(self, job):
        result = super().compute(job)
        return {**result, "ir": result["ir"] + np.random.default_rng().random(len(result["ir"]), dtype=np.float32)}


@mutant("simulator", "modalities_read_the_results")
class MeasuresSomethingElse(ToySimulator):
    def measurements(self, result):
        return super().measurements({**result, "ir": result["freq"]})


@mutant("simulator", "failures_say_why")
class SimulatesNothingToo(ToySimulator):
    def prepare(self, molecule):
        return super().prepare(dataclasses.replace(molecule, formula=molecule.formula or "?"))


@mutant("simulator", "goes_to_workers")
class HoldsALambda(ToySimulator):
    def __init__(self, config):
        self.function = lambda: None


@mutant("simulator", "says_how_it_was_made")
class SaysTwoLines(ToySimulator):
    def prepared_by(self):
        return "two\nlines"


@mutant("simulator", "program_gives_the_same")
class HasAnotherProgram(ToySimulator):
    def compute(self, job):
        result = super().compute(job)
        return {**result, "ir": result["ir"] * 2}


class Together(ToySimulator):
    """A simulator that computes many at once."""

    batch = 2

    def compute_batch(self, jobs):
        return [self.compute(job) for job in jobs]


@mutant("simulator", "batch_gives_the_same")
class SortsItsBatch(Together):
    def compute_batch(self, jobs):
        return sorted(super().compute_batch(jobs), key=lambda result: len(result["freq"]))


@mutant("simulator", "batch_gives_the_same")
class PadsItsBatch(Together):
    def compute_batch(self, jobs):
        longest = max((len(job["z"]) for job in jobs), default=0)
        return [{k: np.resize(v, longest) for k, v in self.compute(job).items()} for job in jobs]


@mutant("simulator", "batch_gives_the_same")
class HasAnOutcomeForNothing(Together):
    def compute_batch(self, jobs):
        return super().compute_batch(jobs) or [{}]


@mutant("simulator", "batch_gives_the_same")
class FailsTogether(Together):
    def compute_batch(self, jobs):
        return [SampleError("toy", "too many") for _ in jobs]


# --- indexes ---------------------------------------------------------------------------------------------------------


@mutant("index", "likeliest_are_proposed")
class ProposesTheFarthest(Index):
    def propose(self, queries, count, limits):
        return dataclasses.replace(super().propose(-queries, count, limits), bound=None)


@mutant("index", "limits_are_kept")
class IgnoresLimits(Index):
    def propose(self, queries, count, limits):
        return super().propose(queries, count, dataclasses.replace(limits, rows=None))


@mutant("index", "bound_holds")
class BoundsTooLow(Index):
    def propose(self, queries, count, limits):
        found = super().propose(queries, count, limits)
        return dataclasses.replace(found, bound=found.bound - 0.05)


@mutant("index", "few_candidates_are_no_error")
class NeedsMany(Index):
    def write(self, folder, vectors):
        if len(vectors) < 100:
            raise ValueError("too few to train")
        super().write(folder, vectors)


# --- loggers ---------------------------------------------------------------------------------------------------------


@mutant("logger", "figures_of_every_epoch_are_taken")
class TakesFiniteFigures(Logger):
    def log(self, epoch, figures):
        self.file.write_text(f"{epoch} {sum(map(int, figures.values()))}\n")


@mutant("logger", "it_goes_on_where_it_stopped")
class BeginsOnce(Logger):
    def open(self, training):
        (training.folder / "begun").mkdir()
        super().open(training)


@mutant("logger", "no_epoch_is_no_error")
class ClosesWithTheLast(Logger):
    def log(self, epoch, figures):
        self.last = figures["loss"]

    def close(self, finished):
        super().close(finished)
        assert self.last


@mutant("logger", "it_keeps_to_its_folder")
class WritesBeside(Logger):
    def close(self, finished):
        super().close(finished)
        (self.run / "done.txt").write_text("done")


@mutant("logger", "the_process_is_left_alone")
class TakesTheHook(Logger):
    def open(self, training):
        super().open(training)
        sys.excepthook = print


# --- properties ------------------------------------------------------------------------------------------------------


@mutant("property", "names_are_distinct")
class AsksOneTwice(Property):
    names = ("O", "O")


@mutant("property", "values_fit_names")
class CountsLetters(Property):
    def of(self, molecule):
        return [float(molecule.smiles.count(letter)) for letter in self.names]


@mutant("property", "values_are_repeatable")
class Wavers(Property):
    counted = itertools.count()

    def of(self, molecule):
        return [value if value else 1e-9 * next(self.counted) for value in super().of(molecule)]


@mutant("property", "molecules_are_told_apart")
class SaysYes(Property):
    def of(self, molecule):
        return [1.0, 1.0]


# --- the tests -------------------------------------------------------------------------------------------------------


def checks_of(record):
    """A record's checks by name, each ready to run, as the author of a plugin gets them."""
    return {check.func.__name__: check for (check,) in (given.values for given in checks(record).args[1])}


def test_every_check_has_a_mutant_and_every_plugin_type_a_toy():
    assert TOYS.keys() == PLUGIN_TYPES.keys()
    wanted = {("loss", name) for name in COMMON}
    wanted |= {(type, name) for type, toy in TOYS.items() for name in checks_of(toy).keys() - COMMON}
    assert MUTANTS.keys() == wanted


@pytest.mark.parametrize("type", TOYS)
def test_a_good_toy_passes(type):
    report = check_record(TOYS[type])
    assert report.ok, report


@pytest.mark.parametrize(("type", "check"), MUTANTS, ids=["-".join(key) for key in MUTANTS])
def test_a_mutant_is_found_by_its_check_and_its_neighbours_pass(type, check, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back what a mutant leaves
    record, expected = MUTANTS[type, check]
    # What a type's own checks look at is none of the record's common fields, whose checks take longest.
    found = {}
    for name, run in checks_of(record).items():
        if name not in COMMON or check in COMMON:
            try:
                run()
            except Exception as error:
                found[name] = error
    assert found.keys() == expected, found
