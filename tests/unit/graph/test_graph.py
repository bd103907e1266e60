"""The model graph: each mutator spoils a good graph in one way, and its docstring is all that is said about it."""

import copy
import dataclasses
from typing import Annotated, Literal

import pytest
from pydantic import Field

from molchord.api import (
    Array,
    Category,
    Config,
    EncoderRecord,
    GraphSpec,
    LossRecord,
    ModalityName,
    ModalityRecord,
    Real,
    Stores,
    VectorSpec,
)
from molchord.errors import GraphError
from molchord.graph.resolve import ModelGraph, Use
from molchord.graph.settings import HeadConfig, OptimizerConfig, TrainConfig
from molchord.graph.strict_yaml import parse_yaml
from molchord.host import Host, Plugin, installed


class Grid(Config):
    start: float = 0.0
    points: Annotated[int, Field(ge=2)] = 10


class NmrConfig(Config):
    grid: Grid = Grid()
    shape: Literal["gauss", "lorentz"] = "gauss"
    sizes: tuple[int, ...] = (1, 2)
    limit: float | None = None


class MolConfig(Config):
    geometry: Literal["auto", "none", "etkdg"] = "auto"


class NetConfig(Config):
    width: Annotated[int, Field(ge=1)] = 8
    rate: float = 0.1
    skip: bool = False


class LossConfig(Config):
    centre: ModalityName | None = None
    pairs: tuple[tuple[ModalityName, ModalityName], ...] = ()
    temperature: float | Literal["learnable"] = 0.1


NMR_STORES = Stores(
    arrays={"shift": Array(unit="ppm", axis="peak")},
    columns={"field": Real("MHz"), "nucleus": Category(("1H", "13C")), "solvent": Category()},
)


def nmr_spec(config, kind):
    if config.grid.points == 13:
        raise ValueError("`grid.points` 13 brings bad luck; take 14")
    if config.grid.points == 17:
        raise KeyError("oops")
    return VectorSpec(size=config.grid.points, unit="ppm")


def mol_adapt(config, needs):
    if config.geometry != "auto":
        return config
    return config.model_copy(update={"geometry": "etkdg" if "positions" in needs else "none"})


def record(cls, name, **fields):
    return cls(**{"name": name, "summary": "toy", "api": 1, "build": lambda *_: None, "config": Config, **fields})


RECORDS = {
    "modality": [
        record(ModalityRecord, "nmr", kinds=("vector", "lab:rare"), stores=NMR_STORES, config=NmrConfig, spec=nmr_spec),
        record(
            ModalityRecord, "mol", kinds=("graph",), stores=Stores(arrays={}), config=MolConfig, derives=True,
            adapt=mol_adapt, spec=lambda config, kind: GraphSpec(positions=config.geometry == "etkdg"),
        ),
        record(
            ModalityRecord, "formula_vector", kinds=("vector",), stores=Stores(arrays={}), derives=True,
            spec=lambda config, kind: VectorSpec(size=3, unit="1"),
        ),
    ],
    "encoder": [
        record(EncoderRecord, "net", accepts=("vector", "lab:rare"), config=NetConfig),
        record(EncoderRecord, "gnn", accepts=("graph",), config=NetConfig),
        record(EncoderRecord, "deep", accepts=("graph",), needs=("positions",)),
    ],
    "loss": [record(LossRecord, "pairs", config=LossConfig)],
}  # fmt: skip
HOST = Host(plugins=tuple(Plugin(t, r, "lab", "1.5") for t, records in RECORDS.items() for r in records))

