"""The built-in losses against plain fp64 loops over Python numbers, and the properties that the contract asks for."""

import copy
import math
import pickle
import subprocess
import sys
import weakref
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from molchord.api import Featurizes, LossBatch, Molecule, SampleError, Tempered
from molchord.complaints import validate
from molchord_losses import entries, molchord_losses
from molchord_losses import tanimoto_infonce_loss as similarities
from molchord_losses.all_pairs import ALL_PAIRS, AllPairsConfig
from molchord_losses.clip_pairs import CLIP_PAIRS, ClipPairsConfig
from molchord_losses.graph_centered import GRAPH_CENTERED, GraphCenteredConfig
from molchord_losses.margin_contrastive import MARGIN_CONTRASTIVE, MarginContrastiveConfig
from molchord_losses.pair_bce import PAIR_BCE, PairBceConfig
from molchord_losses.settings import Learnable
from molchord_losses.sigmoid import SIGMOID, SigmoidConfig
from molchord_losses.tanimoto_infonce import TANIMOTO_INFONCE, TanimotoInfonceConfig
from molchord_losses.tanimoto_infonce_loss import bit_similarity

NAMES = ("structure", "ir", "raman", "msms", "nmr")

LOSSES = {
    "clip_pairs": (CLIP_PAIRS, ClipPairsConfig(pairs=(("ir", "structure"), ("ir", "raman")), temperature=(0.3, 0.2))),
    "clip_pairs-vibraclip": (
        CLIP_PAIRS,
        ClipPairsConfig(pairs=(("ir", "structure"), ("ir", "raman")), form="vibraclip", temperature=1.7),
    ),
    "graph_centered": (GRAPH_CENTERED, GraphCenteredConfig(temperature=0.25)),
    "graph_centered-vibraclip": (GRAPH_CENTERED, GraphCenteredConfig(form="vibraclip", temperature=1.7)),
    "all_pairs": (ALL_PAIRS, AllPairsConfig(temperature=0.25)),
    "all_pairs-vibraclip": (ALL_PAIRS, AllPairsConfig(form="vibraclip", temperature=1.7)),
    "tanimoto_infonce": (TANIMOTO_INFONCE, TanimotoInfonceConfig(temperature=0.25, target_temperature=0.3)),
    "tanimoto_infonce-printed": (TANIMOTO_INFONCE, TanimotoInfonceConfig(form="printed")),
    "pair_bce-cosine": (PAIR_BCE, PairBceConfig(distance="cosine")),
    "pair_bce-l2-tanimoto": (PAIR_BCE, PairBceConfig(distance="l2", labels="tanimoto")),
    "pair_bce-learned": (PAIR_BCE, PairBceConfig(distance="learned")),
    "margin_contrastive": (MARGIN_CONTRASTIVE, MarginContrastiveConfig(positive_margin=0.3, negative_margin=1.4)),
    "sigmoid": (SIGMOID, SigmoidConfig(temperature=0.25, bias=-1.5)),
}
every_loss = pytest.mark.parametrize("key", LOSSES)
JUDGED = ("pair_bce", "margin_contrastive", "sigmoid")  # pair by pair


def built(key, names=NAMES[:3], candidate="structure"):
    record, config = LOSSES[key]
    return record.build(config, tuple(names), candidate)


def fingerprints(rows, seed=5):
    """Sparse bits, so that similarities are spread; entry 1 has the bits of entry 0, the last one has none."""
    bits = np.random.default_rng(seed).random((rows, 2048)) < 0.01
    bits[:, :40] |= np.random.default_rng(seed + 1).random((rows, 40)) < 0.7
    if rows > 3:
        bits[1] = bits[0]
        bits[-1] = False
    return torch.from_numpy(np.packbits(bits, axis=1))


def make(
    names=NAMES[:3], rows=8, *, seed=0, complete=False, molecule=None, owned=None, dtype=torch.float64, present=None
):
    """Return a batch with masks and duplicates (entries 2 and 5 are one molecule; 3, 4, 6 another), and its leaves."""
    generator = torch.Generator().manual_seed(seed)
    leaves = {
        name: torch.randn(rows, 6, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for name in names
    }
    if present is None:
        present = {
            name: torch.ones(rows, dtype=torch.bool)
            if complete
            else torch.tensor([(3 * i + 5 * j) % 7 not in (0, j % 3) for i in range(rows)], dtype=torch.bool)
            for j, name in enumerate(names)
        }
    if molecule is None:
        molecule = torch.arange(rows)
        if not complete and rows >= 7:
            molecule[[5, 4, 6]] = torch.tensor([2, 3, 3])
    return batch_of(leaves, present, molecule, owned), leaves


def batch_of(leaves, present, molecule, owned=None):
    raw = {name: leaf * present[name][:, None] for name, leaf in leaves.items()}
    unit = {name: functional.normalize(r, dim=1) for name, r in raw.items()}
    packed = {"fingerprint": fingerprints(len(molecule))}
    return LossBatch(embeddings=unit, raw=raw, present=present, molecule=molecule, features=packed, rows=owned)


def grads(output, leaves):
    found = torch.autograd.grad(output.total, list(leaves.values()), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves.values(), strict=True)]


# --- references: loops over Python numbers -------------------------------------------------------------------------


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def opponents(batch, pair, i):
    """Return the entries that have the pair and count in entry i's sums: itself and other molecules."""
    both = [bool(x and y) for x, y in zip(batch.present[pair[0]], batch.present[pair[1]], strict=True)]
    return [j for j in range(len(both)) if both[j] and (j == i or batch.molecule[j] != batch.molecule[i])]


def members(batch, pair):
    return [i for i in range(len(batch.molecule)) if batch.present[pair[0]][i] and batch.present[pair[1]][i]]


def has_two(batch, pair):
    return len({int(batch.molecule[i]) for i in members(batch, pair)}) >= 2


