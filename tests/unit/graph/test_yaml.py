"""Strict YAML: what other readers take silently is read as YAML 1.2 says, or refused."""

import math
import random

import pytest

from molchord.errors import GraphError
from molchord.graph.strict_yaml import dump, parse_yaml, read


def refusal(text):
    with pytest.raises(GraphError) as caught:
        parse_yaml(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("017", 17),
        ("-017", -17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ("NULL", None),
        ("nUll", "nUll"),
        ("True", True),
        ("tRue", "tRue"),
        ("'true'", "true"),
        ('"1"', "1"),
        ("! 1", "1"),
        ("=", "="),
        ("+", "+"),
        (".", "."),
        ("e5", "e5"),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    got = parse_yaml(f"key: {text}\n").data["key"]
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number():
    assert math.isnan(parse_yaml("a: .nan").data["a"])


def test_lines_of_values_under_keys_in_lists_and_in_flow_collections():
    document = parse_yaml("a: 1\nb:\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n")
    assert document.data == {"a": 1, "b": {"c": ["x", {"d": 2, "e": 3}]}}
    assert [document.line(p) for p in (("b",), ("b", "c", 0), ("b", "c", 1), ("b", "c", 1, "e"))] == [2, 4, 5, 6]
    assert document.line(("b", "c", "missing", "deeper")) == 3
    assert document.locate((), "wrong") == "<text>:1: wrong"


def test_aliases_are_written_out():
    document = parse_yaml("a: &x {k: [1]}\nb: *x\n")
    assert document.data == {"a": {"k": [1]}, "b": {"k": [1]}}
    document.data["a"]["k"].append(2)
    assert document.data["b"] == {"k": [1]}, "each alias is a value of its own"


def test_all_duplicates_and_bad_keys_are_named_at_once():
    assert refusal("a: 1\nb: {c: 1, c: 2}\na: 2\n1: x\n? [k]\n: y\n").splitlines() == [
        "f.yaml:2: key 'c' stands twice, first in line 2; remove one",
        "f.yaml:3: key 'a' stands twice, first in line 1; remove one",
        "f.yaml:4: key 1 is not text; write it in quotes",
        "f.yaml:5: a key that is a collection is not text; write it in quotes",
    ]


def test_an_alias_bomb_is_refused_without_being_written_out():
    levels = "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    assert "more than 20000 values once aliases are written out" in refusal("a: &a [1, 2, 3]\n" + levels)


def test_a_ladder_of_aliases_is_refused_before_it_exhausts_the_stack():
    ladder = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60))
    assert "nested deeper than 40 levels" in refusal(ladder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [*x]", "f.yaml:1: alias '*x' stands inside its own anchor; write the value out"),
        ("a: 1\nb: *x", "f.yaml:2: alias '*x' has no anchor '&x' before it"),
        ("a: !!python/name:os.system x", "f.yaml:1: tag 'tag:yaml.org,2002:python/name:os.system' is not read"),
        ("a: !!int '3'", "f.yaml:1: tag 'tag:yaml.org,2002:int' is not read"),
        ("a: 1\n---\nb: 2", "f.yaml:2: a second document starts; keep one document a file"),
        ("%YAML 1.1\n---\na: no", "got another YAML version"),
        ("[" * 100 + "]" * 100, "f.yaml:1: nested deeper than 40 levels"),
        ("a: [1, 2", "f.yaml:1: not valid YAML"),
        ("a: 1\n\tb: 2", "f.yaml:2: not valid YAML"),
        ("a: \x01", "f.yaml:1: not valid YAML"),
        ("a: " + "1" * 5000, "f.yaml:1: number of 5000 digits"),
    ],
)
def test_refusals(text, message):
    assert message in refusal(text)


def test_merge_keys_are_ordinary_keys():
    assert parse_yaml("a: &a {x: 1}\nb:\n  <<: *a\n").data == {"a": {"x": 1}, "b": {"<<": {"x": 1}}}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n"])
def test_empty_text_is_none(text):
    assert parse_yaml(text).data is None


def test_files(tmp_path):
    with pytest.raises(GraphError, match="does not exist; give the path of a YAML file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(GraphError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(GraphError, match="UTF-8"):
        read(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_bytes("\ufeffa: \u00e9\n".encode())
    assert read(tmp_path / "bom.yaml").data == {"a": "\u00e9"}


def random_value(rng, depth=0):
    words = [
        "no",
        "yes",
        "12:30",
        "017",
        "1e-4",
        "1_0",
        "",
        " x",
        "a: b",
        "~",
        "null",
        "#",
        "- a",
        "é",
        "\n",
        "=",
        "<<",
    ]
    words += ["0o7", "0x1", ".inf", ".", "0b1", "2024-01-01", "*a", "&a", "!a", "%", "@", "`", "'", '"', "\t", "a\nb\n"]
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind < 2:
        return rng.choice(words)
    if kind < 6:
        return [
            None,
            rng.random() < 0.5,
            rng.randrange(-99, 99),
            rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300),
        ][kind - 2]
    count = rng.randrange(4)
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(count)]
    return {rng.choice(words) + str(i): random_value(rng, depth + 1) for i in range(count)}


def test_what_is_dumped_reads_back_equal_and_the_same_text():
    rng = random.Random(0)
    for _ in range(200):
        value = {"root": random_value(rng)}
        text = dump(value)
        assert parse_yaml(text).data == value, text
        assert dump(parse_yaml(text).data) == text
    assert not any(line.endswith(" ") for line in dump({"a": {f"key{i}": i for i in range(40)}}).splitlines())
    shared = [1, 2]
    assert "&" not in dump({"a": shared, "b": shared})
    assert parse_yaml(dump({"a": [math.inf, -math.inf]})).data == {"a": [math.inf, -math.inf]}