GOOD = {
    "schema": 1,
    "embedding_dim": 16,
    "scalar_features": ["exact_mass"],
    "modalities": {
        "mol": {"use": "mol", "encoder": {"use": "gnn"}},
        "h_nmr": {
            "use": "nmr",
            "grid": {"points": 5},
            "encoder": {"use": "net", "width": 4},
            "data": "nmr",
            "where": {"nucleus": "1H", "field": [400, 500.0]},
            "scalar_features": [],
            "head": {"layers": 1},
        },
        "c_nmr": {"use": "lab:nmr", "encoder": {"use": "lab:net", "kind": "lab:rare"}, "where": {"nucleus": ["13C"]}},
    },
    "loss": {"use": "pairs", "centre": "mol"},
    "train": {
        "optimizer": {"lr": {"default": 1e-3, "modalities.mol.encoder": 1e-4}},
        "trainable": {"modalities.c_nmr.head.projection": False},
        "init": {"modalities.mol": "runs/a#modalities.structure"},
        "sampling": {"h_nmr": {"origin": {"measured": 3}, "solvent": {"water": 0.5}}},
    },
}


def complaints(data, host=HOST, **options):
    with pytest.raises(GraphError) as caught:
        ModelGraph.from_dict(data, host, **options)
    assert str(caught.value) == "\n".join(caught.value.complaints)
    return list(caught.value.complaints)


def test_a_good_graph_is_resolved():
    graph = ModelGraph.from_dict(GOOD, HOST)
    assert (graph.embedding_dim, graph.seed, graph.scalar_features, graph.candidate) == (16, 0, ("exact_mass",), "mol")
    assert list(graph.modalities) == ["mol", "h_nmr", "c_nmr"]
    proton, carbon, mol = (graph.modalities[name] for name in ("h_nmr", "c_nmr", "mol"))
    assert (proton.use, proton.kind, proton.data, proton.scalar_features) == ("lab:nmr", "vector", "nmr", ())
    assert proton.spec == VectorSpec(size=5, unit="ppm")
    assert proton.where == {"nucleus": "1H", "field": (400, 500.0)}
    assert proton.head == HeadConfig(layers=1)
    assert proton.config == NmrConfig(grid=Grid(points=5))
    assert proton.record is RECORDS["modality"][0]
    assert (proton.encoder.use, proton.encoder.config, proton.encoder.record.name) == (
        "lab:net",
        NetConfig(width=4),
        "net",
    )
    assert (carbon.kind, carbon.data, carbon.scalar_features) == ("lab:rare", "nmr", ("exact_mass",))
    assert mol.config == MolConfig(geometry="none"), "adapted to an encoder without needs"
    assert (graph.loss.use, graph.loss.config.centre, graph.loss.record.name) == ("lab:pairs", "mol", "pairs")
    assert graph.train.epochs == TrainConfig().epochs
    assert [p.qualified for p in graph.plugins()] == ["lab:mol", "lab:gnn", "lab:nmr", "lab:net", "lab:pairs"]
    assert graph.config_versions() == {
        "modality": {"lab:mol": 1, "lab:nmr": 1},
        "encoder": {"lab:gnn": 1, "lab:net": 1},
        "loss": {"lab:pairs": 1},
    }


def test_parts_are_the_prefixes_that_a_state_dict_has():
    assert ModelGraph.from_dict(GOOD, HOST).parts() == (
        "modalities",
        *(f"modalities.mol{part}" for part in ("", ".encoder", ".head", ".head.out", ".head.projection", ".head.norm")),
        *(f"modalities.h_nmr{part}" for part in ("", ".encoder", ".head", ".head.out", ".head.norm")),
        *(f"modalities.c_nmr{part}" for part in ("", ".encoder", ".head", ".head.out", ".head.projection", ".head.norm")),
        "loss",
    )  # fmt: skip


def test_a_resolved_graph_reads_back_equal_and_its_text_is_stable(tmp_path):
    graph = ModelGraph.from_dict(GOOD, HOST)
    assert ModelGraph.from_dict(graph.to_dict(), HOST) == graph
    (tmp_path / "g.yaml").write_text(graph.to_yaml())
    again = ModelGraph.load(tmp_path / "g.yaml", HOST)
    assert again == graph
    assert again.to_yaml() == graph.to_yaml()
    saved = parse_yaml(graph.to_yaml()).data
    assert saved["modalities"]["h_nmr"]["use"] == "lab:nmr"
    assert saved["modalities"]["h_nmr"]["encoder"] == {
        "use": "lab:net", "kind": "vector", "width": 4, "rate": 0.1, "skip": False
    }  # fmt: skip
    assert saved["candidate"] == "mol"
    assert saved["train"]["batch_size"] == TrainConfig().batch_size


