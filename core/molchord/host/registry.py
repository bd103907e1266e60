"""The catalogue ``registry.toml``: built-in and known plugins, and which distributions may be loaded.

It guards against accidents and is not a sandbox: an installed plugin is code that runs with the user's rights.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from packaging.utils import canonicalize_name
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from molchord.errors import PluginError, did_you_mean
from molchord.host.types import PLUGIN_TYPES

__all__ = ["BUILTIN", "Builtin", "Known", "Policy", "Registry", "read_registry", "user_file"]

BUILTIN = "molchord"
"""The distribution whose plugins are the built-in ones; no policy keeps it out."""

ENVIRONMENT = "MOLCHORD_REGISTRY"
"""Environment variable with further registry files, set by the flag ``--registry``; child processes see it too."""

ThirdParty: TypeAlias = Literal["allow", "warn", "deny"]
_STRICTNESS: tuple[ThirdParty, ...] = ("allow", "warn", "deny")
_T = TypeVar("_T", bound="_Table")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Policy(_Table):
    """Which third-party distributions may be loaded; names are normalised (``Foo_Nets`` is ``foo-nets``).

    Attributes:
        third_party: Whether distributions named in neither list are loaded, loaded with a warning, or not loaded.
        allow: Distributions loaded without a warning, whatever `third_party` is.
        block: Distributions never loaded.
    """

    third_party: ThirdParty = "allow"
    allow: frozenset[str] = frozenset()
    block: frozenset[str] = frozenset()

    @field_validator("allow", "block", mode="before")
    @classmethod
    def _normalised(cls, names: Any) -> Any:
        if isinstance(names, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in names):
            return frozenset(canonicalize_name(name) for name in names)
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Policy:
        both = sorted(self.allow & self.block)
        if both:
            raise ValueError(f"distribution {both[0]!r} stands in both `allow` and `block`; remove it from one")
        if BUILTIN in self.block:
            raise ValueError(f"distribution {BUILTIN!r} holds the built-in plugins and cannot be blocked; remove it")
        return self

    def verdict(self, distribution: str) -> ThirdParty:
        """Return whether a distribution is loaded ("allow"), loaded with a warning ("warn") or not loaded ("deny").

        Example:
            >>> Policy(third_party="warn", block={"foo-nets"}).verdict("Foo_Nets")
            'deny'
        """
        name = canonicalize_name(distribution)
        if name == BUILTIN or name in self.allow:
            return "allow"
        return "deny" if name in self.block else self.third_party


def _known_type(type: str) -> str:
    if type not in PLUGIN_TYPES:
        raise ValueError(f"unknown plugin type {type!r}; {did_you_mean(type, PLUGIN_TYPES)}")
    return type


PluginWord: TypeAlias = Annotated[str, AfterValidator(_known_type)]


class Builtin(_Table):
    """A plugin that this distribution provides."""

    type: PluginWord
    name: str


class Known(_Table):
    """A plugin of a published distribution that this project controls."""

    type: PluginWord
    name: str
    distribution: str


class _Knowing(_Table):
    """The part of a file that lists which distributions provide plugins."""

    known: tuple[Known, ...] = ()


class Registry(_Table):
    """The shipped catalogue with the policy that applies here.

    Attributes:
        api: Plugin API version.
        policy: The policy after every file has been applied.
        builtin: Built-in plugins.
        known: Plugins to name when a graph asks for them and they are not installed.
        warnings: Sentences about attempts of the working directory's file to loosen the policy, which are ignored.
    """

    api: int
    policy: Policy = Policy()
    builtin: tuple[Builtin, ...] = ()
    known: tuple[Known, ...] = ()
    warnings: tuple[str, ...] = ()

    def distribution_of(self, type: str, name: str) -> str | None:
        """Return the distribution known to provide a plugin, or None."""
        if any(entry.type == type and entry.name == name for entry in self.builtin):
            return BUILTIN
        return next((k.distribution for k in self.known if k.type == type and k.name == name), None)


def user_file() -> Path:
    """Return where the user's own registry file is searched for."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "molchord" / "registry.toml"


