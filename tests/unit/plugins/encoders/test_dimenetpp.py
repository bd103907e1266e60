"""DimeNet++ against torch-geometric's class, SciPy's special functions and brute force."""

import copy
import functools
import itertools
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import sympy
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch_geometric.nn.models import dimenet as pyg
from torch_geometric.nn.models import dimenet_utils as pyg_utils

from molchord.api import GraphBatch, GraphSpec, SampleError
from molchord_encoders import dimenetpp_network
from molchord_encoders.dimenetpp import DIMENETPP, DimeNetPlusPlusConfig
from molchord_encoders.dimenetpp_basis import (
    BesselBasisLayer,
    SphericalBasisLayer,
    bessel_zeros,
    chebyshev_polynomials,
    radial_series,
    spherical_bessel,
)
from molchord_encoders.dimenetpp_neighbors import Neighbors, filtered_sum, find_neighbors
from molchord_encoders.dimenetpp_network import DimeNetPlusPlus

PygBasis = pyg.SphericalBasisLayer  # by its own name, since tests replace it
SMALL = dict(
    hidden_channels=24,
    out_channels=8,
    num_blocks=2,
    int_emb_size=12,
    basis_emb_size=5,
    out_emb_channels=20,
    num_spherical=7,
    num_radial=6,
    output_initializer="glorot_orthogonal",
)
DEFAULT = DimeNetPlusPlusConfig().model_dump()
ORGANIC = ("CCO", "c1ccccc1O", "CC(=O)N", "C1CC1C#N", "FC(F)F", "O")


# --- molecules: (elements, positions in fp64) -------------------------------------------------------------------------


@functools.cache
def embedded(smiles, seed=7):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    return [atom.GetAtomicNum() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions()


def on_a_line(*atoms):
    return [z for z, _ in atoms], np.array([[x, 0.0, 0.0] for _, x in atoms])


LINEAR = {
    "CO2": on_a_line((8, -1.16), (6, 0.0), (8, 1.16)),
    "HCN": on_a_line((1, -1.07), (6, 0.0), (7, 1.16)),
    "acetylene": on_a_line((1, -1.66), (6, -0.6), (6, 0.6), (1, 1.66)),
    "dicyanoacetylene": on_a_line((7, -3.07), (6, -1.9), (6, -0.6), (6, 0.6), (6, 1.9), (7, 3.07)),
}
SYMMETRIC = {
    "methane": ([6, 1, 1, 1, 1], np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63),
    "square": ([6] * 4, np.array([[0.0, 0, 0], [1.4, 0, 0], [1.4, 1.4, 0], [0, 1.4, 0]])),
}
WATER = ([8, 1, 1], np.array([[0, 0, 0.117], [0, 0.757, -0.471], [0, -0.757, -0.471]]))
HELIUM = ([2], np.zeros((1, 3)))
HYDROGEN = on_a_line((1, 0.0), (1, 0.74))


def fragments(*molecules, apart=30.0):
    """Lay several molecules into one, far apart."""
    shifted = [pos + np.array([apart * n, 0, 0]) for n, (_, pos) in enumerate(molecules)]
    return list(itertools.chain(*(z for z, _ in molecules))), np.concatenate(shifted)


def batch_of(*molecules, dtype=torch.float64):
    z = torch.tensor([number for m in molecules for number in m[0]])
    pos = torch.tensor(np.concatenate([m[1] for m in molecules]), dtype=dtype)
    return z, pos, torch.tensor([row for row, m in enumerate(molecules) for _ in m[0]])


def mixed(dtype=torch.float64):
    organic = [embedded(smiles) for smiles in ORGANIC]
    others = (HELIUM, HYDROGEN, fragments(WATER, WATER))
    return batch_of(*organic, *LINEAR.values(), *SYMMETRIC.values(), *others, dtype=dtype)


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


# --- the reference: torch-geometric's class with index functions in plain Python --------------------------------------


def radius_graph(pos, r, batch=None, max_num_neighbors=32):
    """Edges j -> i from the nearest atoms j of every atom i, by brute force."""
    batch = torch.zeros(len(pos)) if batch is None else batch
    dist = (pos[:, None] - pos).detach().norm(dim=-1)
    edges = []
    for i in range(len(pos)):
        near = [j for j in range(len(pos)) if j != i and batch[i] == batch[j] and dist[i, j] < r]
        edges += [(j, i) for j in sorted(near, key=lambda j: dist[i, j])[:max_num_neighbors]]
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T


def triplets(edge_index, num_nodes):
    row, col = edge_index
    edges = list(zip(row.tolist(), col.tolist(), strict=True))
    into = [[(e, k) for e, (k, target) in enumerate(edges) if target == j] for j in range(num_nodes)]
    found = [(i, j, k, kj, ji) for ji, (j, i) in enumerate(edges) for kj, k in into[j] if k != i]
    return col, row, *torch.tensor(found, dtype=torch.int64).reshape(-1, 5).T


@functools.cache
def quick_basis(*args):
    """torch-geometric's basis of the same functions, with `expand` for `simplify`, which takes 20 times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyg_utils.sym, "simplify", sympy.expand)
        return PygBasis(*args)


@pytest.fixture(autouse=True)
def _index_functions(monkeypatch):
    monkeypatch.setattr(pyg, "radius_graph", radius_graph)
    monkeypatch.setattr(pyg, "triplets", triplets)


def pair_of_nets(dtype=torch.float64, most=None, basis=quick_basis, **changes):
    """torch-geometric's net and ours with its weights, biases drawn so that nothing is 0 by accident."""
    torch.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyg, "SphericalBasisLayer", basis)
        theirs = pyg.DimeNetPlusPlus(**{**SMALL, **changes}, max_num_neighbors=10**6 if most is None else most)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.3, 0.3)
    ours = DimeNetPlusPlus(**{**SMALL, **changes}, max_num_neighbors=most)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs.to(dtype), ours.to(dtype)