def test_numbers_survive_exactly():
    data = copy.deepcopy(GOOD)
    data["modalities"]["h_nmr"]["encoder"]["rate"] = 0.1 + 0.2
    data["modalities"]["h_nmr"]["limit"] = float("inf")
    graph = ModelGraph.from_dict(data, HOST)
    again = ModelGraph.from_dict(parse_yaml(graph.to_yaml()).data, HOST)
    assert again == graph
    assert again.modalities["h_nmr"].encoder.config.rate == 0.1 + 0.2
    assert again.modalities["h_nmr"].config.limit == float("inf")


def test_python_objects_give_the_same_graph_as_mappings():
    built = ModelGraph.of(
        embedding_dim=16,
        scalar_features=("exact_mass",),
        modalities={
            "mol": Use("mol", encoder=Use("gnn")),
            "h_nmr": Use(
                "nmr", grid=Grid(points=5), encoder=Use("net", width=4), data="nmr", head=HeadConfig(layers=1),
                where={"nucleus": "1H", "field": (400, 500.0)}, scalar_features=(),
            ),
            "c_nmr": Use("lab:nmr", encoder=Use("lab:net", kind="lab:rare"), where={"nucleus": ["13C"]}),
        },
        loss=Use("pairs", centre="mol"),
        train=TrainConfig(**GOOD["train"]),
        host=HOST,
    )  # fmt: skip
    assert built == ModelGraph.from_dict(GOOD, HOST) == ModelGraph.from_dict(GOOD, HOST)
    assert OptimizerConfig(**GOOD["train"]["optimizer"]) == built.train.optimizer


def test_graphs_differ_where_their_settings_differ():
    data = copy.deepcopy(GOOD)
    data["modalities"]["h_nmr"]["encoder"]["width"] = 5
    assert ModelGraph.from_dict(data, HOST) != ModelGraph.from_dict(GOOD, HOST)


def test_adapt_fills_what_the_encoder_needs():
    data = copy.deepcopy(GOOD)
    data["modalities"]["mol"]["encoder"] = {"use": "deep"}
    graph = ModelGraph.from_dict(data, HOST)
    assert graph.modalities["mol"].config == MolConfig(geometry="etkdg")
    assert graph.modalities["mol"].spec == GraphSpec(positions=True)
    assert ModelGraph.from_dict(graph.to_dict(), HOST) == graph


# --- mutators --------------------------------------------------------------------------------------------------------


def no_schema(g):
    """schema: required key of the model graph is missing; add it"""
    del g["schema"]


def later_schema(g):
    """schema: got 2; allowed: 1"""
    g["schema"] = 2


def text_for_a_number(g):
    """embedding_dim: got '512'; expected a whole number"""
    g["embedding_dim"] = "512"


def truth_for_a_number(g):
    """embedding_dim: got True; expected a whole number"""
    g["embedding_dim"] = True


def negative_dim(g):
    """embedding_dim: got 0; expected greater than or equal to 1"""
    g["embedding_dim"] = 0


def misspelt_key(g):
    """sed: unknown key for the model graph; did you mean 'seed'?"""
    g["sed"] = 3


def no_loss(g):
    """loss: required key of the model graph is missing; add it"""
    del g["loss"]


def loss_without_use(g):
    """loss.use: required key of loss is missing; add it"""
    del g["loss"]["use"]


def unknown_loss(g):
    """loss.use: unknown loss 'pair'; did you mean 'pairs'?"""
    g["loss"]["use"] = "pair"


def centre_not_in_graph(g):
    """loss.centre: unknown modality 'moll' in this graph; did you mean 'mol'?"""
    g["loss"]["centre"] = "moll"