def read_registry(extra: Sequence[str | Path] | None = None, cwd: str | Path | None = None) -> Registry:
    """Read the shipped registry and apply, in this order, the user's file, the working directory's and further ones.

    A later file's word on a distribution or on `third_party` replaces an earlier one's, except that the file in the
    working directory may only tighten. The user's and further ones may name plugins as ``[[known]]`` too.

    Args:
        extra: Files that have the last word; None: those of the environment variable ``MOLCHORD_REGISTRY``.
        cwd: Working directory; None: the process's.

    Raises:
        PluginError: A file is missing, not TOML, or holds unknown keys or values.

    Example:
        >>> read_registry(extra=[]).api
        1
    """
    shipped = resources.files("molchord") / "registry.toml"
    with resources.as_file(shipped) as path:
        base = _validated(Registry, _tables(path), path)
        here = _extended(base, user_file()) if user_file().is_file() else base
        policy, warnings = here.policy, list[str]()
        local = Path(cwd or Path.cwd()) / "registry.toml"
        # In a checkout of this project the shipped file itself is in the working directory.
        if local.is_file() and not local.samefile(path):
            policy, warnings = _tightened(policy, _policy(_tables(local), local, tuple(Registry.model_fields)), local)
    here = here.model_copy(update={"policy": policy, "warnings": tuple(warnings)})
    if extra is None:
        extra = [name for name in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if name]
    for name in extra:
        here = _extended(here, Path(name))
    return here


def _extended(earlier: Registry, path: Path) -> Registry:
    """Apply what the user's own file or a further one specifies; its known plugins come before earlier ones."""
    tables = _tables(path)
    policy = _merged(earlier.policy, _policy(tables, path, ("policy", "known")))
    known = _validated(_Knowing, {key: value for key, value in tables.items() if key == "known"}, path).known
    return earlier.model_copy(update={"policy": policy, "known": known + earlier.known})


def _tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"registry file {str(path)!r} cannot be read: {error}; give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise PluginError(f"registry file {str(path)!r} is not valid TOML: {error}") from error
    # TOML has arrays; the models hold tuples.
    return {key: tuple(value) if isinstance(value, list) else value for key, value in tables.items()}


def _validated(model: type[_T], tables: Mapping[str, Any], path: Path, table: str = "") -> _T:
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        raise PluginError("; ".join(_sentences(model, error, path, table))) from None


def _sentences(model: type[_Table], error: ValidationError, path: Path, table: str) -> Iterator[str]:
    for item in error.errors(include_url=False):
        where = f"{path}: {'.'.join((table, *map(str, item['loc']))).strip('.')}: "
        if item["type"] == "extra_forbidden":
            fields = Known.model_fields if "known" in item["loc"][:-1] else model.model_fields
            yield where + f"unknown key; {did_you_mean(str(item['loc'][-1]), fields)}"
        elif item["type"] == "literal_error":
            yield where + f"got {item['input']!r}; {did_you_mean(str(item['input']), _STRICTNESS)}"
        else:
            message = item["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
            yield where + message.replace("a valid frozenset", "a list of names")


def _policy(tables: Mapping[str, Any], path: Path, allowed: Sequence[str]) -> Policy:
    for key in tables:
        if key not in allowed:
            raise PluginError(f"{path}: unknown table {key!r}; {did_you_mean(key, sorted(allowed))}")
    policy = tables.get("policy", {})
    if not isinstance(policy, dict):
        raise PluginError(f"{path}: policy: got {policy!r}; expected a table, write '[policy]' above its keys")
    return _validated(Policy, policy, path, "policy")


def _merged(earlier: Policy, later: Policy) -> Policy:
    return Policy(
        third_party=later.third_party if "third_party" in later.model_fields_set else earlier.third_party,
        allow=(earlier.allow - later.block) | later.allow,
        block=(earlier.block - later.allow) | later.block,
    )


def _tightened(policy: Policy, local: Policy, path: Path) -> tuple[Policy, list[str]]:
    loosened = []
    third_party = policy.third_party
    if "third_party" in local.model_fields_set:
        if _STRICTNESS.index(local.third_party) < _STRICTNESS.index(third_party):
            loosened.append(f"third_party: {local.third_party!r} would loosen {third_party!r}")
        else:
            third_party = local.third_party
    loosened += [f"allow: {name!r} would be let in" for name in sorted(local.allow) if policy.verdict(name) != "allow"]
    warnings = [
        f"{path}: policy.{what} and is ignored, since a file in the working directory may only tighten; "
        f"say it in {str(user_file())!r}"
        for what in loosened
    ]
    tight = Policy(third_party=third_party, allow=policy.allow - local.block, block=policy.block | local.block)
    return tight, warnings