def reference_similarity(batch, i, j):
    if i == j:
        return 1.0
    a, b = (np.unpackbits(batch.features["fingerprint"][k].numpy()).astype(bool) for k in (i, j))
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 0.0


def infonce_entry(batch, a, b, pair, i, tau):
    logits = {j: dot(a[i], b[j]) / tau for j in opponents(batch, pair, i)}
    return log_sum_exp(list(logits.values())) - logits[i]


def soft_entry(batch, a, b, pair, i, tau, target_tau):
    columns = opponents(batch, pair, i)
    logits = {j: dot(a[i], b[j]) / tau for j in columns}
    similar = {j: reference_similarity(batch, i, j) / target_tau for j in columns}
    norm, target_norm = log_sum_exp(list(logits.values())), log_sum_exp(list(similar.values()))
    return -sum(math.exp(similar[j] - target_norm) * (logits[j] - norm) for j in columns)


def printed_entry(batch, a, b, pair, i):
    similar = {j: reference_similarity(batch, i, j) for j in opponents(batch, pair, i)}
    counted = [j for j, s in similar.items() if j == i or s != 1]
    return -math.log(math.exp(dot(a[i], b[i])) / sum(math.exp(abs(dot(a[i], b[j]) - similar[j])) for j in counted))


def probability(distance, cosine):
    """That two unit vectors are of one molecule; the learned layer as it is before training."""
    length = math.sqrt(max(0.0, 2 - 2 * cosine))
    if distance == "learned":
        return 1 / (1 + math.exp(-(5 * cosine - length)))
    return (1 + cosine) / 2 if distance == "cosine" else math.exp(-length)


def bce_entry(batch, a, b, pair, i, config):
    """The mean of the own pair and of those of two molecules, which together count as much."""

    def cost(j, label):
        p = probability(config.distance, dot(a[i], b[j]))
        return -label * math.log(p) - (1 - label) * math.log(1 - p)

    soft = config.labels == "tanimoto"
    others = [cost(j, reference_similarity(batch, i, j) if soft else 0) for j in opponents(batch, pair, i) if j != i]
    return (cost(i, 1) + (sum(others) / len(others) if others else 0)) / 2


def margin_entry(batch, a, b, pair, i, config):
    lengths = {j: math.dist(a[i], b[j]) for j in opponents(batch, pair, i)}
    others = [max(0.0, config.negative_margin - length) ** 2 for j, length in lengths.items() if j != i]
    own = max(0.0, lengths[i] - config.positive_margin) ** 2
    return (own + (sum(others) / len(others) if others else 0)) / 2


def sigmoid_entry(batch, a, b, pair, i, config):
    logits = {j: dot(a[i], b[j]) / config.temperature + config.bias for j in opponents(batch, pair, i)}
    return sum(math.log(1 + math.exp(-logit if j == i else logit)) for j, logit in logits.items())


def symmetric_reference(batch, pair, entry):
    if not has_two(batch, pair):
        return 0.0
    a, b = (batch.embeddings[name].tolist() for name in pair)
    chosen = members(batch, pair)
    return sum(entry(a, b, i) + entry(b, a, i) for i in chosen) / (2 * len(chosen))


def vibraclip_reference(batch, pair, centre, pairs, temperature):
    if not has_two(batch, pair):
        return 0.0
    raw = {name: r.tolist() for name, r in batch.raw.items()}
    spectrum, other = pair if centre == pair[1] else pair[::-1] if centre == pair[0] else sorted(pair)
    terms = [(name, name) for name in {name for p in pairs for name in p}]
    terms += [tuple(sorted(p)) for p in pairs if centre not in p]

    def kernel(i, j):
        mine = [(x, y) for x, y in terms if batch.present[x][i] and batch.present[y][i]]
        return sum(dot(raw[x][i], raw[y][j]) for x, y in mine) / len(mine)

    chosen, total = members(batch, pair), 0.0
    target = {}
    for i in chosen:
        columns = opponents(batch, pair, i)
        weights = {j: temperature * kernel(i, j) for j in columns}
        norm = log_sum_exp(list(weights.values()))
        target |= {(i, j): math.exp(weights[j] - norm) for j in columns}
        logits = {j: dot(raw[spectrum][i], raw[other][j]) / temperature for j in columns}
        norm = log_sum_exp(list(logits.values()))
        total -= sum(target[i, j] * (logits[j] - norm) for j in columns)
    if centre not in pair:
        return total / len(chosen)
    for j in chosen:
        rows = opponents(batch, pair, j)
        logits = {i: dot(raw[spectrum][i], raw[other][j]) / temperature for i in rows}
        norm = log_sum_exp(list(logits.values()))
        total -= sum(target[i, j] * (logits[i] - norm) for i in rows)
    return total / (2 * len(chosen))


def reference(key, batch, names, candidate="structure"):
    """Return the pairs' values and the total."""
    _, config = LOSSES[key]
    every = list(combinations(names, 2))
    if key.startswith("graph_centered"):
        pairs = [p for p in every if candidate in p]
    elif key.startswith("clip_pairs"):
        pairs = [tuple(sorted(p, key=names.index)) for p in config.pairs]
    else:
        pairs = every
    values, weights = {}, {}
    for position, pair in enumerate(pairs):
        weights[pair] = 1
        if key.endswith("vibraclip"):
            values[pair] = vibraclip_reference(batch, pair, candidate, pairs, config.temperature)
            weights[pair] = 2 if candidate in pair else 1
        elif key == "tanimoto_infonce":
            values[pair] = symmetric_reference(
                batch,
                pair,
                lambda a, b, i, p=pair: soft_entry(batch, a, b, p, i, config.temperature, config.target_temperature),
            )
        elif key.startswith(("pair_bce", "margin_contrastive", "sigmoid")):
            entry = {"p": bce_entry, "m": margin_entry, "s": sigmoid_entry}[key[0]]
            values[pair] = symmetric_reference(
                batch, pair, lambda a, b, i, p=pair, e=entry: e(batch, a, b, p, i, config)
            )
        elif key == "tanimoto_infonce-printed":
            values[pair] = symmetric_reference(batch, pair, lambda a, b, i, p=pair: printed_entry(batch, a, b, p, i))
        else:
            tau = config.temperature[position] if isinstance(config.temperature, tuple) else config.temperature
            values[pair] = symmetric_reference(
                batch, pair, lambda a, b, i, p=pair, t=tau: infonce_entry(batch, a, b, p, i, t)
            )
    counted = [pair for pair in pairs if has_two(batch, pair)]
    weight = sum(weights[pair] for pair in counted)
    return values, sum(weights[p] * values[p] for p in counted) / weight if weight else 0.0