def pair_not_in_graph(g):
    """loss.pairs.0.1: unknown modality 'raman' in this graph; allowed: 'mol', 'c_nmr', 'h_nmr'"""
    g["loss"]["pairs"] = [["mol", "raman"]]


def union_of_types(g):
    """loss.temperature: got 'learnabel'; expected a number or did you mean 'learnable'?"""
    g["loss"]["temperature"] = "learnabel"


def no_modalities(g):
    """modalities: required key of the model graph is missing; add it"""
    del g["modalities"]
    g["loss"] = {"use": "pairs"}
    g["train"] = {}


def modalities_as_list(g):
    """modalities: got ['mol']; expected a mapping"""
    g["modalities"] = ["mol"]
    g["loss"] = {"use": "pairs"}
    g["train"] = {}


def one_modality(g):
    """modalities: got 1; a model graph needs two modalities or more"""
    g["modalities"] = {"mol": g["modalities"]["mol"]}
    g["train"] = {}


def modality_as_text(g):
    """modalities.h_nmr: got 'nmr'; expected a mapping"""
    g["modalities"]["h_nmr"] = "nmr"
    del g["train"]["sampling"]


def bad_name(g):
    """modalities.H-NMR: got name 'H-NMR'; take lower-case letters, digits and '_', a letter first"""
    g["modalities"]["H-NMR"] = g["modalities"]["c_nmr"]


def reserved_name(g):
    """modalities.mass: name 'mass' is reserved for the command line; take another one"""
    g["modalities"]["mass"] = g["modalities"]["c_nmr"]


def unknown_modality(g):
    """modalities.h_nmr.use: unknown modality 'nrm'; did you mean 'nmr'?"""
    g["modalities"]["h_nmr"]["use"] = "nrm"


def unknown_encoder(g):
    """modalities.h_nmr.encoder.use: unknown encoder 'nett'; did you mean 'net'?"""
    g["modalities"]["h_nmr"]["encoder"]["use"] = "nett"


def no_encoder(g):
    """modalities.h_nmr.encoder: required key of modality 'h_nmr' is missing; add it"""
    del g["modalities"]["h_nmr"]["encoder"]


def encoder_as_text(g):
    """modalities.h_nmr.encoder: got 'net'; expected a mapping"""
    g["modalities"]["h_nmr"]["encoder"] = "net"


def encoder_without_use(g):
    """modalities.h_nmr.encoder.use: required key of the encoder of modality 'h_nmr' is missing; add it"""
    del g["modalities"]["h_nmr"]["encoder"]["use"]


def misspelt_engine_key(g):
    """modalities.h_nmr.were: unknown key for modality 'nmr'; did you mean 'where'?"""
    g["modalities"]["h_nmr"]["were"] = {}


def misspelt_config_key(g):
    """modalities.h_nmr.encoder.widht: unknown key for encoder 'net'; did you mean 'width'?"""
    g["modalities"]["h_nmr"]["encoder"]["widht"] = 3


def misspelt_nested_key(g):
    """modalities.h_nmr.grid.point: unknown key for modality 'nmr'; did you mean 'points'?"""
    g["modalities"]["h_nmr"]["grid"] = {"point": 3}


def value_not_in_list(g):
    """modalities.h_nmr.shape: got 'lorenz'; did you mean 'lorentz'?"""
    g["modalities"]["h_nmr"]["shape"] = "lorenz"


def wrong_type_in_list(g):
    """modalities.h_nmr.sizes.1: got 'b'; expected a whole number"""
    g["modalities"]["h_nmr"]["sizes"] = [1, "b"]


def faulty_item_of_a_list_that_must_not_be_empty(g):
    """modalities.h_nmr.where.nucleus.0: got True; expected text or a number"""
    g["modalities"]["h_nmr"]["where"] = {"nucleus": [True]}


def scalar_for_list(g):
    """modalities.h_nmr.sizes: got 3; expected a list"""
    g["modalities"]["h_nmr"]["sizes"] = 3


