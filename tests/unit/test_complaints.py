"""What pydantic finds wrong becomes sentences: one a place, in the house's words, with the nearest allowed name."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Len, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, field_validator

from molchord.complaints import dotted, plain, validate


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inner(Strict):
    width: Annotated[int, Ge(1)] = 8
    ratio: float = 0.5


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Text(Strict):
    use: Literal["text"]
    words: tuple[str, ...] = ()


class Number(Strict):
    use: Literal["number"]
    low: float = 0.0


class Model(Strict):
    needed: int = 1
    deep: Inner = Inner()
    many: tuple[Inner, ...] = ()
    table: Mapping[str, Inner] = {}
    name: Literal["alpha", "beta"] = "alpha"
    colour: Colour = Colour.RED
    pair: Annotated[tuple[int, ...], Len(2, 2)] = (1, 2)
    few: Annotated[tuple[int, ...], MaxLen(2)] = ()
    some: Annotated[tuple[Inner, ...], MinLen(1)] = (Inner(),)
    flag: bool = True
    text: str = ""
    either: Annotated[float, Gt(0)] | Mapping[str, float] | None = None
    part: Annotated[Text | Number, Field(discriminator="use")] = Text(use="text")
    short: int = Field(0, alias="class")
    size: Literal[1, 2] = 1

    @field_validator("text")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if "\n" in text:
            raise ValueError(f"got {text!r}, of two lines; write one")
        return text


def complaints(data, siblings=()):
    model, found = validate(Model, data, "thing 'x'", siblings=siblings)
    assert (model is None) == bool(found)
    return [f"{dotted(path)}: {message}" for path, message in found]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # types: nothing is converted silently
        ({"needed": "5"}, "needed: got '5'; expected a whole number"),
        ({"needed": 5.5}, "needed: got 5.5; expected a whole number"),
        ({"needed": None}, "needed: got None; expected a whole number"),
        ({"flag": 1}, "flag: got 1; expected true or false"),
        ({"flag": "yes"}, "flag: got 'yes'; expected true or false"),
        ({"text": 5}, "text: got 5; expected text"),
        ({"many": {"a": 1}}, "many: got {'a': 1}; expected a list"),
        ({"table": [1]}, "table: got [1]; expected a mapping"),
        ({"deep": 3}, "deep: got 3; expected a mapping"),
        ({"deep": {"ratio": True}}, "deep.ratio: got True; expected a number"),
        # places inside
        ({"deep": {"width": 0}}, "deep.width: got 0; expected greater than or equal to 1"),
        ({"many": [{}, {"width": "a"}]}, "many.1.width: got 'a'; expected a whole number"),
        ({"table": {"a b": {"width": "a"}}}, "table.a b.width: got 'a'; expected a whole number"),
        # unknown keys, with the names allowed at that place and no others
        ({"deap": {}}, "deap: unknown key for thing 'x'; did you mean 'deep'?"),
        ({"clas": 1}, "clas: unknown key for thing 'x'; did you mean 'class'?"),  # the name in the file
        ({"deep": {"widht": 1}}, "deep.widht: unknown key for thing 'x'; did you mean 'width'?"),
        ({"many": [{"ration": 1.0}]}, "many.0.ration: unknown key for thing 'x'; did you mean 'ratio'?"),
        ({"table": {"a": {"zzz": 1}}}, "table.a.zzz: unknown key for thing 'x'; allowed: 'ratio', 'width'"),
        # choices
        ({"name": "alpa"}, "name: got 'alpa'; did you mean 'alpha'?"),
        ({"name": "zz"}, "name: got 'zz'; allowed: 'alpha', 'beta'"),
        ({"name": 3}, "name: got 3; allowed: 'alpha' or 'beta'"),
        ({"size": 3}, "size: got 3; allowed: 1 or 2"),
        ({"colour": "rde"}, "colour: got 'rde'; did you mean 'red'?"),
        # lengths
        ({"pair": [1]}, "pair: got [1]; expected a list of at least 2"),
        ({"pair": [1, 2, 3]}, "pair: got [1, 2, 3]; expected a list of at most 2"),
        ({"few": [1, 2, 3]}, "few: got [1, 2, 3]; expected a list of at most 2"),
        ({"some": []}, "some: got []; expected a list of at least 1"),
        ({"some": [{"width": 0}]}, "some.0.width: got 0; expected greater than or equal to 1"),  # not too short as well
        # unions: the branch that went deepest speaks, else all of them
        ({"either": -1.0}, "either: got -1.0; expected greater than 0 or a mapping"),
        ({"either": "a"}, "either: got 'a'; expected a number or a mapping"),
        ({"either": {"a": "b"}}, "either.a: got 'b'; expected a number"),
        ({"part": {"use": "txt"}}, "part: got 'txt'; did you mean 'text'?"),
        ({"part": {}}, "part: required key 'use' is missing; add it"),
        ({"part": {"use": "number", "low": "a"}}, "part.low: got 'a'; expected a number"),
        ({"part": {"use": "text", "words": "a"}}, "part.words: got 'a'; expected a list"),
        # a validator's own sentence
        ({"text": "a\nb"}, "text: got 'a\\nb', of two lines; write one"),
        # long values are cut
        ({"needed": "x" * 58}, f"needed: got '{'x' * 58}'; expected a whole number"),
        ({"needed": "x" * 59}, f"needed: got '{'x' * 56}...; expected a whole number"),
    ],
)
def test_one_fault_is_one_sentence_at_its_place(data, said):
    assert complaints(data) == [said]


def test_all_faults_are_found_at_once():
    found = complaints({"needed": "a", "deep": {"width": 0, "x": 1}, "many": [{"width": "b"}, 3], "zz": 1})
    assert [one.split(":")[0] for one in found] == ["needed", "deep.width", "deep.x", "many.0.width", "many.1", "zz"]


def test_siblings_are_named_at_the_top_alone():
    assert complaints({"encode": 1}, ["encoder"]) == ["encode: unknown key for thing 'x'; did you mean 'encoder'?"]
    inside = complaints({"deep": {"encode": 1}}, ["encoder"])
    assert inside == ["deep.encode: unknown key for thing 'x'; allowed: 'ratio', 'width'"]


def test_a_required_key_is_asked_for():
    class Required(Strict):
        size: int
        inner: Inner

    found = validate(Required, {"inner": {}}, "head")[1]
    assert found == [(("size",), "required key of head is missing; add it")]


def test_what_is_right_is_the_model():
    data = {"deep": {"width": 3}, "many": [{}, {}], "either": 2, "class": 7, "part": {"use": "number", "low": 1}}
    model, found = validate(Model, data, "thing")
    assert found == []
    assert (model.deep.width, len(model.many), model.either, model.short, model.part.low) == (3, 2, 2.0, 7, 1.0)
    assert isinstance(model.many, tuple)


def test_the_context_reaches_validators():
    class Named(Strict):
        name: str

        @field_validator("name")
        @classmethod
        def _known(cls, name: str, info: Any) -> str:
            if name not in info.context["names"]:
                raise ValueError("it is not there; take another")
            return name

    assert validate(Named, {"name": "a"}, "x", context={"names": ["a"]})[1] == []
    assert validate(Named, {"name": "b"}, "x", context={"names": ["a"]})[1] == [
        (("name",), "it is not there; take another")
    ]


# --- plain values


@pytest.mark.parametrize("value", [None, True, 0, -3, 0.5, "", "é", 2**70])
def test_scalars_are_plain(value):
    found, wrong = plain(value)
    assert (found, type(found), wrong) == (value, type(value), [])


def test_models_tuples_and_mappings_become_plain():
    found, wrong = plain({"a": (1, (2,)), "m": Model(**{"class": 4}), "list": [Inner()]})
    assert wrong == []
    assert found["a"] == [1, [2]]
    assert found["m"]["class"] == 4  # by the name that the file has
    assert "short" not in found["m"]
    assert found["m"]["colour"] == "red"
    assert found["list"] == [{"width": 8, "ratio": 0.5}]


def test_everything_that_is_not_plain_is_named_with_its_place():
    found, wrong = plain({"a": [1, {2, 3}], "b": {4: object}, "c": {"d": (b"x",)}})
    assert [dotted(path) for path, _ in wrong] == ["a.1", "b.4", "b.4", "c.d.0"]
    tail = "give text, a number, true, false, none, a list or a mapping"
    assert [message for _, message in wrong] == [
        f"got {{2, 3}}; {tail}",
        "key 4 is not text; give a string",
        f"got <class 'object'>; {tail}",
        f"got b'x'; {tail}",
    ]
    assert found == {"a": [1, None], "b": {"4": None}, "c": {"d": [None]}}


def test_a_long_value_is_cut():
    (_, message), *_ = plain(set(range(100)))[1]
    assert message.startswith("got {0, 1, 2, ")
    assert len(message.partition("; ")[0]) == len("got ") + 60
    assert message.partition("; ")[0].endswith("...")
