"""Old names work one release longer, with one sentence, and never against today's."""

import warnings

import pytest

from molchord import deprecation
from molchord.deprecation import (
    DEPRECATED,
    Deprecation,
    old_names,
    overdue,
    renamed,
    renamed_attribute,
    warn_deprecated,
)


@renamed("Run.search", map="fusion")
def search(library, *, fusion="gm-exp", k=5):
    """Search."""
    return library, fusion, k


def entry(**changes):
    given = {"name": "molchord.api.Old", "since": "0.2", "remove_in": "0.4", "instead": "use molchord.api.New"}
    return Deprecation(**given | changes)


def test_an_old_argument_is_todays_with_a_warning_at_the_caller():
    with pytest.warns(DeprecationWarning, match="map=") as caught:
        assert search("lib", map="gm-half", k=2) == ("lib", "gm-half", 2)
    assert [str(w.message) for w in caught] == [
        "'Run.search(map=)' is deprecated since molchord 0.2 and goes in 0.4; write `fusion`"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search("lib", fusion="gm-half") == ("lib", "gm-half", 5)
    assert (search.__name__, search.__doc__) == ("search", "Search.")


def test_both_names_of_an_argument_are_refused():
    """The one would silently win over the other."""
    with pytest.warns(DeprecationWarning, match="map="), pytest.raises(TypeError) as caught:
        search("lib", map="gm-half", fusion="gm-exp")
    assert str(caught.value) == "Run.search() got `map` and `fusion`, its name today; leave `map` out"


def test_an_old_attribute_is_todays_with_a_warning():
    class Hit:
        quality_warnings = ("short",)
        doubts = renamed_attribute("Hit", "doubts", "quality_warnings")

    with pytest.warns(
        DeprecationWarning, match=r"^'Hit.doubts' is deprecated since .* use `quality_warnings`$"
    ) as caught:
        assert Hit().doubts == ("short",)
    assert len(caught) == 1
    with pytest.raises(AttributeError):
        Hit().doubts = ()


def test_a_name_that_was_never_there_is_pythons_own_error():
    serve = old_names("molchord.api")
    for name in ("Nothing", "__path__", "doubt"):
        with pytest.raises(AttributeError, match=f"^module 'molchord.api' has no attribute '{name}'$"):
            serve(name)


def test_an_old_name_is_found_where_its_entry_says(monkeypatch):
    monkeypatch.setitem(DEPRECATED, "molchord.api.Old", entry(at="molchord.text_table:aligned"))
    with pytest.warns(
        DeprecationWarning, match="^'molchord.api.Old' is deprecated since molchord 0.2 and goes in 0.4; use"
    ):
        assert old_names("molchord.api")("Old")([["a", "b"]]) == ["a  b"]
    with pytest.raises(AttributeError):
        old_names("molchord.chem")("Old")


@pytest.mark.parametrize(
    ("version", "due"),
    [
        ("0.3", False),
        ("0.3.99", False),
        ("0.4.0.dev1", True),
        ("0.4.0rc1", True),
        ("0.4", True),
        ("0.10", True),
        ("1.0", True),
    ],
)
def test_what_goes_in_a_release_is_gone_from_its_first_candidate_on(version, due):
    assert overdue(version, [entry()]) == ([entry()] if due else [])


def test_a_warning_names_the_line_that_uses_the_old_name():
    def uses():
        warn_deprecated("--map", stacklevel=1)

    with pytest.warns(DeprecationWarning, match="--map") as caught:
        uses()
    assert caught[0].filename == __file__
    assert deprecation.__file__ != __file__
    with pytest.raises(KeyError):
        warn_deprecated("--never")