def text_for_truth(g):
    """modalities.h_nmr.encoder.skip: got 'no'; expected true or false"""
    g["modalities"]["h_nmr"]["encoder"]["skip"] = "no"


def misspelt_head_key(g):
    """modalities.h_nmr.head.layer: unknown key for modality 'h_nmr'; did you mean 'layers'?"""
    g["modalities"]["h_nmr"]["head"] = {"layer": 1}


def head_of_three_layers(g):
    """modalities.h_nmr.head.layers: got 3; allowed: 1 or 2"""
    g["modalities"]["h_nmr"]["head"] = {"layers": 3}


def kinds_do_not_meet(g):
    """modalities.h_nmr.encoder.use: encoder 'gnn' accepts kind 'graph', but modality 'h_nmr' offers 'vector' or 'lab:rare'"""
    g["modalities"]["h_nmr"]["encoder"] = {"use": "gnn"}


def wrong_kind(g):
    """modalities.h_nmr.encoder.kind: got 'vektor'; did you mean 'vector'?"""
    g["modalities"]["h_nmr"]["encoder"]["kind"] = "vektor"


def needs_not_met(g):
    """modalities.mol.encoder.use: encoder 'deep' needs 'positions', which modality 'mol' as configured does not give; change the configuration of 'mol' or take another encoder"""
    g["modalities"]["mol"] = {"use": "mol", "geometry": "none", "encoder": {"use": "deep"}}


def spec_refuses(g):
    """modalities.h_nmr: modality 'h_nmr': `grid.points` 13 brings bad luck; take 14"""
    g["modalities"]["h_nmr"]["grid"]["points"] = 13


def spec_fails(g):
    """modalities.h_nmr: modality 'h_nmr': KeyError: 'oops'"""
    g["modalities"]["h_nmr"]["grid"]["points"] = 17


def where_unknown_column(g):
    """modalities.h_nmr.where.nucleos: unknown column 'nucleos' of modality 'h_nmr'; did you mean 'nucleus'?"""
    g["modalities"]["h_nmr"]["where"] = {"nucleos": "1H"}


def where_unknown_value(g):
    """modalities.h_nmr.where.nucleus: got '1h'; allowed: '1H', '13C'"""
    g["modalities"]["h_nmr"]["where"] = {"nucleus": ["13C", "1h"]}


def where_unknown_origin(g):
    """modalities.h_nmr.where.origin: got 'experiment'; allowed: 'measured', 'computed'"""
    g["modalities"]["h_nmr"]["where"] = {"origin": "experiment"}


def where_of_what_is_made_from_the_molecule(g):
    """modalities.mol.where: modality 'mol' is made from the molecule and has nothing to choose; leave it out"""
    g["modalities"]["mol"]["where"] = {"origin": "computed"}


def where_text_for_number(g):
    """modalities.h_nmr.where.field: got '400'; column 'field' holds numbers in 'MHz'"""
    g["modalities"]["h_nmr"]["where"] = {"field": "400"}


def where_number_for_text(g):
    """modalities.h_nmr.where.solvent: got 3; column 'solvent' holds text"""
    g["modalities"]["h_nmr"]["where"] = {"solvent": 3}


def where_nothing(g):
    """modalities.h_nmr.where.nucleus: got []; expected text or a number or a list of at least 1"""
    g["modalities"]["h_nmr"]["where"] = {"nucleus": []}


def data_of_another_declaration(g):
    """modalities.h_nmr.data: modality 'nmr' cannot read what 'mol' stores; remove it or use 'mol' as the modality's plugin"""
    g["modalities"]["h_nmr"]["data"] = "mol"


def anchor_not_declared(g):
    """modalities.h_nmr.scalar_features.0: unknown scalar feature 'exact_mas'; did you mean 'exact_mass'?"""
    g["modalities"]["h_nmr"]["scalar_features"] = ["exact_mas"]