def run(net, z, pos, batch):
    """Output, and gradients of a scalar of it with respect to positions and to all parameters laid end to end."""
    net.zero_grad()
    pos = pos.clone().requires_grad_()
    out = net(z, pos, batch)
    out.square().sum().backward()
    return out.detach(), pos.grad, torch.cat([p.grad.flatten() for p in net.parameters()])


def off(got, want):
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).norm() / want.norm())


# --- agreement with torch-geometric -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "molecules",
    [
        pytest.param([embedded(s) for s in ORGANIC], id="organic"),
        pytest.param([embedded("OCC(O)CN1C=NC2=C1C(=O)N(C)C(=O)N2C")], id="beyond the cutoff"),
        pytest.param([fragments(embedded("CCO"), WATER, HELIUM), WATER], id="fragments"),
        pytest.param([fragments(WATER, WATER, apart=4.0)], id="fragments within the cutoff"),
        pytest.param([HELIUM, HYDROGEN, WATER, HELIUM], id="tiny"),
        pytest.param(list(SYMMETRIC.values()), id="equal angles"),
    ],
)
def test_fp64_agrees_with_torch_geometric(molecules):
    theirs, ours = pair_of_nets()
    for want, got in zip(run(theirs, *batch_of(*molecules)), run(ours, *batch_of(*molecules)), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10 * max(1.0, float(want.abs().max())))


@pytest.mark.parametrize("name", LINEAR)
def test_linear_molecules_agree_and_have_finite_gradients(name):
    theirs, ours = pair_of_nets()
    turned = (LINEAR[name][0], LINEAR[name][1] @ rotation(4))  # on a line to rounding only
    for molecule in (LINEAR[name], turned):
        for want, got in zip(run(theirs, *batch_of(molecule)), run(ours, *batch_of(molecule)), strict=True):
            assert got.isfinite().all()
            assert off(got, want) < 1e-10


def test_gradient_of_positions_is_the_derivative_on_a_line_and_off_it():
    _, ours = pair_of_nets(num_blocks=1, num_spherical=4, num_radial=3)
    for z, pos in (LINEAR["HCN"], WATER):
        z, pos = torch.tensor(z), torch.tensor(pos).requires_grad_()
        assert torch.autograd.gradcheck(lambda p, z=z: ours(z, p), pos, atol=1e-6, rtol=1e-5)


