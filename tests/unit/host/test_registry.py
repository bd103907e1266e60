"""The catalogue and the policy: who has the last word, and what a working directory cannot do."""

from pathlib import Path

import pytest

from molchord.api import API_VERSION
from molchord.errors import PluginError
from molchord.host import installed, registry
from molchord.host.registry import Policy, read_registry


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the user's file (`user`), the working directory's (`cwd`) or any other one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(registry.ENVIRONMENT, raising=False)
    places = {"user": tmp_path / "config" / "molchord" / "registry.toml", "cwd": tmp_path / "cwd" / "registry.toml"}
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def write(place, text):
        path = places.get(place, tmp_path / f"{place}.toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_the_shipped_file_speaks_this_plugin_api_and_allows_third_parties(files):
    shipped = read_registry()
    assert shipped.api == API_VERSION
    assert shipped.policy == Policy()
    assert shipped.known == ()  # no package of this project is published beside it
    assert shipped.distribution_of("encoder", "gine") == "molchord"
    assert shipped.distribution_of("modality", "gine") is None


def known(distribution):
    return f'[[known]]\ntype = "modality"\nname = "nmr"\ndistribution = "{distribution}"\n'


def test_a_user_file_and_further_files_may_name_known_plugins(files):
    files("user", known("users-nmr"))
    assert read_registry().distribution_of("modality", "nmr") == "users-nmr"
    assert read_registry().distribution_of("encoder", "nmr") is None
    assert read_registry(extra=[files("extra", known("other-nmr"))]).distribution_of("modality", "nmr") == "other-nmr"


def test_a_file_in_the_working_directory_cannot_name_what_to_install(files):
    files("cwd", known("forged-nmr"))
    assert read_registry().distribution_of("modality", "nmr") is None


def test_the_shipped_file_lists_the_builtins_that_are_found_and_no_others():
    found = {(p.type, p.name) for p in installed().plugins if p.dist == registry.BUILTIN}
    assert found == {(entry.type, entry.name) for entry in read_registry().builtin}


def test_a_user_file_then_further_files_replace_what_was_said(files, monkeypatch):
    files("user", '[policy]\nthird_party = "deny"\nallow = ["Foo_Nets"]\nblock = ["bad"]\n')
    assert read_registry().policy == Policy(third_party="deny", allow={"foo-nets"}, block={"bad"})
    extra = files("extra", '[policy]\nallow = ["BAD"]\nblock = ["foo.nets"]\n')
    assert read_registry(extra=[extra]).policy == Policy(third_party="deny", allow={"bad"}, block={"foo-nets"})
    monkeypatch.setenv(registry.ENVIRONMENT, str(extra))
    assert read_registry().policy.block == {"foo-nets"}
    assert read_registry(extra=[]).policy.block == {"bad"}


def test_a_file_in_the_working_directory_may_tighten(files):
    files("cwd", '[policy]\nthird_party = "warn"\nblock = ["foo"]\n')
    here = read_registry()
    assert here.policy == Policy(third_party="warn", block={"foo"})
    assert here.warnings == ()


def test_a_file_in_the_working_directory_cannot_loosen(files):
    files("user", '[policy]\nthird_party = "deny"\nallow = ["good"]\nblock = ["bad"]\n')
    path = files("cwd", '[policy]\nthird_party = "allow"\nallow = ["bad", "good", "new"]\n')
    here = read_registry()
    assert here.policy == Policy(third_party="deny", allow={"good"}, block={"bad"})
    assert [w.split(" and is ignored")[0] for w in here.warnings] == [
        f"{path}: policy.third_party: 'allow' would loosen 'deny'",
        f"{path}: policy.allow: 'bad' would be let in",
        f"{path}: policy.allow: 'new' would be let in",
    ]


def test_a_working_directory_may_take_back_what_the_user_allowed(files):
    files("user", '[policy]\nallow = ["good"]\n')
    files("cwd", '[policy]\nblock = ["good"]\n')
    assert read_registry().policy == Policy(block={"good"})


def test_a_copy_of_the_whole_catalogue_in_the_working_directory_only_brings_its_policy(files):
    shipped = (Path(registry.__file__).parents[1] / "registry.toml").read_text()
    files("cwd", shipped.replace('name = "structure"', 'name = "forged"'))
    assert "forged" not in {entry.name for entry in read_registry().builtin}
    assert read_registry().warnings == ()


@pytest.mark.parametrize(
    ("policy", "name", "verdict"),
    [
        (Policy(), "x", "allow"),
        (Policy(third_party="warn"), "x", "warn"),
        (Policy(third_party="warn", allow=["X"]), "x", "allow"),
        (Policy(third_party="deny"), "x", "deny"),
        (Policy(third_party="deny", allow=["a-b"]), "A__b", "allow"),
        (Policy(block=["a-b"]), "a.b", "deny"),
        (Policy(third_party="deny"), "molchord", "allow"),
    ],
)
def test_verdicts(policy, name, verdict):
    assert policy.verdict(name) == verdict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[policy]\nthird_party = 'denny'", "third_party: got 'denny'; did you mean 'deny'?"),
        ("[policy]\nthirdparty = 'deny'", "thirdparty: unknown key; did you mean 'third_party'?"),
        ("[policy]\nblock = 'foo'", "policy.block: expected a list of names"),
        ("[policy]\nblock = [1]", "policy.block"),
        ("[policy]\nallow = ['a']\nblock = ['A']", "distribution 'a' stands in both `allow` and `block`; remove it"),
        ("[policy]\nblock = ['molchord']", "holds the built-in plugins and cannot be blocked"),
        ("policy = 3", "policy: got 3; expected a table"),
        ("[[builtin]]\ntype='modality'\nname='x'", "unknown table 'builtin'; allowed: "),
        ("[[known]]\ntype='modality'\nname='x'", "known.0.distribution: "),
        ("[[known]]\ntype='modality'\nname='x'\ndistributoin='y'", "unknown key; did you mean 'distribution'?"),
        ("known = 3", "known: "),
        ("[policy", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(files, text, message):
    path = files("user", text)
    with pytest.raises(PluginError) as caught:
        read_registry()
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_that_was_asked_for_is_an_error(files, tmp_path):
    with pytest.raises(PluginError, match="cannot be read"):
        read_registry(extra=[tmp_path / "none.toml"])