# --- agreement --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "modalities"),
    # The named pairs need three modalities.
    [(key, n) for key in LOSSES for n in (2, 3, 4, 5) if n > 2 or not key.startswith("clip_pairs")],
)
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "masks-duplicates"])
def test_agrees_with_plain_loops(key, modalities, complete):
    names = NAMES[:modalities]
    batch, _ = make(names, rows=9, complete=complete, seed=modalities)
    with torch.no_grad():
        output = built(key, names)(batch)
        values, total = reference(key, batch, names)
    assert output.total.dtype == torch.float64
    assert list(output.per_pair) == list(values)
    for pair, value in values.items():
        assert float(output.per_pair[pair]) == pytest.approx(value, abs=1e-10)
    assert float(output.total) == pytest.approx(total, abs=1e-10)
    assert total > 0


def test_masks_and_duplicates_of_the_test_batch_matter():
    """The batch above has pairs with missing entries and with two entries of one molecule."""
    batch, _ = make(rows=9)
    chosen = members(batch, ("structure", "ir"))
    assert 2 < len(chosen) < 9
    assert len({int(batch.molecule[i]) for i in chosen}) < len(chosen)


def published(graph, ir, raman, temperature, *, all_pairs):
    """VibraCLIP's published equations for complete batches of three modalities, written out in whole matrices."""
    kernel = graph @ graph.T + ir @ ir.T + raman @ raman.T
    kernel = (kernel + ir @ raman.T) / 4 if all_pairs else kernel / 3
    target = torch.exp(kernel * temperature - torch.logsumexp(kernel * temperature, dim=1, keepdim=True))
    directions = []
    for spectrum in (ir, raman):
        logits = spectrum @ graph.T / temperature
        directions.append(-(target * functional.log_softmax(logits, dim=1)).sum(1))
        directions.append(-(target.T * functional.log_softmax(logits.T, dim=1)).sum(1))
    if all_pairs:
        directions.append(-(target * functional.log_softmax(ir @ raman.T / temperature, dim=1)).sum(1))
    return torch.stack(directions).mean()