def test_the_unchanged_class_agrees_too():
    theirs, ours = pair_of_nets(basis=PygBasis, num_spherical=3, num_radial=2)
    for want, got in zip(run(theirs, *batch_of(WATER, HYDROGEN)), run(ours, *batch_of(WATER, HYDROGEN)), strict=True):
        assert off(got, want) < 1e-11


def test_fp32_agrees_and_is_no_worse():
    theirs64, ours64 = pair_of_nets(**{k: v for k, v in DEFAULT.items() if k != "max_num_neighbors"})
    theirs, ours = copy.deepcopy(theirs64).float(), copy.deepcopy(ours64).float()
    molecules = batch_of(*[embedded(s) for s in ORGANIC], LINEAR["CO2"], fragments(WATER, WATER), dtype=torch.float32)
    exact = (molecules[0], molecules[1].double(), molecules[2])
    truth, _, truth_gradient = run(theirs64, *exact)
    reference, _, reference_gradient = run(theirs, *molecules)
    out, position, gradient = run(ours, *molecules)
    assert off(out, truth) < 1e-5
    assert off(out, reference) < 1e-5
    assert off(gradient, truth_gradient) < 1e-4
    assert off(gradient, reference_gradient) < 1e-4
    assert off(position, run(ours64, *exact)[1]) < 1e-4
    assert off(out, truth) < 2 * off(reference, truth)


def test_single_atoms_give_zero_with_fresh_weights():
    net = DimeNetPlusPlus(**SMALL)
    z, pos, batch = batch_of(HELIUM, WATER, HELIUM, dtype=torch.float32)
    out = net(z, pos, batch)
    assert out[0].abs().max() == 0
    assert out[2].abs().max() == 0
    assert out[1].abs().max() > 1e-3


def test_real_molecules_agree(shared_data):
    file = np.load(shared_data / "qm9-xtb.npz")
    bounds = file["atoms"]
    molecules = [(file["z"][a:b].tolist(), file["pos"][a:b].astype(float)) for a, b in itertools.pairwise(bounds[:9])]
    theirs, ours = pair_of_nets()
    for want, got in zip(run(theirs, *batch_of(*molecules)), run(ours, *batch_of(*molecules)), strict=True):
        assert off(got, want) < 1e-10


@pytest.mark.parametrize("most", [3, 8])
def test_max_num_neighbors_keeps_the_nearest(most):
    molecules = batch_of(*[embedded(s) for s in ORGANIC], WATER)
    theirs, ours = pair_of_nets(most=most)
    got = run(ours, *molecules)
    for want, g in zip(run(theirs, *molecules), got, strict=True):
        assert off(g, want) < 1e-10
    assert off(got[0], pair_of_nets()[1](*molecules).detach()) > 1e-3


def test_state_dict_is_torch_geometrics():
    layers = dict(num_before_skip=2, num_after_skip=1, num_output_layers=2)
    theirs, ours = pair_of_nets(dtype=torch.float32, **layers)
    shapes = [[(name, value.shape) for name, value in net.state_dict().items()] for net in (theirs, ours)]
    assert shapes[0] == shapes[1]
    assert [name for name, _ in theirs.named_parameters()] == [name for name, _ in ours.named_parameters()]
    theirs.load_state_dict(DimeNetPlusPlus(**SMALL, **layers).state_dict(), strict=True)


def test_other_activations_are_torch_geometrics():
    theirs, ours = pair_of_nets(act="PReLU")
    assert off(ours(*batch_of(WATER)), theirs(*batch_of(WATER))) < 1e-12


def test_casting_the_model_down_and_up_loses_nothing_of_the_basis():
    _, ours = pair_of_nets()
    state = copy.deepcopy(ours.state_dict())
    want = ours(*mixed())
    ours.half().double().load_state_dict(state)
    assert torch.equal(ours(*mixed()), want)


# --- what the physics asks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rotation_reflection_and_shift_change_nothing(seed):
    _, ours = pair_of_nets()
    z, pos, batch = mixed()
    want = ours(z, pos, batch)
    turned = pos @ torch.tensor(rotation(seed)) + torch.tensor([3.0, -2.0, 1.0])
    assert off(ours(z, turned, batch), want) < 1e-12
    assert off(ours(z, -pos, batch), want) < 1e-12


