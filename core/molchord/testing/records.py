"""Checks that every record must pass, whatever its type."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from molchord.api import API_VERSION
from molchord.testing.require import require
from molchord.testing.samples import default_config


def name_is_valid(record: Any) -> None:
    """Names reach YAML, the command line and state dicts: ``[a-z][a-z0-9_]*``.

    To mend it: take lower-case letters, digits and `_`, a letter first.
    """
    require(
        re.fullmatch(r"[a-z][a-z0-9_]*", record.name) is not None, f"name {record.name!r} must match [a-z][a-z0-9_]*"
    )


def summary_is_one_line(record: Any) -> None:
    """`molchord plugins list` shows one line per plugin.

    To mend it: describe in one line what the plugin is.
    """
    require(bool(record.summary.strip()), "summary is empty; say in one line what it is")
    require("\n" not in record.summary, "summary has more than one line")


def api_is_current(record: Any) -> None:
    """A record states which plugin API it was written for; the host skips others.

    To mend it: write the literal `api=1`, not an imported constant.
    """
    require(record.api == API_VERSION, f"api is {record.api!r}, this molchord speaks {API_VERSION}")


def import_is_light(record: Any) -> None:
    """Every command imports every plugin package, so one that imports torch or rdkit slows them all.

    To mend it: move imports of torch, rdkit and the like from the package's `__init__.py` into `build`.
    """
    package = record.config.__module__.partition(".")[0]
    done = _imported_alone(package)
    require(done.returncode == 0, f"importing {package!r} failed: {done.stderr.strip().splitlines()[-1:]}")
    require(
        done.stdout.strip() == "[]", f"importing {package!r} imports {done.stdout.strip()}; import them inside `build`"
    )


@cache
def _imported_alone(package: str) -> subprocess.CompletedProcess[str]:
    """Import a package in a process of its own, once for all of its records; it prints what is heavy of its imports."""
    code = f"import sys, {package}; print([m for m in ('torch', 'numpy', 'rdkit') if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def config_is_strict(record: Any) -> None:
    """A typing error in YAML must be an error: frozen, unknown keys refused, every field with a default.

    To mend it: derive the configuration from `molchord.api.Config`, and give every field a default.
    """
    require(issubclass(record.config, BaseModel), "config is not a pydantic model")
    config = record.config()
    require(bool(record.config.model_config.get("frozen")), "config is not frozen; derive it from molchord.api.Config")
    try:
        record.config.model_validate({**config.model_dump(), "no_such_key_": 1})
    except ValidationError:
        return
    raise AssertionError("config accepts an unknown key; set extra='forbid' or derive it from molchord.api.Config")


def config_round_trips(record: Any) -> None:
    """A run saves its configuration as YAML and must read the same back.

    To mend it: keep to fields that YAML knows: numbers, texts, lists, mappings, other configurations.
    """
    from io import StringIO

    from ruamel.yaml import YAML

    config = default_config(record)
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.dump(config.model_dump(mode="json"), text)
    back = record.config.model_validate(yaml.load(text.getvalue()))
    require(back == config, f"config {config!r} comes back from YAML as {back!r}")


CHECKS = (name_is_valid, summary_is_one_line, api_is_current, import_is_light, config_is_strict, config_round_trips)