@pytest.mark.parametrize(("temperature", "spread"), [(141.0, 0.05), (141.0, 12.0), (2.0, 0.5)])
@pytest.mark.parametrize("key", ["graph_centered", "all_pairs"])
def test_vibraclip_form_is_the_published_loss(key, temperature, spread):
    _, leaves = make(rows=10, complete=True)
    leaves = {name: (leaf * spread).detach().requires_grad_() for name, leaf in leaves.items()}
    present = dict.fromkeys(leaves, torch.ones(10, dtype=torch.bool))
    record, config = {
        "graph_centered": (GRAPH_CENTERED, GraphCenteredConfig),
        "all_pairs": (ALL_PAIRS, AllPairsConfig),
    }[key]
    loss = record.build(config(form="vibraclip", temperature=temperature), NAMES[:3], "structure")
    output = loss(batch_of(leaves, present, torch.arange(10)))
    expected = published(*leaves.values(), temperature, all_pairs=key == "all_pairs")
    assert float(output.total.detach()) == pytest.approx(float(expected.detach()), abs=1e-10, rel=1e-12)
    for mine, theirs in zip(grads(output, leaves), torch.autograd.grad(expected, list(leaves.values())), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


def test_vibraclip_form_with_one_spectrum_is_the_published_pair_loss():
    batch, _ = make(NAMES[:2], rows=7, complete=True)
    graph, ir = (r.detach() for r in batch.raw.values())
    target = ((graph @ graph.T + ir @ ir.T) / 2 * 1.7).softmax(dim=-1)
    logits = ir @ graph.T / 1.7
    spectra = -(target * logits.log_softmax(dim=-1)).sum(1)
    graphs = -(target.T * logits.T.log_softmax(dim=-1)).sum(1)
    total = built("graph_centered-vibraclip", NAMES[:2])(batch).total.detach()
    assert float(total) == pytest.approx(float(((spectra + graphs) / 2).mean()), abs=1e-12)


def test_centre_need_not_be_the_candidate():
    batch, _ = make(NAMES[:4], rows=9)
    loss = GRAPH_CENTERED.build(GraphCenteredConfig(centre="raman", temperature=0.25), NAMES[:4], "structure")
    with torch.no_grad():
        output = loss(batch)
        values, total = reference("graph_centered", batch, NAMES[:4], candidate="raman")
    assert list(output.per_pair) == [("structure", "raman"), ("ir", "raman"), ("raman", "msms")] == list(values)
    assert float(output.total) == pytest.approx(total, abs=1e-10)


def test_clip_pairs_without_pairs_is_graph_centered():
    batch, _ = make(rows=9)
    one = CLIP_PAIRS.build(ClipPairsConfig(temperature=0.25), NAMES[:3], "structure")(batch)
    other = built("graph_centered")(batch)
    assert list(one.per_pair) == list(other.per_pair)
    assert torch.equal(one.total, other.total)


def test_cosines_equal_to_tanimoto_reach_the_known_values():
    """Soft targets then cost their entropy, and the printed form log n - 1: both worked out by hand."""
    count = 6
    packed = fingerprints(count, seed=2)
    packed[1, 0] ^= 255  # no equal fingerprints, or the kernel is singular
    batch = LossBatch(embeddings={}, raw={}, present={}, molecule=torch.arange(count), features={"fingerprint": packed})
    similarity = torch.tensor(
        [[reference_similarity(batch, i, j) for j in range(count)] for i in range(count)], dtype=torch.float64
    )
    # The Tanimoto kernel is positive definite (Ralaivola et al. 2005) with ones on its diagonal: A = V sqrt(w) V^T is
    # symmetric with A A^T = S, so its rows are unit vectors whose cosines are the similarities.
    values, vectors = torch.linalg.eigh(similarity)
    unit = vectors * values.sqrt() @ vectors.T
    there = torch.ones(count, dtype=torch.bool)
    batch = LossBatch(
        embeddings={"structure": unit, "ir": unit},
        raw={},
        present={"structure": there, "ir": there},
        molecule=batch.molecule,
        features=batch.features,
    )
    config = TanimotoInfonceConfig(temperature=0.3, target_temperature=0.3)
    soft = TANIMOTO_INFONCE.build(config, NAMES[:2], "structure")(batch).total
    target = (similarity / 0.3).softmax(dim=1)
    assert float(soft) == pytest.approx(float(-(target * target.log()).sum(1).mean()), abs=1e-12)
    printed = built("tanimoto_infonce-printed", NAMES[:2])(batch).total
    assert float(printed) == pytest.approx(math.log(count) - 1, abs=1e-12)


def test_vanishing_target_temperature_is_all_pairs():
    batch, _ = make(rows=7, complete=True)
    packed = fingerprints(7)
    packed[1, 0] ^= 255
    batch = LossBatch(**{**vars(batch), "features": {"fingerprint": packed}})
    config = TanimotoInfonceConfig(temperature=0.25, target_temperature=1e-3)
    soft = TANIMOTO_INFONCE.build(config, NAMES[:3], "structure")(batch).total.detach()
    torch.testing.assert_close(soft, built("all_pairs")(batch).total.detach(), rtol=1e-12, atol=1e-12)


# --- gradients --------------------------------------------------------------------------------------------------------


@every_loss
def test_gradients_are_those_of_finite_differences(key):
    loss = built(key)
    batch, leaves = make(rows=5, molecule=torch.tensor([0, 1, 1, 2, 3]))

    def total(*tensors):
        return loss(batch_of(dict(zip(leaves, tensors, strict=True)), batch.present, batch.molecule)).total

    assert torch.autograd.gradcheck(total, tuple(leaves.values()))


@pytest.mark.parametrize("tile", [10**7, 12])
@pytest.mark.parametrize("owned", [(None,), (slice(0, 4), slice(4, 6))], ids=["one process", "two"])
@pytest.mark.parametrize("key", ["clip_pairs", "graph_centered", "all_pairs", "tanimoto_infonce"])
def test_gradient_of_a_learned_temperature(key, owned, tile, monkeypatch):
    monkeypatch.setattr(entries, "TILE_ELEMENTS", tile)
    record, _ = LOSSES[key]
    loss = record.build(record.config(temperature=Learnable(initial=0.3)), NAMES[:3], "structure").double()
    parameters = dict(loss.named_parameters())
    with torch.no_grad():
        for number, parameter in enumerate(parameters.values()):
            parameter += number / 3

    def total():
        return sum(loss(make(rows=6, owned=rows)[0]).total for rows in owned)

    total().backward()
    for name, parameter in parameters.items():
        steps = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += step
                steps.append(float(total()))
                parameter -= step
        assert float(parameter.grad) == pytest.approx((steps[0] - steps[1]) / 2e-5, rel=1e-5), name


@pytest.mark.parametrize("key", ["all_pairs", "tanimoto_infonce"])
def test_one_matrix_serves_both_directions(key, monkeypatch):
    formed = []
    plain = entries.products
    for module in (entries, similarities):
        monkeypatch.setattr(module, "products", lambda *given: formed.append(given) or plain(*given))
    built(key)(make(rows=8)[0])
    assert len(formed) == 3  # pairs
    formed.clear()
    built(key)(make(rows=8, owned=slice(0, 4))[0])
    assert len(formed) == 6


@every_loss
def test_absent_modality_and_absent_rows_get_no_gradient(key):
    """Leaves are handed in as they are, so that nothing outside the loss could zero their gradient."""
    _, leaves = make(rows=8)
    present = {name: torch.ones(8, dtype=torch.bool) for name in leaves}
    present["raman"][:] = False
    present["ir"][[1, 4]] = False
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf *= 0.3 * present[name][:, None]  # products below 1, as those of unit rows
    batch = LossBatch(
        embeddings=leaves,
        raw=leaves,
        present=present,
        molecule=torch.arange(8),
        features={"fingerprint": fingerprints(8)},
    )
    output = built(key)(batch)
    structure, ir, raman = grads(output, leaves)
    assert torch.count_nonzero(raman) == 0
    assert torch.count_nonzero(ir[[1, 4]]) == 0
    # Without `ir` these structures have no pair at all.
    assert torch.count_nonzero(structure[[1, 4]]) == 0
    assert (ir[[0, 2, 3]] != 0).any(dim=1).all()
    assert (structure[[0, 2, 3]] != 0).any(dim=1).all()


@every_loss
@pytest.mark.parametrize("tile", [1, 27])
def test_tiles_change_nothing(key, tile, monkeypatch):
    loss = built(key)
    batch, leaves = make(rows=9)
    whole = loss(batch)
    whole_grads = grads(whole, leaves)
    monkeypatch.setattr(entries, "TILE_ELEMENTS", tile)
    batch, leaves = make(rows=9)
    tiled = loss(batch)
    torch.testing.assert_close(tiled.total, whole.total, rtol=1e-13, atol=1e-13)
    for mine, theirs in zip(grads(tiled, leaves), whole_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)


def test_no_tile_is_larger_than_allowed(monkeypatch):
    seen = []
    told_apart = entries.Entries.told_apart
    monkeypatch.setattr(entries, "TILE_ELEMENTS", 64)
    monkeypatch.setattr(
        entries.Entries,
        "told_apart",
        lambda self, a, b: seen.append((b - a) * len(self.molecule)) or told_apart(self, a, b),
    )
    batch, _ = make(rows=20, complete=True)
    for key in LOSSES:
        built(key)(batch).total.sum().backward(retain_graph=True)
    assert max(seen) == 60
    assert len(seen) > 100


class Memory(TorchDispatchMode):
    """Notes the bytes that live, of all tensors made within, and the largest tensor with so many columns."""

    def __init__(self, columns, outside):
        super().__init__()
        self.columns = columns
        self.elements = 0
        self.outside = {tensor.untyped_storage().data_ptr() for tensor in outside}
        self.live = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        bits = 2048  # of all fingerprints, transposed
        if isinstance(made, torch.Tensor) and made.shape[-1:] == (self.columns,) and len(made) != bits:
            self.elements = max(self.elements, made.numel())
        for tensor in made if isinstance(made, tuple | list) else [made]:
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage.data_ptr() not in {*self.outside, *self.live}:
                self.live[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self.live.pop, storage.data_ptr())
        return made


@every_loss
def test_no_matrix_of_the_whole_batch_is_made(key, monkeypatch):
    """Neither forward nor backward; between the two no tile is kept, nor a copy of the embeddings for each pair."""
    monkeypatch.setattr(entries, "TILE_ELEMENTS", 50 * 150)
    batch, _ = make(rows=150, complete=True)
    outside = [*batch.embeddings.values(), *batch.raw.values(), *batch.present.values(), batch.molecule]
    with Memory(150, [*outside, *batch.features.values()]) as memory:
        total = built(key)(batch).total
        kept = sum(memory.live.values())
        total.backward()
    assert memory.elements == 50 * 150
    masked = 3 * 6 if key.endswith("vibraclip") else 0  # raw embeddings with zeros where absent, once
    assert kept <= (10 + masked) * 150 * 8


def test_a_tile_of_fingerprints_is_compared_once_for_all_pairs(monkeypatch):
    compared = []
    monkeypatch.setattr(
        similarities, "bit_similarity", lambda a, *rest: compared.append(len(a)) or bit_similarity(a, *rest)
    )
    monkeypatch.setattr(entries, "TILE_ELEMENTS", 50 * 150)
    batch, _ = make(rows=150, complete=True)
    loss = built("tanimoto_infonce")
    assert len(loss.pairs) == 3
    total = loss(batch).total
    assert compared == [50] * 3
    total.backward()
    assert compared == [50] * 6


@every_loss
def test_shares_of_processes_add_up(key):
    loss = built(key)
    batch, leaves = make(rows=9)
    whole = loss(batch)
    total, gradient = torch.zeros((), dtype=torch.float64), [torch.zeros_like(leaf) for leaf in leaves.values()]
    per_pair = dict.fromkeys(whole.per_pair, 0.0)
    for owned in (slice(0, 4), slice(4, 4), slice(4, 5), slice(5, 9)):
        part_batch, part_leaves = make(rows=9, owned=owned)
        part = loss(part_batch)
        total += part.total.detach()
        per_pair = {pair: value + float(part.per_pair[pair].detach()) for pair, value in per_pair.items()}
        gradient = [g + new for g, new in zip(gradient, grads(part, part_leaves), strict=True)]
    torch.testing.assert_close(total, whole.total.detach(), rtol=1e-13, atol=1e-13)
    for pair, value in whole.per_pair.items():
        assert per_pair[pair] == pytest.approx(float(value.detach()), abs=1e-12)
    for mine, theirs in zip(gradient, grads(whole, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)


def test_rows_with_a_step_are_refused():
    batch, _ = make(rows=8, owned=slice(0, 8, 2))
    with pytest.raises(ValueError, match="must be contiguous"):
        built("all_pairs")(batch)


# --- invariances ------------------------------------------------------------------------------------------------------


@every_loss
def test_order_of_modalities_is_irrelevant(key):
    batch, _ = make(rows=9)
    totals = [float(built(key, names)(batch).total.detach()) for names in permutations(NAMES[:3])]
    assert max(totals) - min(totals) < 1e-13


@every_loss
def test_order_of_entries_is_irrelevant(key):
    batch, _ = make(rows=9)
    order = torch.tensor([4, 0, 8, 3, 1, 7, 2, 6, 5])
    moved = LossBatch(
        embeddings={name: e[order] for name, e in batch.embeddings.items()},
        raw={name: r[order] for name, r in batch.raw.items()},
        present={name: p[order] for name, p in batch.present.items()},
        molecule=batch.molecule[order],
        features={"fingerprint": batch.features["fingerprint"][order]},
    )
    loss = built(key)
    assert float(loss(moved).total.detach()) == pytest.approx(float(loss(batch).total.detach()), abs=1e-13)


@every_loss
def test_absent_rows_are_as_good_as_left_out(key):
    """Entries without any modality, and pairs that no entry has, change neither the other pairs nor the mean."""
    loss = built(key)
    batch, _ = make(rows=7, complete=True)
    batch.present["raman"][:] = False
    batch.raw["raman"].data.zero_()
    batch.embeddings["raman"].data.zero_()
    keep = torch.tensor([0, 2, 3, 5, 6])
    for name in ("structure", "ir"):
        batch.present[name][[1, 4]] = False
        batch.raw[name].data[[1, 4]] = 0
        batch.embeddings[name].data[[1, 4]] = 0
    short = LossBatch(
        embeddings={name: e[keep] for name, e in batch.embeddings.items()},
        raw={name: r[keep] for name, r in batch.raw.items()},
        present={name: p[keep] for name, p in batch.present.items()},
        molecule=batch.molecule[keep],
        features={"fingerprint": batch.features["fingerprint"][keep]},
    )
    one, other = loss(batch), loss(short)
    torch.testing.assert_close(one.total, other.total, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one.total, one.per_pair["structure", "ir"], rtol=1e-13, atol=0)
    assert all(float(v.detach()) == 0 for pair, v in one.per_pair.items() if "raman" in pair)


@every_loss
@pytest.mark.parametrize(
    "molecule", [[], [3], [5, 5, 5], [0, 1, 2]], ids=["no-row", "one-row", "one-molecule", "nothing-present"]
)
def test_fewer_than_two_molecules_cost_nothing(key, molecule):
    count = len(molecule)
    there = torch.full((count,), molecule != [0, 1, 2])
    batch, leaves = make(
        rows=count, molecule=torch.tensor(molecule, dtype=torch.int64), present=dict.fromkeys(NAMES[:3], there)
    )
    output = built(key)(batch)
    assert float(output.total.detach()) == 0
    assert output.total.requires_grad
    assert all(float(value.detach()) == 0 for value in output.per_pair.values())
    assert all(torch.count_nonzero(g) == 0 for g in grads(output, leaves))


@every_loss
def test_fp32_is_close_and_untouched_by_autocast(key):
    wide, _ = make(rows=9)
    batch, leaves = make(rows=9, dtype=torch.float32)
    loss = built(key)
    plain = loss(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(batch)
        gradients = grads(inside, leaves)
    assert inside.total.dtype == torch.float32
    assert torch.equal(inside.total, plain.total)
    assert float(plain.total.detach()) == pytest.approx(float(loss(wide).total.detach()), rel=1e-5)
    for mine, theirs in zip(gradients, grads(plain, leaves), strict=True):
        if key.endswith(("printed", "vibraclip")) or key.startswith(
            JUDGED
        ):  # their backward passes are torch's own, which follow autocast
            torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.02 * float(theirs.abs().max()))
        else:
            assert torch.equal(mine, theirs)


def test_large_products_stay_finite():
    """Raw embeddings of norm 30 and temperature 141 make exponents beyond 10^5, at which exp overflows."""
    leaves = {
        name: (30 * leaf).detach().requires_grad_() for name, leaf in make(rows=6, dtype=torch.float32)[1].items()
    }
    present = dict.fromkeys(leaves, torch.ones(6, dtype=torch.bool))
    loss = ALL_PAIRS.build(AllPairsConfig(form="vibraclip", temperature=141), NAMES[:3], "structure")
    output = loss(batch_of(leaves, present, torch.arange(6)))
    assert torch.isfinite(output.total)
    assert all(torch.isfinite(g).all() for g in grads(output, leaves))


# --- temperatures -----------------------------------------------------------------------------------------------------


def test_every_pair_learns_a_temperature_of_its_own():
    loss = ALL_PAIRS.build(AllPairsConfig(), NAMES[:3], "structure")
    assert set(loss.state_dict()) == {
        f"temperature.log_scale.{pair}" for pair in ("ir-structure", "raman-structure", "ir-raman")
    }
    batch, _ = make(rows=9, dtype=torch.float32)
    loss(batch).total.backward()
    gradients = [float(p.grad) for p in loss.parameters()]
    assert len(set(gradients)) == 3
    assert 0 not in gradients
    assert list(loss.temperatures().values()) == pytest.approx([0.07] * 3)
    assert list(loss.temperatures()) == [("structure", "ir"), ("structure", "raman"), ("ir", "raman")]


def test_saved_temperatures_fit_any_order_of_modalities():
    one = ALL_PAIRS.build(AllPairsConfig(), NAMES[:3], "structure")
    with torch.no_grad():
        for step, parameter in enumerate(one.parameters()):
            parameter += step / 10
    other = ALL_PAIRS.build(AllPairsConfig(), NAMES[2::-1], "structure")
    other.load_state_dict(one.state_dict())
    mine = {frozenset(pair): tau for pair, tau in one.temperatures().items()}
    assert {frozenset(pair): tau for pair, tau in other.temperatures().items()} == mine
    assert len(set(mine.values())) == 3


@pytest.mark.parametrize(("start", "bound"), [(10.0, 0.02), (-10.0, 0.5)])
def test_a_temperature_beyond_its_bounds_is_put_back_and_can_return(start, bound):
    config = AllPairsConfig(temperature=Learnable(initial=0.1, lowest=0.02, highest=0.5))
    loss = ALL_PAIRS.build(config, NAMES[:2], "structure")
    (parameter,) = loss.parameters()
    with torch.no_grad():
        parameter.fill_(start)
    assert loss.temperatures()["structure", "ir"] == pytest.approx(bound, rel=1e-6)
    with torch.no_grad():
        parameter.fill_(start)
    batch, _ = make(NAMES[:2], rows=9)
    loss(batch).total.backward()
    assert float(parameter.detach()) == pytest.approx(-math.log(bound), rel=1e-6)
    fixed = ALL_PAIRS.build(AllPairsConfig(temperature=bound), NAMES[:2], "structure")
    assert float(loss(batch).total.detach()) == pytest.approx(float(fixed(batch).total.detach()), rel=1e-6)
    assert float(parameter.grad) != 0


@every_loss
def test_a_loss_is_sent_to_workers_and_copied(key):
    batch, _ = make(rows=6)
    loss = built(key)
    assert torch.equal(pickle.loads(pickle.dumps(loss))(batch).total, loss(batch).total)
    assert torch.equal(copy.deepcopy(loss)(batch).total, loss(batch).total)


def test_a_fixed_temperature_has_no_parameter():
    loss = built("clip_pairs")
    assert list(loss.parameters()) == []
    assert loss.temperatures() == pytest.approx({("structure", "ir"): 0.3, ("ir", "raman"): 0.2})


def test_forms_without_a_temperature_of_cosines_offer_none():
    offers = {key: isinstance(built(key), Tempered) for key in LOSSES}
    none = {key for key in LOSSES if key.endswith(("vibraclip", "printed")) or key.startswith(JUDGED[:2])}
    assert offers == {key: key not in none for key in LOSSES}


def test_what_judges_pairs_is_learned_for_each_pair_of_modalities():
    bce = PAIR_BCE.build(PairBceConfig(distance="learned"), NAMES[:3], "structure")
    sigmoid = SIGMOID.build(SigmoidConfig(), NAMES[:3], "structure")
    keys = ("ir-structure", "raman-structure", "ir-raman")
    assert set(bce.state_dict()) == {f"judge.layer.{key}" for key in keys}
    assert set(sigmoid.state_dict()) == {f"{part}.{key}" for part in ("temperature.log_scale", "bias") for key in keys}
    for loss in (bce, sigmoid):
        batch, _ = make(rows=9, dtype=torch.float32)
        loss(batch).total.backward()
        assert all(torch.count_nonzero(parameter.grad) == parameter.numel() for parameter in loss.parameters())


def test_only_tanimoto_labels_ask_for_fingerprints():
    asks = {key: isinstance(built(key), Featurizes) for key in LOSSES if key.startswith(JUDGED)}
    assert [key for key, asked in asks.items() if asked] == ["pair_bce-l2-tanimoto"]


@pytest.mark.parametrize("key", ["pair_bce-cosine", "pair_bce-l2-tanimoto", "pair_bce-learned", "margin_contrastive"])
def test_equal_and_opposite_embeddings_have_finite_gradients(key):
    """A length has no gradient at 0 and a logarithm none at the ends of the cosine."""
    rows = functional.normalize(torch.tensor([[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [-1.0, -2.0]]), dim=1)
    leaves = {name: rows.clone().requires_grad_() for name in NAMES[:2]}
    there = dict.fromkeys(leaves, torch.ones(4, dtype=torch.bool))
    features = {"fingerprint": fingerprints(4)}
    batch = LossBatch(embeddings=leaves, raw=leaves, present=there, molecule=torch.arange(4), features=features)
    output = built(key, NAMES[:2])(batch)
    assert output.total.isfinite()
    assert all(gradient.isfinite().all() for gradient in grads(output, leaves))


# --- fingerprints -----------------------------------------------------------------------------------------------------

SMILES = ("CCO", "CC(C)=O", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "C", "CCCCCCCCCC(=O)O", "c1ccncc1", "OCC(O)CO")


def molecules():
    return [Molecule(key14=f"KEY{i}", smiles=s, formula="", exact_mass=0.0) for i, s in enumerate(SMILES)]


@pytest.mark.parametrize("kind", ["morgan", "rdkit"])
def test_similarity_is_rdkits(kind):
    from rdkit import Chem, DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    parsed = [Chem.MolFromSmiles(s) for s in SMILES]
    if kind == "morgan":
        theirs = [rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint(m) for m in parsed]
    else:  # the function and the settings that molvis names
        settings = {"minPath": 1, "maxPath": 7, "fpSize": 2048, "nBitsPerHash": 2, "useHs": True, "tgtDensity": 0.0}
        theirs = [Chem.RDKFingerprint(m, minSize=128, **settings) for m in parsed]
    loss = TANIMOTO_INFONCE.build(TanimotoInfonceConfig(fingerprint=kind), NAMES[:2], "structure")
    assert isinstance(loss, Featurizes)
    packed = torch.from_numpy(np.stack([loss.features(m)["fingerprint"] for m in molecules()]))
    assert packed.shape == (len(SMILES), 256)
    assert packed.dtype == torch.uint8
    expected = [[DataStructs.TanimotoSimilarity(a, b) for b in theirs] for a in theirs]
    torch.testing.assert_close(
        bit_similarity(packed, packed, torch.float64), torch.tensor(expected, dtype=torch.float64)
    )


def test_similarity_is_the_same_in_blocks(monkeypatch):
    packed = fingerprints(11)
    whole = bit_similarity(packed[2:5], packed)
    monkeypatch.setattr("molchord_losses.tanimoto_infonce_loss.COLUMNS", 4)
    assert torch.equal(bit_similarity(packed[2:5], packed), whole)
    assert bit_similarity(packed[:0], packed).shape == (0, 11)
    assert bit_similarity(packed[:0], packed[:0]).shape == (0, 0)


def test_a_smiles_that_rdkit_refuses():
    broken = Molecule(key14="BROKEN", smiles="C(", formula="", exact_mass=0.0)
    loss = TANIMOTO_INFONCE.build(TanimotoInfonceConfig(), NAMES[:2], "structure")
    with pytest.raises(SampleError, match=r"BROKEN.*'C\('"):
        loss.features(broken)


# --- configurations ---------------------------------------------------------------------------------------------------


def read(config, **data):
    """Read a configuration as the model graph does: strictly, and with the graph's modalities."""
    return validate(config, data, "loss", context={"modalities": NAMES[:3]})


def test_tanimoto_forms_have_the_temperatures_they_need():
    soft, printed = TanimotoInfonceConfig(), TanimotoInfonceConfig(form="printed")
    assert (soft.temperature, soft.target_temperature) == (Learnable(), 0.1)
    assert (printed.temperature, printed.target_temperature) == (None, None)


@pytest.mark.parametrize(
    ("config", "data"),
    [
        (AllPairsConfig, {"temperature": "learnable"}),
        (AllPairsConfig, {"temperature": 1}),
        (AllPairsConfig, {"temperature": {"initial": 0.05, "lowest": 0.02}}),
        (AllPairsConfig, {"form": "vibraclip", "temperature": 141}),
        (GraphCenteredConfig, {"centre": "ir"}),
        (ClipPairsConfig, {"pairs": [["ir", "raman"], ["ir", "structure"]], "temperature": [0.1, "learnable"]}),
        (TanimotoInfonceConfig, {"pairs": [["ir", "raman"]], "fingerprint": "rdkit"}),
        (TanimotoInfonceConfig, {"form": "printed"}),
    ],
)
def test_configurations_round_trip(config, data):
    found, complaints = read(config, **data)
    assert complaints == []
    again, complaints = read(config, **found.model_dump(mode="json"))
    assert complaints == []
    assert again == found


def case(config, data):
    def mark(function):
        return pytest.param(config, data, " ".join(function.__doc__.split()), id=function.__name__)

    return mark


@case(AllPairsConfig, {"temperature": "learnabel"})
def misspelt_temperature():
    """got 'learnabel'; allowed: 'learnable', a number, a mapping of `initial`, `lowest`, `highest`"""


@case(AllPairsConfig, {"temperature": 0})
def temperature_of_zero():
    """greater than 0"""


@case(AllPairsConfig, {"temperature": {"initial": 0.005}})
def initial_out_of_bounds():
    """`initial` 0.005 must lie between `lowest` 0.01 and `highest` 1.0"""


@case(AllPairsConfig, {"form": "vibraclip", "temperature": "learnable"})
def published_learnable():
    """form 'vibraclip' needs a number as `temperature`"""


@case(ClipPairsConfig, {"form": "vibraclip", "pairs": [["ir", "raman"]], "temperature": [141.0]})
def published_list():
    """form 'vibraclip' needs a number as `temperature`, got (141.0,); the published one is 141"""


@case(ClipPairsConfig, {"pairs": [["ir", "ir"]]})
def pair_of_one():
    """pair ['ir', 'ir'] names one modality twice; name two"""


@case(ClipPairsConfig, {"pairs": [["ir", "raman"], ["raman", "ir"]]})
def pair_twice():
    """pair ['raman', 'ir'] is listed twice; leave one out"""


@case(ClipPairsConfig, {"pairs": [["ir", "ramann"]]})
def pair_of_unknown():
    """unknown modality 'ramann' in this graph; did you mean 'raman'?"""


@case(ClipPairsConfig, {"pairs": [["ir", "raman"]], "temperature": [0.1, 0.2]})
def too_many_temperatures():
    """a list of `temperature` needs one for each of `pairs`, got 2 for 1; give one for all, or as many"""


@case(GraphCenteredConfig, {"centre": "strucure"})
def unknown_centre():
    """unknown modality 'strucure' in this graph; did you mean 'structure'?"""


@case(TanimotoInfonceConfig, {"form": "printed", "temperature": 0.1})
def printed_with_temperature():
    """form 'printed' has no `temperature`, got 0.1; leave it out"""


@case(TanimotoInfonceConfig, {"form": "printed", "target_temperature": 0.1})
def printed_with_target_temperature():
    """form 'printed' has no `target_temperature`, got 0.1; leave it out"""


@case(GraphCenteredConfig, {"center": "ir"})
def misspelt_key():
    """unknown key for loss; did you mean 'centre'?"""


@case(MarginContrastiveConfig, {"positive_margin": 1.0})
def margins_that_meet():
    """`positive_margin` 1.0 must be below `negative_margin` 1.0, which is at most 2, the longest distance there is"""


@case(MarginContrastiveConfig, {"negative_margin": 2.5})
def margin_beyond_the_sphere():
    """`negative_margin` 2.5, which is at most 2"""


@case(PairBceConfig, {"distance": "euclid"})
def unknown_distance():
    """'cosine'"""


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        margins_that_meet,
        margin_beyond_the_sphere,
        unknown_distance,
        misspelt_temperature,
        temperature_of_zero,
        initial_out_of_bounds,
        published_learnable,
        published_list,
        pair_of_one,
        pair_twice,
        pair_of_unknown,
        too_many_temperatures,
        unknown_centre,
        printed_with_temperature,
        printed_with_target_temperature,
        misspelt_key,
    ],
)
def test_wrong_configurations_are_one_sentence(config, data, message):
    found, complaints = read(config, **data)
    assert found is None
    assert len(complaints) == 1
    assert message in complaints[0][1]


def test_configurations_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        AllPairsConfig().form = "vibraclip"


@pytest.mark.parametrize(
    ("record", "config", "message"),
    [
        (GRAPH_CENTERED, GraphCenteredConfig(), "neither `centre` nor a candidate"),
        (CLIP_PAIRS, ClipPairsConfig(), "neither `pairs` nor a candidate"),
        (CLIP_PAIRS, ClipPairsConfig(pairs=(("ir", "nmr"),)), "modality 'nmr'"),
        (GRAPH_CENTERED, GraphCenteredConfig(centre="nmr"), "modality 'nmr'"),
        (TANIMOTO_INFONCE, TanimotoInfonceConfig(pairs=(("ir", "nmr"),)), "modality 'nmr'"),
        (PAIR_BCE, PairBceConfig(pairs=(("ir", "nmr"),)), "modality 'nmr'"),
        (SIGMOID, SigmoidConfig(pairs=(("ir", "nmr"),)), "modality 'nmr'"),
    ],
)
def test_a_loss_that_cannot_be_built(record, config, message):
    with pytest.raises(ValueError, match=message):
        record.build(config, NAMES[:3], None)


def test_without_a_candidate_all_pairs_work():
    batch, _ = make(rows=9)
    with torch.no_grad():
        plain = ALL_PAIRS.build(AllPairsConfig(temperature=0.25), NAMES[:3], None)(batch)
        values, total = reference("all_pairs-vibraclip", batch, NAMES[:3], candidate=None)
        published_form = built("all_pairs-vibraclip", candidate=None)(batch)
    assert float(plain.total) == pytest.approx(reference("all_pairs", batch, NAMES[:3])[1], abs=1e-10)
    assert {p: float(v) for p, v in published_form.per_pair.items()} == pytest.approx(values, abs=1e-10)
    assert float(published_form.total) == pytest.approx(total, abs=1e-10)


def test_records_are_light():
    heavy = "{'torch', 'numpy', 'rdkit'}"
    code = f"import sys, molchord_losses as m; m.molchord_losses(); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_losses_are_offered():
    contrasting = ["clip_pairs", "graph_centered", "all_pairs", "tanimoto_infonce"]
    assert [r.name for r in molchord_losses()] == [*contrasting, *JUDGED]
    assert all(r.api == 1 and r.summary for r in molchord_losses())