def anchor_without_graph_scalar_features(g):
    """modalities.h_nmr.scalar_features.0: unknown scalar feature 'exact_mass'; declare it in the graph's `scalar_features`"""
    g["scalar_features"] = []
    g["modalities"]["h_nmr"]["scalar_features"] = ["exact_mass"]


def unknown_candidate(g):
    """candidate: unknown modality 'moll' in this graph; did you mean 'mol'?"""
    g["candidate"] = "moll"


def candidate_that_does_not_derive(g):
    """candidate: modality 'h_nmr' cannot be made from a molecule; allowed: 'mol'"""
    g["candidate"] = "h_nmr"


def nothing_derives(g):
    """modalities: none can be made from a molecule; add one that can, to be the candidate"""
    del g["modalities"]["mol"]
    g["loss"] = {"use": "pairs"}
    g["train"] = {}


def two_derive(g):
    """model graph: `candidate` is missing and could be 'mol' or 'sum'; name one"""
    g["modalities"]["sum"] = {"use": "formula_vector", "encoder": {"use": "net"}}


def misspelt_train_key(g):
    """train.optimizer.betta: unknown key for the model graph; did you mean 'betas'?"""
    g["train"]["optimizer"]["betta"] = 1


def out_of_range(g):
    """train.batch_size: got 0; expected greater than or equal to 1"""
    g["train"]["batch_size"] = 0


def rate_as_text(g):
    """train.optimizer.lr: got 'fast'; expected a number or a mapping"""
    g["train"]["optimizer"]["lr"] = "fast"


def one_rate_as_text(g):
    """train.optimizer.lr.default: got 'fast'; expected a number"""
    g["train"]["optimizer"]["lr"] = {"default": "fast"}


def rates_without_default(g):
    """train.optimizer: `lr` by part needs a `default`"""
    g["train"]["optimizer"]["lr"] = {"loss": 1e-3}


def unknown_part_of_rates(g):
    """train.optimizer.weight_decay.modalities.mol.heat: unknown part 'modalities.mol.heat'; did you mean 'modalities.mol.head'?"""
    g["train"]["optimizer"]["weight_decay"] = {"default": 0.0, "modalities.mol.heat": 1}


def unknown_part_frozen(g):
    """train.trainable.modalities.h_nmr.head.projection: unknown part 'modalities.h_nmr.head.projection'; did you mean 'modalities.c_nmr.head.projection'?"""
    g["train"]["trainable"] = {"modalities.h_nmr.head.projection": False}


def unknown_part_freed(g):
    """train.trainable.los: unknown part 'los'; did you mean 'loss'?"""
    g["train"]["trainable"] = {"default": False, "los": True}


def unknown_part_initialised(g):
    """train.init.modalities.ir: unknown part 'modalities.ir'; did you mean 'modalities'?"""
    g["train"]["init"] = {"modalities.ir": "a#modalities.ir"}


def source_without_part(g):
    """train.init.loss: got 'runs/a'; write RUN#PART, such as 'runs/a#loss'"""
    g["train"]["init"] = {"loss": "runs/a"}


def sampling_of_unknown_modality(g):
    """train.sampling.h_nrm: unknown modality 'h_nrm' in this graph; did you mean 'h_nmr'?"""
    g["train"]["sampling"] = {"h_nrm": {"origin": {"measured": 1}}}


def sampling_of_unknown_column(g):
    """train.sampling.h_nmr.orign: unknown column 'orign' of modality 'h_nmr'; did you mean 'origin'?"""
    g["train"]["sampling"] = {"h_nmr": {"orign": {"measured": 1}}}


def sampling_of_unknown_value(g):
    """train.sampling.h_nmr.nucleus: got '2H'; allowed: '1H', '13C'"""
    g["train"]["sampling"] = {"h_nmr": {"nucleus": {"2H": 1}}}


def negative_weight(g):
    """train.sampling.h_nmr.nucleus.1H: got -1; expected greater than or equal to 0"""
    g["train"]["sampling"] = {"h_nmr": {"nucleus": {"1H": -1}}}