def test_order_of_atoms_changes_nothing():
    _, ours = pair_of_nets()
    z, pos, batch = mixed()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(5))  # molecules interleaved
    assert off(ours(z[order], pos[order], batch[order]), ours(z, pos, batch)) < 1e-12


def test_neighbours_in_the_batch_change_nothing():
    _, ours = pair_of_nets()
    z, pos, batch = mixed()
    together = ours(z, pos, batch)
    for row in range(len(together)):
        alone = ours(z[batch == row], pos[batch == row])
        assert alone.shape == (8,)
        assert (alone - together[row]).abs().max() < 1e-12 * together.abs().max()


def test_far_fragments_add_up():
    _, ours = pair_of_nets()
    both = ours(*batch_of(fragments(WATER, embedded("CCO"))))
    assert off(both[0], ours(*batch_of(WATER, embedded("CCO"))).sum(0)) < 1e-12


def test_output_is_smooth_at_the_cutoff():
    _, ours = pair_of_nets()
    z = torch.tensor([6, 8, 7])
    outs = [ours(z, torch.tensor([[0.0, 0, 0], [1.2, 0, 0], [0, x, 0]], dtype=torch.float64)) for x in (4.9999, 5.0001)]
    assert off(*outs) < 1e-8


def test_angle_alone_changes_the_output():
    """Within this cutoff only the bonds are edges, so nothing but the angle tells the two molecules apart."""
    _, ours = pair_of_nets(cutoff=1.7)
    bond = 1.0
    z = torch.tensor([8, 1, 1])
    outs = []
    for angle in (2.2, 2.8):
        across = [bond * np.cos(angle), bond * np.sin(angle), 0]
        outs.append(ours(z, torch.tensor([[0, 0, 0], [bond, 0, 0], across], dtype=torch.float64)))
    assert off(*outs) > 1e-4


