"""The plugin host against fake distributions on disk: each failure is a problem, and the rest go on."""

import os
import re
import sys

import pytest

from molchord.api import ModalityRecord
from molchord.errors import PluginError
from molchord.host import PLUGIN_TYPES, Host, installed
from molchord.host.registry import Policy
from molchord.host.report import heavy_imports, plugin_row

OK = "@hookimpl\ndef molchord_modalities():\n    return [modality('nmr')]\n"


def only(host):
    assert len(host.problems) == 1, [str(problem) for problem in host.problems]
    return str(host.problems[0])


def test_hook_modalities_with_a_good_distribution(site):
    host = site.add("Molchord_NMR", OK, version="0.3", module="nmr_plugin").discover()
    assert host.problems == host.blocked == host.warnings == ()
    plugin = host.find("modality", "nmr")
    assert (plugin.qualified, plugin.version, plugin.name) == ("molchord-nmr:nmr", "0.3", "nmr")
    assert isinstance(plugin.record, ModalityRecord)
    assert host.find("modality", "Molchord.NMR:nmr") is plugin


def test_hooks_encoders_and_losses(site):
    source = """
        @hookimpl
        def molchord_encoders():
            return [encoder("tiny")]

        @hookimpl
        def molchord_losses():
            return (LossRecord(name="zero", summary="fake", api=1, config=Config, build=lambda c, m, k: None),)
    """
    host = site.add("two", source).discover()
    assert [(p.type, p.name) for p in host.plugins] == [("encoder", "tiny"), ("loss", "zero")]
    assert plugin_row(host.plugins[0])["kinds"] == ["vector"]
    assert plugin_row(host.plugins[1])["kinds"] == []


# Each source is broken in one way; its docstring is the problem. The good encoder beside it must stay usable.
def import_error():
    """plugin 'nmr' (broken 1.0) failed to import: No module named 'nmrglue_missing'; run 'pip install nmrglue_missing'"""
    return "import nmrglue_missing.core\n" + OK


def syntax_error():
    """plugin 'nmr' (broken 1.0) failed to import: SyntaxError: '(' was never closed (broken.py, line N); repair or uninstall broken"""
    return "x = (\n"


def exit_at_import():
    """plugin 'nmr' (broken 1.0) failed to import: SystemExit: 3; repair or uninstall broken"""
    return "raise SystemExit(3)\n"


def interrupt_at_import():
    """plugin 'nmr' (broken 1.0) failed to import: KeyboardInterrupt; repair or uninstall broken"""
    return "raise KeyboardInterrupt\n"


def generator_exit_at_import():
    """plugin 'nmr' (broken 1.0) failed to import: GeneratorExit: over; repair or uninstall broken"""
    return "raise GeneratorExit('over')\n"


def interrupting_hook():
    """plugin 'nmr' (broken 1.0) failed in hook 'molchord_modalities': KeyboardInterrupt; repair broken"""
    return OK.replace("return [modality('nmr')]", "raise KeyboardInterrupt")


def own_base_exception_at_import():
    """plugin 'nmr' (broken 1.0) failed to import: Own: x; repair or uninstall broken"""
    return "class Own(BaseException): ...\nraise Own('x')\n"


def misspelt_hook():
    """plugin 'nmr' (broken 1.0) implements unknown hook 'molchord_modalites'; did you mean 'molchord_modalities'?"""
    return OK.replace("modalities", "modalites")


def unmarked_hook():
    """plugin 'nmr' (broken 1.0) defines 'molchord_modalities' without marking it; put '@hookimpl' above it"""
    return OK.replace("@hookimpl\n", "")


def no_hook():
    """plugin 'nmr' (broken 1.0) implements no hook; define one of molchord_encoders, molchord_indexes, molchord_loggers, molchord_losses, molchord_modalities, molchord_properties, molchord_rerankers, molchord_simulators, marked '@hookimpl'"""
    return "x = 1\n"


def bad_signature():
    """plugin 'nmr' (broken 1.0) has hook 'molchord_modalities' with a bad signature: takes 'host'; hooks take no arguments"""
    return OK.replace("molchord_modalities()", "molchord_modalities(host)")


def generator_hook():
    """plugin 'nmr' (broken 1.0) has a generator as hook 'molchord_modalities'; return a list instead of using 'yield'"""
    return OK.replace("return [modality('nmr')]", "yield modality('nmr')")


def raising_hook():
    """plugin 'nmr' (broken 1.0) failed in hook 'molchord_modalities': ZeroDivisionError: division by zero; repair broken"""
    return OK.replace("[modality('nmr')]", "1 / 0")


