"""Pools: who is a member for whom, by plain loops; draws that a seed fixes; windows at their very edge."""

import numpy as np
import pytest
import torch

from molchord.errors import DataError
from molchord.evaluate.pools import make_pool, measured_masses

N = 40


def made(text, **changes):
    rng = np.random.default_rng(0)
    given = {
        "molecule": np.arange(0, N, 3),
        "present": rng.random(N) < 0.9,
        "queried": np.arange(N) % 4 == 0,
        "held_out": np.arange(N) % 4 < 2,
        "trained": np.arange(N) % 4 == 2,
        "formula": [f"C{i % 5}" for i in range(N)],
        "mass": 100 + rng.random(N),
        "measured": 100 + rng.random(N),
        "seed": 3,
    } | changes
    return make_pool(text, **given), given


def members(pool, queries=slice(0, 14), candidates=slice(0, N)):
    mask = pool.mask(queries, candidates)
    return mask.expand(14, -1) if mask.shape[0] == 1 else mask


def test_members_are_those_of_the_words():
    for text, inside in (
        ("all", lambda g, q, d: True),
        ("test", lambda g, q, d: d["queried"][g]),
        ("isomers", lambda g, q, d: d["formula"][g] == d["formula"][q]),
        ("mass:2500ppm", lambda g, q, d: abs(d["mass"][g] - d["measured"][q]) <= 2500e-6 * d["measured"][q]),
    ):
        pool, given = made(text)
        found = members(pool)
        expected = [
            [bool(given["present"][g] and inside(g, q, given)) for g in range(N)] for q in given["molecule"].tolist()
        ]
        assert found.tolist() == expected, text
        assert (pool.name, pool.isomers, pool.with_mass) == (text, text == "isomers", text.startswith("mass"))


@pytest.mark.parametrize("text", ["all", "isomers", "mass:2500ppm", "unseen:3"])
def test_any_block_of_a_pool_is_a_part_of_the_whole(text):
    pool, _ = made(text)
    whole = members(pool)
    places = torch.tensor([30, 2, 2, 17])
    for queries in (slice(0, 1), slice(3, 9), slice(13, 14)):
        block = pool.mask(queries, places)
        assert torch.equal(block.expand(queries.stop - queries.start, -1), whole[queries][:, places])


def test_a_mass_window_holds_its_edges_and_is_of_the_measured_mass():
    mass = np.array([119.999, 120.0, 128.0, 136.0, 136.001])
    pool, _ = made(
        "mass:62500ppm", molecule=np.array([2]), present=np.ones(5, bool), queried=np.ones(5, bool),
        held_out=np.zeros(5, bool), trained=np.zeros(5, bool), formula=["C"] * 5, mass=mass,
        measured=np.array([0.0, 0.0, 128.0, 0.0, 0.0]),
    )  # fmt: skip
    assert pool.ppm == 62500.0
    assert pool.mask(slice(0, 1), slice(0, 5)).tolist() == [[False, True, True, True, False]]
    fraction, _ = made("mass:2.5ppm")
    assert fraction.ppm == 2.5


def test_draws_are_of_the_seed_and_add_to_what_the_pool_begins_with():
    first, given = made("unseen:5")
    tested = given["present"] & given["queried"]
    drawn = first.members.numpy() & ~tested
    assert drawn.sum() == 5
    assert not (drawn & (given["trained"] | ~given["present"])).any()
    assert (first.members.numpy() & tested).sum() == tested.sum()
    assert torch.equal(made("unseen:5")[0].members, first.members)
    assert not all(torch.equal(made("unseen:5", seed=seed)[0].members, first.members) for seed in range(5))
    held = given["present"] & given["held_out"]
    count = int(held.sum()) + 4
    some = made(f"all:{count}")[0].members.numpy()
    assert (some.sum(), (some & held).sum()) == (count, held.sum())
    assert made(f"all:{int(held.sum())}")[0].members.numpy().tolist() == held.tolist()  # none is drawn
    assert made("unseen:0")[0].members.numpy().tolist() == tested.tolist()


def test_what_was_asked_for_is_not_changed_by_a_draw():
    present = np.ones(N, bool)
    before = present.copy()
    made("unseen:3", present=present)
    made("all:30", present=present)
    assert (present == before).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tests",
        "all:",
        "all:x",
        "all:-3",
        "all:1.5",
        "unseen",
        "unseen:",
        "mass",
        "mass:10",
        "mass:ppm",
        "mass:-1ppm",
        "isomers:3x",
    ],
)
def test_a_name_of_no_pool_is_refused_with_those_there_are(text):
    if text == "isomers:3x":
        text = "isomer"
    with pytest.raises(DataError, match=f"^evaluation failed: unknown pool {text!r}; (did you mean|allowed:)"):
        made(text)


def test_a_draw_that_cannot_be_made_names_the_numbers():
    _, given = made("all")
    held = int((given["present"] & given["held_out"]).sum())
    free = int((given["present"] & ~given["held_out"]).sum())
    with pytest.raises(DataError) as caught:
        made("all:1000")
    assert str(caught.value) == (
        f"evaluation failed: pool 'all:1000' needs {1000 - held} structures beside the {held} it begins with, but {free} "
        "can be drawn; choose another number, or add structures to the data set"
    )
    with pytest.raises(DataError, match="needs -1 structures"):
        made(f"all:{held - 1}")


@pytest.mark.parametrize("text", ["all", "test", "isomers", "mass:5ppm", "unseen:0"])
def test_a_pool_of_nobody_is_refused(text):
    with pytest.raises(DataError, match=f"the pool '{text}' is empty; check that candidates could be embedded"):
        made(text, present=np.zeros(N, bool))


def test_mass_errors_are_of_the_seed_and_of_the_mass():
    exact = np.array([50.0, 500.0])
    assert measured_masses(exact, 1).tolist() == measured_masses(exact, 1).tolist()
    assert measured_masses(exact, 1).tolist() != measured_masses(exact, 2).tolist()
    assert np.abs(measured_masses(exact, 1) / exact - 1).max() < 5e-5
    errors = (measured_masses(exact, 1) - exact) / (measured_masses(np.ones(2), 1) - 1)
    np.testing.assert_allclose(errors, exact, rtol=1e-6)
    assert measured_masses(np.zeros(0), 0).shape == (0,)