# --- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [None, 1, 4])
def test_neighbors_are_all_pairs_of_a_molecule_within_the_cutoff(most):
    _, pos, batch = mixed()
    size = int(batch.max()) + 1
    edges = find_neighbors(pos, batch, size, 3.0, most)
    want = radius_graph(pos, 3.0, batch, 10**6 if most is None else most)
    assert set(zip(edges.source.tolist(), edges.target.tolist(), strict=True)) == set(map(tuple, want.T.tolist()))
    assert edges.target.diff().min() >= 0
    for place, atom, slots in (
        (edges.arrival, edges.target, edges.arriving),
        (edges.departure, edges.source, edges.leaving),
    ):
        assert len(set(place.tolist())) == len(place)
        assert torch.equal(place // slots, atom)
        assert slots == atom.bincount().max()


def test_pairs_of_slots_are_the_triplets():
    _, pos, batch = mixed()
    edges = find_neighbors(pos, batch, int(batch.max()) + 1, 3.0, 5)
    number = torch.arange(1.0, len(edges.source) + 1)
    arriving, leaving = edges.at_target(number), edges.at_source(number)
    meet = (arriving[:, :, None] > 0) & (leaving[:, None] > 0) & edges.turns()
    atom, k, i = meet.nonzero(as_tuple=True)
    got = set(zip((arriving[atom, k] - 1).tolist(), (leaving[atom, i] - 1).tolist(), strict=True))
    *_, kj, ji = triplets(torch.stack([edges.source, edges.target]), len(pos))
    assert got == set(zip(kj.tolist(), ji.tolist(), strict=True))
    assert torch.equal(edges.from_source(leaving), number)


def test_filtered_sum_is_the_plain_sum_in_several_blocks():
    generator = torch.Generator().manual_seed(1)
    shapes = ((7, 64 * 8, 3), (7, 64, 1024), (1024, 8))  # 2^19 numbers an atom: four atoms at a time, and three
    f, x, w, g = (torch.randn(s, generator=generator, dtype=torch.float64) for s in (*shapes, (7, 3, 1024)))
    for t in (f, x, w):
        t.requires_grad_()
    plain = torch.einsum("nksi,nkc,cs->nic", f.view(7, 64, 8, 3), x, w)
    want = torch.autograd.grad(plain, (f, x, w), g)
    out = filtered_sum(f, x, w)
    assert off(out, plain) < 1e-13
    for a, b in zip(torch.autograd.grad(out, (f, x, w), g), want, strict=True):
        assert off(a, b) < 1e-13


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_coinciding_and_undefined_positions_are_refused(bad):
    net = DimeNetPlusPlus(**SMALL)
    z, pos, batch = batch_of(WATER, HYDROGEN, WATER, dtype=torch.float32)
    pos[4] = bad
    with pytest.raises(SampleError, match="graph 1 of the batch: two atoms coincide or a position is not finite"):
        net(z, pos, batch)


def test_an_element_without_a_vector_is_refused():
    net = DimeNetPlusPlus(**SMALL)
    z, pos, batch = batch_of(WATER, HYDROGEN, WATER, dtype=torch.float32)
    z[3], z[-1] = 94, 95
    with pytest.raises(SampleError, match=r"graph 2 of the batch: atomic number 95 is above 94, the last that"):
        net(z, pos, batch)


# --- waits for the device ---------------------------------------------------------------------------------------------


class Waits(TorchFunctionMode):
    """Notes what a program would wait for its device for: numbers and shapes that depend on values."""

    names = frozenset(["item", "tolist", "__int__", "__index__", "__float__", "__bool__", "nonzero", "cpu", "numpy"])

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        masked = function is torch.Tensor.__getitem__ and getattr(args[1], "dtype", None) == torch.bool
        if function.__name__ in self.names or masked:
            self.seen.append(function.__name__)
        return function(*args, **(kwargs or {}))


def test_edges_are_built_with_two_waits_for_the_device():
    z, pos, batch = mixed(torch.float32)
    size = int(batch.max()) + 1
    net = DimeNetPlusPlus(**SMALL, max_num_neighbors=5)
    with Waits() as waits:
        net(z, pos, batch, size=size)
    assert waits.seen == ["tolist", "tolist"]


def test_a_step_never_waits_once_edges_are_built(monkeypatch):
    """Forward and backward on tensors without values, of which none can be asked for."""
    z, pos, batch = mixed(torch.float32)
    size = int(batch.max()) + 1
    real = find_neighbors(pos, batch, size, 5.0)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        held = {k: mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for k, v in vars(real).items()}
        monkeypatch.setattr(dimenetpp_network, "find_neighbors", lambda *_: Neighbors(**held))
        monkeypatch.setattr(DimeNetPlusPlus, "_widest", lambda *_: 9)
        net = DimeNetPlusPlus(**SMALL)
        out = net(*(mode.from_tensor(t) for t in (z, pos, batch)), size=size)
        out.sum().backward()
        assert all(p.grad is not None for p in net.parameters())
        with pytest.raises(DataDependentOutputException):
            out.sum().item()


@pytest.mark.gpu
def test_cuda_waits_twice():
    z, pos, batch = (t.cuda() for t in mixed(torch.float32))
    size = int(batch.max()) + 1
    net = DimeNetPlusPlus(**SMALL).cuda()
    net(z, pos, batch, size=size).sum().backward()  # libraries are loaded at the first call
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as waits:
            net(z, pos, batch, size=size).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in waits if "synchronizing" in str(w.message)]) <= 2


# --- bases ------------------------------------------------------------------------------------------------------------


def test_spherical_bessel_is_scipys():
    x = np.concatenate([[0.0], np.logspace(-8, 0, 50), np.linspace(1, 60, 500)])
    got = spherical_bessel(x, 10)
    for order in range(10):
        np.testing.assert_allclose(got[:, order], scipy.special.spherical_jn(order, x), rtol=0, atol=1e-14)


def test_bessel_zeros_are_all_zeros():
    zeros = bessel_zeros(9, 12)
    for order, row in enumerate(zeros):
        assert np.abs(scipy.special.spherical_jn(order, row)).max() < 1e-14
        grid = scipy.special.spherical_jn(order, np.linspace(0.5, row[-1] + 0.5, 20_000))
        assert (np.diff(np.sign(grid[grid != 0])) != 0).sum() == 12  # none left out
    np.testing.assert_array_equal(zeros.astype(np.float32), pyg_utils.Jn_zeros(9, 12))


