"""A new plugin type is one row of the table: everything else follows from it."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from molchord.api import API_VERSION
from molchord.api.record import ConfigT, Record
from molchord.cli.main import main
from molchord.errors import PluginError
from molchord.host import PLUGIN_TYPES, PluginType, build, discovery
from molchord.host.registry import read_registry
from molchord.host.report import plugin_row
from molchord.host.types import hookspecs, type_of
from molchord.testing import check_record


@dataclass(frozen=True, kw_only=True)
class FusionRecord(Record[ConfigT]):
    """The record of a type that is not there yet."""

    asks: tuple[str, ...]
    build: Callable[[ConfigT], Any]


SOURCE = """
from tests.unit.host.test_types import FusionRecord

class Scale(Config):
    factor: float = 1.0

class Acidity:
    def __init__(self, config):
        self.factor = config.factor

def acidity(config):
    import a_library_that_is_nowhere

def broken(config):
    raise RuntimeError("no\\nroom")

def fusion(name, build=Acidity, **changes):
    return FusionRecord(**{**dict(name=name, summary="fake", api=1, config=Scale, build=build, asks=("vector",)), **changes})

@hookimpl
def molchord_fusions():
    return [
        fusion("acidity"), fusion("solubility", acidity, install="lab[solubility]"), fusion("bare", acidity),
        fusion("colour", broken),
    ]
"""


@pytest.fixture
def row(monkeypatch):
    """The one row."""
    row = PluginType(plural="fusions", record=FusionRecord, names=frozenset({"mass"}), kinds="asks")
    monkeypatch.setitem(PLUGIN_TYPES, "fusion", row)
    return row


@pytest.fixture
def host(site, row):
    return site.add("lab", SOURCE).discover()


def test_one_row_makes_the_hook_and_finds_its_plugins(host, row):
    assert host.problems == ()
    assert host.names("fusion") == ["acidity", "bare", "colour", "solubility"]
    assert host.find("fusion", "lab:acidity").record.asks == ("vector",)
    assert row.hook == "molchord_fusions"
    assert row.hook in vars(hookspecs())
    assert type_of(host.find("fusion", "acidity").record) is row


def test_without_the_row_the_hook_is_unknown(site):
    (problem,) = site.add("lab", SOURCE).discover().problems
    assert "implements unknown hook 'molchord_fusions'" in str(problem)


def test_it_is_listed(host, monkeypatch, capsys):
    assert plugin_row(host.find("fusion", "acidity"))["kinds"] == ["vector"]
    monkeypatch.setattr(discovery, "_installed", lambda cwd, extra: host)
    assert main(["plugins", "list", "--json"]) == 0
    assert [entry["type"] for entry in json.loads(capsys.readouterr().out)] == ["fusion"] * 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("name='mass'", "has the reserved name 'mass'; take another name"),
        ("asks=('vectr',)", "has kind 'vectr' in `asks`; did you mean 'vector'?; your own is 'dist:kind'"),
        ("api=2", f"was written for plugin API 2, and this molchord speaks {API_VERSION}; upgrade molchord"),
        ("build=None", "has a `build` that cannot be called; give a function"),
        (
            "sumary='x'",
            "FusionRecord.__init__() got an unexpected keyword argument 'sumary'; did you mean 'summary'?",
        ),
    ],
)
def test_its_records_are_checked(site, row, change, said):
    source = SOURCE.replace('fusion("acidity")', f'fusion(**{{**dict(name="acidity"), **dict({change})}})')
    (problem,) = site.add("lab", source).discover().problems
    assert said in str(problem)


def test_its_hook_returns_its_records_and_no_others(site, row):
    (problem,) = site.add("lab", SOURCE.replace('fusion("acidity")', 'encoder("acidity")')).discover().problems
    assert "put 'EncoderRecord' into the list of hook 'molchord_fusions'; put FusionRecord there" in str(problem)


def test_a_configuration_cannot_have_the_key_that_names_the_plugin(site, row):
    problems = site.add("lab", SOURCE.replace("factor: float", "use: float")).discover().problems
    assert {problem.message for problem in problems} == {
        "has configuration key 'use', which is the engine's in a model graph"
    }


def test_an_unknown_name_is_a_sentence(host):
    with pytest.raises(PluginError, match="^unknown fusion 'acidty'; did you mean 'acidity'\\?$"):
        host.find("fusion", "acidty")


def test_it_is_built_with_its_configuration(host):
    built = build("fusion", {"use": "acidity", "factor": 2}, host=host)
    assert (built.plugin.qualified, built.config.factor, built.it.factor) == ("lab:acidity", 2.0, 2.0)


def test_a_missing_library_is_the_pip_sentence(host):
    def said(name):
        with pytest.raises(PluginError) as caught:
            build("fusion", name, host=host)
        return str(caught.value)

    lack = "cannot be used (No module named 'a_library_that_is_nowhere')"
    assert said("solubility") == f"fusion 'solubility' {lack}; run pip install 'lab[solubility]'"
    assert said("bare") == f"fusion 'bare' {lack}; run pip install 'a_library_that_is_nowhere'"


def test_registry_files_may_name_it(tmp_path, row):
    entry = '[[known]]\ntype = "{}"\nname = "logp"\ndistribution = "lab"\n'
    (tmp_path / "r.toml").write_text(entry.format("fusion"))
    assert read_registry([tmp_path / "r.toml"]).distribution_of("fusion", "logp") == "lab"
    (tmp_path / "r.toml").write_text(entry.format("fuson"))
    with pytest.raises(PluginError, match="unknown plugin type 'fuson'; did you mean 'fusion'"):
        read_registry([tmp_path / "r.toml"])


def test_the_kit_checks_it(host):
    checked = {result.check for result in check_record(host.find("fusion", "acidity").record).results}
    assert {"config_is_strict", "summary_is_one_line"} <= checked


def test_what_is_no_record_of_any_type_is_refused():
    with pytest.raises(TypeError, match="got a 'Namespace', which is not a record of a plugin type"):
        type_of(argparse.Namespace())