def object_that_is_no_data(g):
    """modalities.h_nmr.sizes: got {1}; give text, a number, true, false, none, a list or a mapping"""
    g["modalities"]["h_nmr"]["sizes"] = {1}


MUTATORS = [
    f for f in list(globals().values()) if getattr(f, "__code__", None) and f.__code__.co_varnames[:1] == ("g",)
]


@pytest.mark.parametrize("mutate", MUTATORS, ids=lambda f: f.__name__)
def test_what_is_said_of_a_spoilt_graph(mutate):
    data = copy.deepcopy(GOOD)
    mutate(data)
    assert complaints(data) == mutate.__doc__.splitlines()


def test_there_are_mutators():
    assert len(MUTATORS) > 50


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_mapping_is_no_graph(data):
    assert complaints(data) == [
        "model graph: a model graph is a mapping with `schema`, `embedding_dim`, `modalities` and `loss`"
    ]


def test_every_error_of_a_file_is_shown_at_once_with_its_line(tmp_path):
    path = tmp_path / "ir.yaml"
    path.write_text(
        "schema: 1\n"
        "embedding_dim: -1\n"
        "modalities:\n"
        "  mol: {use: mol, encoder: {use: net}}\n"
        "  ir:\n"
        "    use: nrm\n"
        "    encoder:\n"
        "      use: net\n"
        "      widht: 3\n"
        "  h_nmr: {use: nmr, grid: {points: 1},\n"
        "          encoder: {use: gnn}, where: {nucleus: 1h}}\n"
        "loss: {centre: moll}\n"
        "train:\n"
        "  epochs: 2.5\n"
        "  trainable: {lost: false}\n"
    )
    with pytest.raises(GraphError) as caught:
        ModelGraph.load(path, HOST)
    assert [line.removeprefix(str(path)) for line in caught.value.complaints] == [
        ":2: embedding_dim: got -1; expected greater than or equal to 1",
        ":4: modalities.mol.encoder.use: encoder 'net' accepts kind 'vector' or 'lab:rare', but modality 'mol' offers 'graph'",
        ":6: modalities.ir.use: unknown modality 'nrm'; did you mean 'nmr'?",
        ":9: modalities.ir.encoder.widht: unknown key for encoder 'net'; did you mean 'width'?",
        ":10: modalities.h_nmr.grid.points: got 1; expected greater than or equal to 2",
        ":11: modalities.h_nmr.where.nucleus: got '1h'; allowed: '1H', '13C'",
        ":11: modalities.h_nmr.encoder.use: encoder 'gnn' accepts kind 'graph', but modality 'h_nmr' offers 'vector' or 'lab:rare'",
        ":12: loss.use: required key of loss is missing; add it",
        ":14: train.epochs: got 2.5; expected a whole number",
        ":15: train.trainable.lost: unknown part 'lost'; did you mean 'loss'?",
    ]


# --- saved graphs ----------------------------------------------------------------------------------------------------


def host_with(name, **changes):
    """The same host with one record changed, as after an upgrade of its package."""
    plugins = [
        dataclasses.replace(p, record=dataclasses.replace(p.record, **changes), version="2.0") if p.name == name else p
        for p in HOST.plugins
    ]
    return Host(plugins=tuple(plugins))


class NewNetConfig(Config):
    size: int = 8


def renamed(config, from_version):
    assert from_version == 1
    return {"size": config["width"]}


def test_an_older_config_is_migrated():
    saved = ModelGraph.from_dict(GOOD, HOST)
    newer = host_with("net", config=NewNetConfig, config_version=2, migrate_config=renamed)
    graph = ModelGraph.from_dict(saved.to_dict(), newer, versions=saved.config_versions())
    assert graph.modalities["h_nmr"].encoder.config == NewNetConfig(size=4)
    assert graph.config_versions()["encoder"]["lab:net"] == 2
    again = ModelGraph.from_dict(graph.to_dict(), newer, versions=graph.config_versions())
    assert again == graph, "a graph saved with the new version is not migrated again"