def unknown_record_field():
    """plugin 'nmr' (broken 1.0) failed in hook 'molchord_modalities': TypeError: ModalityRecord.__init__() got an unexpected keyword argument 'sumary'; did you mean 'summary'? (molchord here speaks plugin API 1)"""
    return OK.replace("'nmr'", "'nmr', sumary='x'")


def missing_record_field():
    """plugin 'nmr' (broken 1.0) failed in hook 'molchord_modalities': TypeError: LossRecord.__init__() missing 1 required keyword-only argument: 'build'; repair broken"""
    return OK.replace("modality('nmr')", "LossRecord(name='a', summary='b', api=1, config=Config)")


def record_alone():
    """plugin 'nmr' (broken 1.0) returned 'ModalityRecord' from hook 'molchord_modalities'; return a list of ModalityRecord"""
    return OK.replace("[modality('nmr')]", "modality('nmr')")


def wrong_record():
    """plugin 'nmr' (broken 1.0) put 'EncoderRecord' into the list of hook 'molchord_modalities'; put ModalityRecord there"""
    return OK.replace("modality('nmr')", "encoder('nmr')")


def newer_api():
    """plugin 'nmr' (broken 1.0) was written for plugin API 2, and this molchord speaks 1; upgrade molchord"""
    return OK.replace("'nmr'", "'nmr', api=2")


def older_api():
    """plugin 'nmr' (broken 1.0) was written for plugin API 0, and this molchord speaks 1; upgrade the plugin"""
    return OK.replace("'nmr'", "'nmr', api=0")


def bad_name():
    """plugin 'NMR-1' (broken 1.0) has the name 'NMR-1'; take lower-case letters, digits and '_', a letter first"""
    return OK.replace("'nmr'", "'NMR-1'")


def reserved_name():
    """plugin 'mass' (broken 1.0) has the reserved name 'mass'; take another name"""
    return OK.replace("'nmr'", "'mass'")


def empty_summary():
    """plugin 'nmr' (broken 1.0) has an empty `summary`; say in one line what it is"""
    return OK.replace("'nmr'", "'nmr', summary=' '")


def not_callable():
    """plugin 'nmr' (broken 1.0) has a `build` that cannot be called; give a function"""
    return OK.replace("'nmr'", "'nmr', build=None")


def misspelt_kind():
    """plugin 'nmr' (broken 1.0) has kind 'peak' in `kinds`; did you mean 'peaks'?; your own is 'dist:kind'"""
    return OK.replace("'nmr'", "'nmr', kinds=('peak',)")


def text_for_kinds():
    """plugin 'nmr' (broken 1.0) has `kinds` 'peaks'; give a tuple of one kind or more"""
    return OK.replace("'nmr'", "'nmr', kinds='peaks'")


def bad_stores():
    """plugin 'nmr' (broken 1.0) has `stores` {}; give a 'molchord.api.Stores'"""
    return OK.replace("'nmr'", "'nmr', stores={}")


def loose_config():
    """plugin 'nmr' (broken 1.0) has a `config` Loose that is not frozen with extra='forbid'; derive it from 'Config'"""
    return "import pydantic\nclass Loose(pydantic.BaseModel): pass\n" + OK.replace("'nmr'", "'nmr', config=Loose")


def config_that_is_no_model():
    """plugin 'nmr' (broken 1.0) has `config` <class 'dict'>, which is not a pydantic model; derive it from 'molchord.api.Config'"""
    return OK.replace("'nmr'", "'nmr', config=dict")


def config_with_an_engine_key():
    """plugin 'nmr' (broken 1.0) has configuration key 'where', which is the engine's in a model graph; rename the field"""
    return "class Mine(Config):\n    where: int = 1\n" + OK.replace("'nmr'", "'nmr', config=Mine")


def config_without_a_default():
    """plugin 'nmr' (broken 1.0) has a `config` without a default for 'points'; give every field a default"""
    return "class Mine(Config):\n    points: int\n" + OK.replace("'nmr'", "'nmr', config=Mine")


def same_name_twice():
    """plugin 'nmr' (broken 1.0) provides modality 'nmr' twice; rename one in broken"""
    return OK.replace("[modality('nmr')]", "[modality('nmr'), modality('nmr', summary='other')]")


