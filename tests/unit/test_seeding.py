"""Seeds follow from names alone: the same on every machine, and what they fix never moves."""

import hashlib
import itertools
import json
import random

import numpy as np
import pytest

from molchord.seeding import drawn, random_state

KEYS = [f"KEY{i:011d}" for i in range(400)]


@pytest.mark.parametrize("parts", [(), (0,), (7, 0, "ir"), (7, "weights", "structure"), ("é", -1), (2**70,)])
def test_a_seed_is_63_bits_of_a_published_hash(parts):
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    assert random_state(*parts) == int.from_bytes(digest, "little") // 2
    assert 0 <= random_state(*parts) < 2**63  # what numpy and torch take


def test_known_seeds_stay_what_they_are():
    """Runs are resumed, and data drawn again, by later versions too."""
    assert random_state(7, 0, "a") == 8467881331020334718
    assert random_state(7, "weights", "ir") == 1086905565747184045


def test_every_part_and_its_place_and_type_count():
    parts = [(1, 2), (2, 1), (12,), ("1", 2), (1, "2"), ("12",), (1, 2, ""), ("1, 2",)]
    assert len({random_state(*p) for p in parts}) == len(parts)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 0.5, 1.0])
def test_a_share_has_the_size_asked_for(share):
    assert drawn(KEYS, share, 3).sum() == round(share * len(KEYS))
    assert drawn([], share, 3).tolist() == []


def test_a_larger_share_holds_every_smaller_one():
    shares = [drawn(KEYS, step / 20, 3, "fraction") for step in range(21)]
    assert all((more >= less).all() for less, more in itertools.pairwise(shares))


def test_a_draw_belongs_to_the_molecule_not_to_its_place():
    chosen = {key for key, yes in zip(KEYS, drawn(KEYS, 0.25, 3), strict=True) if yes}
    mixed = random.Random(0).sample(KEYS, len(KEYS))
    assert {key for key, yes in zip(mixed, drawn(mixed, 0.25, 3), strict=True) if yes} == chosen


def test_draws_of_other_names_are_independent():
    """Two halves share a quarter: by 400 draws, to within four standard deviations."""
    both = (drawn(KEYS, 0.5, 3, "a") & drawn(KEYS, 0.5, 3, "b")).mean()
    assert both == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 400))
    assert (drawn(KEYS, 0.5, 3, "a") == drawn(KEYS, 0.5, 3, "a")).all()