def test_an_older_config_that_still_validates_is_taken():
    saved = ModelGraph.from_dict(GOOD, HOST)
    graph = ModelGraph.from_dict(saved.to_dict(), host_with("net", config_version=2), versions=saved.config_versions())
    assert graph.modalities["h_nmr"].encoder.config == NetConfig(width=4)


@pytest.mark.parametrize(("was", "now"), [(1, 2), (3, 2)])
def test_a_config_that_no_longer_validates_is_refused_with_both_versions(was, now):
    saved = ModelGraph.from_dict(GOOD, HOST)
    newer = host_with("net", config=NewNetConfig, config_version=now)
    versions = {**saved.config_versions(), "encoder": {"lab:net": was}}
    found = complaints(saved.to_dict(), newer, versions=versions)
    assert found[0].startswith("modalities.h_nmr.encoder.width: unknown key for encoder 'net'")
    tail = f" (configuration version {was} was saved and lab 2.0 has {now}; install the version of lab that saved it)"
    assert all(line.endswith(tail) for line in found)
    assert len(found) == 6, "three keys of each of the two encoders"


def test_a_migration_that_fails_is_a_complaint():
    def broken(config, from_version):
        raise LookupError("lost")

    saved = ModelGraph.from_dict(GOOD, HOST)
    newer = host_with("pairs", config_version=4, migrate_config=broken)
    assert complaints(saved.to_dict(), newer, versions=saved.config_versions()) == [
        "loss: loss 'pairs': version 1 of its configuration cannot be migrated (LookupError: lost); configuration version 1 was saved and "
        "lab 2.0 has 4; install the version of lab that saved it"
    ]


def test_a_saved_graph_whose_package_is_gone():
    saved = ModelGraph.from_dict(GOOD, HOST).to_dict()
    left = Host(plugins=tuple(p for p in HOST.plugins if p.type != "loss"))
    assert complaints(saved, left) == ["loss.use: unknown loss 'lab:pairs'; there are none"]


# --- the built-in plugins --------------------------------------------------------------------------------------------

BLUEPRINT = """
schema: 1
embedding_dim: 512
seed: 7
candidate: structure
modalities:
  structure: {use: structure, encoder: {use: dimenetpp, cutoff: 5.0}}
  ir:        {use: ir, grid: {start: 500, stop: 4000, points: 1750}, encoder: {use: resnet1d}, where: {origin: computed}}
  raman:     {use: raman, encoder: {use: mlp, hidden: [1262]}}
loss: {use: all_pairs, temperature: learnable}
train: {batch_size: 128, epochs: 200, optimizer: {lr: {default: 4.0e-4, modalities.structure.encoder: 1.0e-4}}}
"""


def test_the_graph_of_the_documentation_resolves_with_the_builtins(tmp_path):
    (tmp_path / "g.yaml").write_text(BLUEPRINT)
    graph = ModelGraph.load(tmp_path / "g.yaml")
    assert graph.modalities["structure"].spec.positions
    assert graph.modalities["ir"].spec.points == 1750
    assert ModelGraph.from_dict(graph.to_dict()) == graph
    assert ModelGraph.from_dict(parse_yaml(graph.to_yaml()).data) == graph


def test_every_builtin_meets_every_encoder_of_its_kinds_and_round_trips():
    host = installed()
    encoders = [p for p in host.plugins if p.type == "encoder"]
    checked = 0
    for modality in (p for p in host.plugins if p.type == "modality"):
        for encoder in encoders:
            if not set(modality.record.kinds) & set(encoder.record.accepts):
                continue
            graph = ModelGraph.of(
                embedding_dim=8,
                modalities={
                    "structure": Use("structure", encoder=Use("gine")),
                    "other": Use(modality.qualified, encoder=Use(encoder.qualified)),
                },
                candidate="structure",
                loss=Use("all_pairs"),
            )
            assert ModelGraph.from_dict(parse_yaml(graph.to_yaml()).data) == graph
            checked += 1
    assert checked >= 9