BROKEN = [
    interrupt_at_import, generator_exit_at_import, interrupting_hook, own_base_exception_at_import,
    import_error, syntax_error, exit_at_import, misspelt_hook, unmarked_hook, no_hook, bad_signature, generator_hook,
    raising_hook, unknown_record_field, missing_record_field, record_alone, wrong_record, newer_api, older_api, bad_name,
    reserved_name, empty_summary, not_callable, misspelt_kind, text_for_kinds, bad_stores, loose_config,
    config_that_is_no_model, config_with_an_engine_key, config_without_a_default, same_name_twice,
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda f: f.__name__)
def test_a_broken_plugin_is_one_problem_and_the_rest_go_on(site, broken):
    good = "@hookimpl\ndef molchord_encoders():\n    return [encoder('good')]\n"
    host = site.add("broken", broken()).add("zzz", good, entry="enc").discover()
    assert re.sub(r"line \d+", "line N", only(host)) == broken.__doc__
    assert host.find("encoder", "zzz:good").dist == "zzz"
    if broken in (import_error, generator_hook, newer_api):  # asking for what failed shows the failure
        with pytest.raises(PluginError) as caught:
            host.find("modality", "nmr")
        assert str(caught.value) == f"modality 'nmr' is not there: {broken.__doc__}"


def test_one_bad_hook_does_not_take_its_neighbours_along(site):
    source = (
        OK + "@hookimpl\ndef molchord_encoders(x):\n    return []\n@hookimpl\ndef molchord_losses():\n    return 3\n"
    )
    host = site.add("mixed", source).discover()
    assert host.find("modality", "nmr").dist == "mixed"
    assert [problem.stage for problem in host.problems] == ["hook", "hook"]


def test_one_bad_record_does_not_take_its_neighbours_along(site):
    host = site.add("mixed", OK.replace("[modality", "[modality('k'), 5, modality")).discover()
    assert [plugin.name for plugin in host.plugins] == ["nmr"]
    assert [problem.stage for problem in host.problems] == ["record", "record"]


def test_a_module_that_raises_when_it_is_looked_at(site):
    source = "def __dir__():\n    raise RuntimeError('no')\n" + OK
    assert "cannot be searched for hooks: RuntimeError: no" in only(site.add("shy", source).discover())


def test_the_own_module_missing_means_reinstall(site):
    host = site.add("gone", OK, value="gone_module").discover()
    assert only(host) == "plugin 'nmr' (gone 1.0) failed to import: No module named 'gone_module'; reinstall gone"


def test_two_outsiders_share_a_name(site):
    host = site.add("foo-nets", OK, version="2.0").add("bar-nets", OK).discover()
    with pytest.raises(PluginError) as caught:
        host.find("modality", "nmr")
    assert str(caught.value) == (
        "modality 'nmr' is provided by bar-nets 1.0 and foo-nets 2.0; "
        "write 'bar-nets:nmr' or block one in registry.toml"
    )
    assert host.find("modality", "foo-nets:nmr").version == "2.0"
    assert site.discover(Policy(block=["Foo.Nets"])).find("modality", "nmr").dist == "bar-nets"


def test_a_builtin_wins_over_an_outsider_with_a_warning(site):
    # Named like the built-in distribution, installed in a folder of its own.
    host = site.add("molchord", OK, module="fake_builtin").add("aaa", OK).discover()
    assert host.find("modality", "nmr").dist == "molchord"
    assert host.find("modality", "aaa:nmr").dist == "aaa"
    assert host.problems == ()
    assert host.warnings == (
        "modality 'nmr' of aaa 1.0 has the name of a built-in one, which wins; write 'aaa:nmr' to use it",
    )


def test_one_distribution_found_twice_counts_once(site, tmp_path):
    site.add("Foo_Nets", OK, module="foo").add("foo-nets", OK, module="foo", folder=tmp_path / "other")
    assert [plugin.qualified for plugin in site.discover().plugins] == ["foo-nets:nmr"]
    assert site.discover().problems == ()


def test_one_entry_point_declared_twice_with_two_modules_is_a_problem(site, tmp_path):
    site.add("foo", OK, module="foo_a").add("foo", OK, module="foo_b", folder=tmp_path / "other")
    assert only(site.discover()) == "plugin 'nmr' (foo 1.0) is declared twice, as 'foo_a' and 'foo_b'; reinstall foo"


def test_the_order_of_discovery_does_not_matter(site):
    site.add("b-nets", OK).add("a-nets", OK).add("c-nets", raising_hook())
    entry_points = site.entry_points()
    hosts = [Host.discover(entry_points=order) for order in (entry_points, entry_points[::-1])]
    first, second = (([p.qualified for p in host.plugins], host.problems, host.warnings) for host in hosts)
    assert first == second