@pytest.mark.parametrize(("num_spherical", "num_radial"), [(7, 6), (2, 1), (10, 12)])
def test_radial_series_is_the_scaled_bessel_function(num_spherical, num_radial):
    layer = SphericalBasisLayer(num_spherical, num_radial, cutoff=4.0)
    dist = torch.linspace(0.05, 3.999, 700, dtype=torch.float64)
    zeros = pyg_utils.Jn_zeros(num_spherical, num_radial)  # fp32, as are the normalisers of `bessel_basis`
    want = []
    for order, row in enumerate(zeros):
        scale = 1 / np.array([0.5 * pyg_utils.Jn(z, order + 1) ** 2 for z in row]) ** 0.5
        assert scale.dtype == np.float32
        argument = row.astype(np.float64) * dist.numpy()[:, None] / 4.0
        want.append(scale.astype(np.float64) * scipy.special.spherical_jn(order, argument))
    want = layer.envelope(dist / 4.0)[:, None] * torch.tensor(np.concatenate(want, axis=1))
    assert (layer.radial(dist) - want).abs().max() < 1e-12 * want.abs().max()
    assert (layer.radial(dist) - want)[dist > 0.6].abs().max() < 1e-12 * max(1, num_radial)
    assert (np.abs(radial_series(num_spherical, num_radial)[-4:]) < 1e-12).all()  # the series has ended


def test_radial_basis_in_fp32_is_better_than_the_closed_form():
    ours, theirs = SphericalBasisLayer(7, 6), quick_basis(7, 6, 5.0, 5)
    dist = torch.linspace(0.9, 1.6, 500)
    truth = ours.radial(dist.double())
    x = dist / 5.0
    closed = theirs.envelope(x)[:, None] * torch.stack([f(x) for f in theirs.bessel_funcs], dim=1)
    assert (ours.radial(dist) - truth).abs().max() < 3e-5  # of values up to 30
    assert (closed - truth).abs().max() > 30 * (ours.radial(dist) - truth).abs().max()


def test_angular_basis_is_the_spherical_harmonics():
    angle = torch.linspace(0, torch.pi, 300, dtype=torch.float64).view(1, 20, 15)
    got = SphericalBasisLayer(9, 1).angular(angle.cos())
    for order in range(9):
        want = scipy.special.sph_harm_y(order, 0, angle.numpy(), 0.0).real
        np.testing.assert_allclose(got[:, :, order].numpy(), want, rtol=0, atol=1e-13)


def test_bases_end_at_the_cutoff():
    dist = torch.tensor([4.0, 4.5, 1e3])
    assert (BesselBasisLayer(5, cutoff=4.0)(dist) == 0).all()
    assert (SphericalBasisLayer(3, 2, cutoff=4.0).radial(dist) == 0).all()


def test_chebyshev_polynomials_are_cosines():
    t = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    for count in (1, 2, 3, 40, 65, 66):
        want = (torch.arange(count) * t.arccos()).cos()
        assert (chebyshev_polynomials(t, count) - want).abs().max() < 1e-12


# --- the encoder ------------------------------------------------------------------------------------------------------


def graph_batch(*molecules, conformers=1):
    z, pos, batch = batch_of(*molecules, dtype=torch.float32) if molecules else (torch.zeros(0, dtype=torch.int64),) * 3
    shakes = torch.randn(conformers, *pos.shape[:1], 3, generator=torch.Generator().manual_seed(2)) * 0.02
    positions = (pos.reshape(-1, 3).float() + shakes).transpose(0, 1)
    bonds = torch.zeros(2, 0, dtype=torch.int64)
    return GraphBatch(size=len(molecules), elements=z, graph=batch, bonds=bonds, positions=positions)


def encoder(**changes):
    torch.manual_seed(0)
    sizes = {k: v for k, v in SMALL.items() if k != "output_initializer"}
    return DIMENETPP.build(DimeNetPlusPlusConfig(**{**sizes, **changes}), GraphSpec(positions=True))


