"""Finding, validating and building a plugin is one function; whatever goes wrong is one sentence."""

import pytest

from molchord.errors import DataError, PluginError
from molchord.host import Host, Use, build, guarded
from molchord.vocabulary import KINDS

SOURCE = """
class Places(Config):
    path: str = "here"
    levels: tuple[int, ...] = (1,)

def place(config):
    if config.path == "nowhere":
        raise OSError("no such place:\\n  nowhere")
    return config

@hookimpl
def molchord_loggers():
    return [LoggerRecord(name="place", summary="fake", api=1, config=Places, build=place)]
"""


@pytest.fixture
def host(site):
    return site.add("lab-loggers", SOURCE).discover()


def said(*arguments, **options):
    with pytest.raises(PluginError) as caught:
        build(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("use", ["place", "lab-loggers:place", Use("Lab_Loggers:place"), {"use": "place"}])
def test_a_name_builds_the_defaults(host, use):
    built = build("logger", use, host=host)
    assert built.plugin.qualified == "lab-loggers:place"
    assert built.it is built.config
    assert built.config.path == "here"


def test_settings_reach_the_plugin(host):
    assert build("logger", Use("place", path="there", levels=(2, 3)), host=host).it.levels == (2, 3)


def test_every_complaint_is_a_line(host):
    assert said("logger", Use("place", pth="x", levels="y"), host=host).splitlines() == [
        "logger 'place': `levels`: got 'y'; expected a list",
        "logger 'place': `pth`: unknown key for logger 'place'; did you mean 'path'?",
    ]


def test_what_is_no_plain_value_is_refused(host):
    assert said("logger", Use("place", path={1, 2}), host=host).startswith("logger 'place': `path`: got {1, 2}; give")


def test_a_configuration_without_a_name_is_refused(host):
    assert said("logger", {"path": "x"}, host=host) == (
        "logger got {'path': 'x'}, which names no plugin; give its name under `use`"
    )


def test_an_unknown_plugin_is_the_hosts_own_sentence(host):
    assert said("logger", "plce", host=host) == "unknown logger 'plce'; did you mean 'place'?"


def test_whatever_a_plugin_raises_names_it(host):
    assert said("logger", Use("place", path="nowhere"), host=host) == (
        "logger 'lab-loggers:place' failed (OSError: no such place: nowhere); change its configuration, or report it "
        "to the authors of lab-loggers"
    )


def test_errors_of_molchord_pass_and_others_keep_their_cause(host):
    plugin = host.find("logger", "place")
    with pytest.raises(DataError, match="^mine$"), guarded(plugin):
        raise DataError("mine")
    with pytest.raises(PluginError) as caught, guarded(plugin):
        raise KeyError("theirs")
    assert isinstance(caught.value.__cause__, KeyError)


def test_arguments_beside_the_configuration_are_handed_on():
    kinds = build("modality", "fingerprint", KINDS[3])
    assert kinds.it.can_read is not None
    assert build("loss", "clip_pairs", ("a", "b"), "a").plugin.dist == "molchord"


def test_the_installed_plugins_are_the_default():
    assert build("loss", "clip_pairs", ("a", "b"), "a").plugin.name == "clip_pairs"
    with pytest.raises(PluginError, match="there are none"):
        build("loss", "clip_pairs", host=Host())


def test_settings_of_an_older_version_are_migrated(site):
    source = SOURCE.replace("build=place)", "build=place, config_version=2, migrate_config=newer)").replace(
        "@hookimpl", "def newer(config, version):\n    return {'path': config['where'] + str(version)}\n\n@hookimpl"
    )
    host = site.add("lab-loggers", source).discover()
    assert build("logger", Use("place", where="attic"), host=host, saved=1).it.path == "attic1"
    assert build("logger", Use("place", path="attic"), host=host, saved=2).it.path == "attic"
    assert said("logger", Use("place", path="attic"), host=host, saved=1) == (
        "logger 'place': version 1 of its configuration cannot be migrated (KeyError: 'where')"
    )
    assert "unknown key" in said("logger", Use("place", where="attic"), host=host)