@pytest.mark.parametrize("policy", [Policy(third_party="deny"), Policy(block=["bad-nets"])])
def test_what_the_policy_keeps_out_is_never_imported(site, policy):
    host = site.add("bad-nets", "raise RuntimeError('imported')\n").discover(policy)
    assert "bad_nets" not in sys.modules
    assert host.plugins == host.problems == host.entry_points == ()
    assert str(host.blocked[0]).startswith("plugin 'nmr' (bad-nets 1.0) is kept out by the policy; add 'bad-nets' to")
    with pytest.raises(PluginError, match=r"modality 'nmr' is not there: plugin 'nmr' .* is kept out by the policy"):
        host.find("modality", "nmr")


def test_warn_names_each_distribution_once_unless_it_is_allowed(site):
    site.add("new-nets", OK).add("new-nets", OK, entry="again", module="again").add("old-nets", OK)
    host = site.discover(Policy(third_party="warn", allow=["old-nets"]))
    assert [w.partition(";")[0] for w in host.warnings] == ["distribution 'new-nets' 1.0 is third-party code"]


def test_the_policy_of_the_registry_files_applies_when_none_is_given(site, tmp_path):
    (tmp_path / "registry.toml").write_text("[policy]\nblock = ['foo']\n")
    assert len(site.add("foo", OK).discover().blocked) == 1


def test_unknown_names(site, tmp_path):
    user = tmp_path / "config" / "molchord" / "registry.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[[known]]\ntype = "modality"\nname = "ems"\ndistribution = "molchord-ems"\n')
    host = site.add("foo", OK.replace("'nmr'", "'neutron'")).discover()

    def message(type, name):
        with pytest.raises(PluginError) as caught:
            host.find(type, name)
        return str(caught.value)

    assert message("modality", "neutrn") == "unknown modality 'neutrn'; did you mean 'neutron'?"
    assert message("modality", "xyz") == "unknown modality 'xyz'; allowed: 'neutron'"
    assert message("modality", "ems") == (
        "unknown modality 'ems': provided by molchord-ems, run 'pip install molchord-ems'"
    )
    assert message("encoder", "neutron") == "unknown encoder 'neutron'; there are none"
    assert message("modality", "bar:neutron") == (
        "modality 'bar:neutron' needs distribution 'bar', which is not installed; run 'pip install bar' if you trust it"
    )
    assert message("modality", "foo:neutrn") == "unknown modality 'foo:neutrn'; did you mean 'foo:neutron'?"


def test_an_unknown_name_mentions_what_did_not_load(site):
    host = site.add("lab-things", import_error(), entry="things").discover()
    with pytest.raises(PluginError, match=r"unknown modality 'afm'; there are none; not loaded: plugin 'things'"):
        host.find("modality", "afm")


def test_an_outside_package_that_imports_torch_is_named(site, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch.py").write_text("")  # stands in for the real one, which takes seconds to import
    host = site.add("heavy", "import torch\n" + OK).add("light", OK.replace("'nmr'", "'neutron'")).discover()
    assert host.problems == ()
    assert [str(problem) for problem in heavy_imports(host)] == [
        "plugin 'nmr' (heavy 1.0) imports torch when it is found, which slows every command; import it inside `build`"
    ]


def test_the_installed_host_is_found_once_and_knows_the_builtins(site):
    assert installed() is installed()
    assert {plugin.type for plugin in installed().plugins} <= set(PLUGIN_TYPES)
    assert installed().find("encoder", "molchord:mlp").dist == "molchord"


def test_a_package_that_imports_only_here_or_never_ends_is_named(site, monkeypatch):
    only_here = "import os\nif os.getpid() != " + str(os.getpid()) + ":\n    raise RuntimeError('elsewhere')\n"
    host = site.add("fickle", only_here + OK).discover()
    assert [str(problem) for problem in heavy_imports(host)] == [
        "plugin 'nmr' (fickle 1.0) failed to import in a process of its own: RuntimeError: elsewhere; "
        "repair or uninstall fickle"
    ]
    monkeypatch.setattr("molchord.host.report.TIMEOUT", 0.0)
    assert "takes more than 0.0 s to import" in str(next(heavy_imports(host)))


def test_what_a_plugin_prints_is_no_part_of_a_commands_output(site, capsys):
    hook = OK.replace("    return", "    print('from the hook')\n    return")
    host = site.add("loud", "print('at import')\n" + hook).discover()
    assert [plugin.name for plugin in host.plugins] == ["nmr"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "at import" in said.err
    assert "from the hook" in said.err


def test_ctrl_c_while_a_plugin_is_imported_ends_the_program(site):
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n" + OK
    with pytest.raises(KeyboardInterrupt):
        site.add("slow", source).discover()