def test_encoder_has_the_width_and_reaches_every_parameter():
    net = encoder()
    out = net(graph_batch(WATER, embedded("CCO")))
    assert out.shape == (2, net.width) == (2, 8)
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("molecules", [[], [HELIUM], [HELIUM, HELIUM], [HYDROGEN], [WATER]], ids=len)
@pytest.mark.parametrize("conformers", [1, 3])
def test_few_rows_and_atoms_keep_the_graph_connected_in_training(molecules, conformers):
    net = encoder().train()
    out = net(graph_batch(*molecules, conformers=conformers))
    assert out.shape == (len(molecules), 8)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_conformers_are_averaged():
    net = encoder()
    batch = graph_batch(WATER, embedded("CCO"), HELIUM, conformers=3)
    alone = [net.net(batch.elements, batch.positions[:, c], batch.graph) for c in range(3)]
    assert off(net(batch), torch.stack(alone).mean(0)) < 1e-6
    assert off(alone[0], alone[1]) > 1e-3


def test_trailing_molecules_without_atoms_count():
    net = DimeNetPlusPlus(**SMALL)
    assert net(*batch_of(WATER, dtype=torch.float32), size=3).shape == (3, 8)


def test_encoder_refuses_graphs_without_positions():
    with pytest.raises(ValueError, match="needs positions"):
        DIMENETPP.build(DimeNetPlusPlusConfig(), GraphSpec(positions=False))
    batch = graph_batch(WATER)
    bare = GraphBatch(size=1, elements=batch.elements, graph=batch.graph, bonds=batch.bonds)
    with pytest.raises(ValueError, match="without `positions`"):
        encoder()(bare)


def test_bf16_autocast_rounds_layers_and_not_the_geometry():
    net = encoder(hidden_channels=32)
    batch = graph_batch(*[embedded(s) for s in ORGANIC])
    want = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        got = net(batch)
    assert got.dtype == torch.float32
    assert off(got.detach(), want.detach()) < 0.03
    got.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_initial_weights_have_glorots_variance():
    net = DimeNetPlusPlus(**SMALL)
    for name, weight in net.named_parameters():
        if name.endswith("bias") and name.split(".")[0] != "emb":
            assert weight.abs().max() == 0
        elif name.endswith("weight") and name.split(".")[0] != "emb":
            assert float(weight.detach().var() * sum(weight.shape)) == pytest.approx(2.0, rel=1e-5)
    before = net.interaction_blocks[0].lin_up.weight.detach().clone()
    net.reset_parameters()
    assert not torch.equal(net.interaction_blocks[0].lin_up.weight, before)
    assert torch.equal(net.rbf.freq, torch.arange(1, 7) * torch.pi)


def test_output_starts_at_zero_on_request_and_by_default():
    sizes = {k: v for k, v in SMALL.items() if k != "output_initializer"}
    net = DimeNetPlusPlus(**sizes)
    assert net(*batch_of(WATER, dtype=torch.float32)).abs().max() == 0
    with pytest.raises(ValueError, match=r"`output_initializer` got 'ones'; allowed: 'zeros', 'glorot_orthogonal'"):
        DimeNetPlusPlus(**sizes, output_initializer="ones")
    with pytest.raises(ValueError, match="`num_spherical` must be 2 or more, got 1"):
        DimeNetPlusPlus(**{**sizes, "num_spherical": 1})


def test_runs_without_torch_geometric_and_its_extensions():
    code = """
import sys
sys.modules |= dict.fromkeys(["torch_geometric", "torch_cluster", "torch_sparse", "torch_scatter", "pyg_lib", "scipy"])
import torch
from molchord_encoders.dimenetpp_network import DimeNetPlusPlus
net = DimeNetPlusPlus(8, 2, 1, 4, 3, 8, num_spherical=3, num_radial=2, output_initializer="glorot_orthogonal")
print(net(torch.tensor([6, 8]), torch.tensor([[0.0, 0, 0], [1.2, 0, 0]])).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "torch.Size([2])", done.stderr
