"""Queries that contradict themselves: by mass, by formula, by each other; and the mass that precursors state."""

import pytest

from molchord.api import Measurement
from molchord.errors import QueryError
from molchord.library.contradictions import contradictions, precursor_mass
from molchord_modalities.ir import IR
from molchord_modalities.msms import MSMS

MODALITIES = {record.name: record.build(record.config(), record.kinds[0]) for record in (MSMS, IR)}
NOTHING = Measurement(arrays={}, columns={})


def ion(mz, adduct="[M+H]+", mode="positive"):
    return Measurement(arrays={}, columns={"precursor_mz": mz, "adduct": adduct, "ion_mode": mode})


ACETAMIPRID = ion(223.0745)
UNSTATED = ion(223.0745, None)


def said(*measurements, **asked):
    """Messages with what they leave of the probability."""
    found = contradictions(MODALITIES, {"msms": measurements, "ir": [NOTHING]}, **asked)
    return [(warning.message, warning.confidence_factor) for warning in found]


@pytest.mark.parametrize(
    ("measurement", "asked"),
    [
        (ACETAMIPRID, {}),
        (ACETAMIPRID, {"mass": 222.0672}),
        (ACETAMIPRID, {"mass": 222.05, "da": 0.01}),  # the margin is wide
        (ACETAMIPRID, {"mass": 220.0, "da": 3.0}),
        (ACETAMIPRID, {"formula": "C10H11 Cl N4"}),
        (ACETAMIPRID, {"formula": "C10H11ClN4", "mass": 222.0672}),
        (UNSTATED, {"mass": 222.0672}),
        (ion(223.0745, None, None), {"formula": "C10H11ClN4"}),
        (ion(223.0745, "[M-H]-/[M-Ser]-"), {"mass": 222.0672}),  # two ions in one: the commonest fits
        (ion(223.1), {"mass": 222.0672}),  # rounded, or cut off
        (ion(223), {"mass": 222.0672}),
        (ion(74.0964, "[M]+"), {"mass": 74.0970}),  # a cation has the mass of its ion
        (NOTHING, {"mass": 5.0}),
    ],
)
def test_what_agrees_is_not_warned_of(measurement, asked):
    assert said(measurement, **asked) == []


@pytest.mark.parametrize(
    ("measurement", "asked", "message"),
    [
        (
            ACETAMIPRID,
            {"mass": 146.0368},
            "the mass asked for, 146.0368, contradicts the precursor of 'msms': m/z 223.0745 of [M+H]+ is of a molecule "
            "of 222.0672 Da; search by the precursor (`--use-precursor`, in Python `use_precursor=True`)",
        ),
        (
            ACETAMIPRID,
            {"mass": 200.0853},
            "the mass asked for, 200.0853, contradicts the precursor of 'msms': m/z 223.0745 of [M+H]+ is of a molecule "
            "of 222.0672 Da, though it would fit as [M+Na]+; search by the precursor (`--use-precursor`, in Python "
            "`use_precursor=True`)",
        ),
        (
            ACETAMIPRID,
            {"mass": 223.0745},
            "the mass asked for, 223.0745, is the m/z of the ion of 'msms', not the mass of its molecule; write --mz "
            "223.0745 --adduct '[M+H]+', in Python the mass 222.0672",
        ),
        (
            UNSTATED,
            {"mass": 223.0745},
            "the mass asked for, 223.0745, is the m/z of the ion of 'msms', not the mass of its molecule; write --mz "
            "223.0745 --adduct '[M+H]+', in Python the mass 222.0672",
        ),
        (
            ACETAMIPRID,
            {"formula": "C9H6O2"},
            "the formula asked for, C9H6O2 of 146.0368 Da, contradicts the precursor of 'msms': m/z 223.0745 of [M+H]+ "
            "is of a molecule of 222.0672 Da; search by the precursor (`--use-precursor`, in Python "
            "`use_precursor=True`)",
        ),
        (
            UNSTATED,
            {"mass": 146.0368},
            "the mass asked for, 146.0368, contradicts the precursor of 'msms': m/z 223.0745 is no common ion of such a "
            "molecule; check the mass, or state the ion (`--mz` and `--adduct`)",
        ),
    ],
)
def test_what_contradicts_the_precursor_leaves_a_fiftieth(measurement, asked, message):
    assert said(measurement, **asked) == [(message, 0.02)]


def test_an_ion_that_is_not_stated_is_named_where_one_fits():
    [(message, factor)] = said(UNSTATED, mass=200.0853)
    assert message == (
        "the mass asked for, 200.0853, fits the precursor of 'msms', m/z 223.0745, as [M+Na]+ only; is it that ion?"
    )
    assert factor == 1.0


def test_several_spectra_of_one_ion_warn_once():
    assert len(said(ACETAMIPRID, ACETAMIPRID, ACETAMIPRID, mass=146.0368)) == 1


def test_spectra_of_different_molecules_are_said():
    assert said(ACETAMIPRID, ion(245.0564, "[M+Na]+")) == []
    assert said(ACETAMIPRID, ion(221.06, "[M-H]-", "negative")) == []
    assert said(UNSTATED, ion(245.0564, None)) == []  # ions of one molecule, perhaps
    [(message, factor)] = said(ACETAMIPRID, ion(154.0863))
    assert (
        message == "two spectra of 'msms' are of different molecules: m/z 223.0745 of [M+H]+ and m/z 154.0863 of [M+H]+"
    )
    assert factor == 0.02


def test_a_formula_and_a_mass_that_exclude_each_other_are_refused():
    with pytest.raises(
        QueryError, match=r"formula 'C9H6O2' has mass 146.0368, which is not within 222.0650 to 222.0694"
    ):
        said(NOTHING, mass=222.0672, formula="C9H6O2")


@pytest.mark.parametrize(
    ("measurements", "says"),
    [
        ([NOTHING], "no spectrum of the query states the m/z of its ion"),
        ([UNSTATED], r"does not state which ion it is; give it: --mz 223.0745 --adduct '\[M\+H\]\+'"),
        ([ion(223.0745, "[M+Xy]+")], r"says '\[M\+Xy\]\+', which does not tell, which ion it is"),
        ([ACETAMIPRID, ion(154.0863)], "state molecules of 222.0672 and 153.0790 Da; search for each alone"),
    ],
)
def test_a_mass_that_the_precursors_do_not_state_is_refused(measurements, says):
    with pytest.raises(QueryError, match=says):
        precursor_mass(MODALITIES, {"msms": measurements})


def test_the_mass_that_precursors_state():
    assert precursor_mass(MODALITIES, {"msms": [ACETAMIPRID], "ir": [NOTHING]}) == pytest.approx(222.0672, abs=1e-4)
    both = [ACETAMIPRID, ion(245.0564, "[M+Na]+")]
    assert precursor_mass(MODALITIES, {"msms": both}) == pytest.approx(222.0672, abs=2e-4)
