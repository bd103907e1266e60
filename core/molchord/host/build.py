"""Finds a plugin, validates its configuration and builds it; whatever it raises becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from molchord.complaints import Complaint, dotted, plain, validate
from molchord.errors import MolchordError, PluginError
from molchord.host.collector import Plugin
from molchord.host.discovery import Host, installed

__all__ = ["Built", "Use", "build", "configured", "guarded", "migrated"]


class Use(dict[str, Any]):
    """A plugin with its configuration.

    Example:
        >>> Use("resnet1d", width=96)
        {'use': 'resnet1d', 'width': 96}
    """

    def __init__(self, use: str, /, **config: Any) -> None:
        super().__init__(use=use, **config)


@dataclass(frozen=True)
class Built:
    """A plugin ready to work.

    Attributes:
        plugin: The plugin.
        config: Its configuration, with every default.
        it: What its record's `build` returned.
    """

    plugin: Plugin
    config: BaseModel
    it: Any


def build(
    type: str, use: str | Mapping[str, Any], *arguments: Any, host: Host | None = None, saved: int | None = None
) -> Built:
    """Find a plugin, validate its configuration and build it.

    Args:
        type: Its type, such as ``"logger"``.
        use: Its name, bare or ``dist:name``, or a `Use` with its configuration.
        arguments: What the `build` of this type's records takes besides the configuration.
        host: Plugins to use; None: those installed.
        saved: Version of the configuration when it was saved; None: it is not a saved one.

    Raises:
        PluginError: There is no such plugin, its configuration is wrong, a library that it needs is missing, or it
            fails.

    Example:
        >>> build("loss", Use("all_pairs"), ("structure", "ir"), "structure").plugin.qualified
        'molchord:all_pairs'
    """
    given: dict[str, Any] = {"use": use} if isinstance(use, str) else {**use}
    name = given.pop("use", None)
    if not isinstance(name, str):
        raise PluginError(f"{type} got {use!r}, which names no plugin; give its name under `use`")
    plugin = (installed() if host is None else host).find(type, name)
    config = configured(plugin, given, saved)
    with guarded(plugin):
        return Built(plugin, config, plugin.record.build(config, *arguments))


def configured(plugin: Plugin, given: Mapping[str, Any], saved: int | None = None) -> BaseModel:
    """Return a plugin's configuration of the settings given; every complaint is a line of the error.

    Raises:
        PluginError: A setting is unknown or wrong, or an older version's settings cannot be migrated.
    """
    owner = f"{plugin.type} {plugin.name!r}"
    data, complaints = plain(given)
    if not complaints and saved is not None:
        data, complaints = migrated(plugin, data, saved)
    config: BaseModel | None = None
    if not complaints:
        config, complaints = validate(plugin.record.config, data, owner)
    if config is None:
        lines = [
            f"{owner}: `{dotted(where)}`: {message}" if where else f"{owner}: {message}"
            for where, message in complaints
        ]
        raise PluginError("\n".join(lines))
    return config


def migrated(plugin: Plugin, config: Mapping[str, Any], saved: int) -> tuple[Any, list[Complaint]]:
    """Return settings that an older version saved as those of today's, with what the plugin raised at that."""
    record = plugin.record
    if saved >= record.config_version or record.migrate_config is None:
        return config, []
    try:
        return plain(record.migrate_config(config, saved))
    except Exception as error:  # a plugin may raise anything
        return {}, [((), f"version {saved} of its configuration cannot be migrated ({type(error).__name__}: {error})")]


@contextmanager
def guarded(plugin: Plugin) -> Iterator[None]:
    """Turn whatever a plugin raises into one sentence; errors that are molchord's own pass.

    Raises:
        PluginError: The plugin raised.

    Example:
        >>> from molchord.host.discovery import installed
        >>> try:
        ...     with guarded(installed().find("encoder", "mlp")):
        ...         print(1 / 0)
        ... except PluginError as error:
        ...     print(str(error).partition(";")[0])
        encoder 'molchord:mlp' failed (ZeroDivisionError: division by zero)
    """
    try:
        yield
    except MolchordError:
        raise
    except ImportError as error:
        what = plugin.record.install or (error.name or plugin.dist).partition(".")[0]
        raise PluginError(
            f"{plugin.type} {plugin.name!r} cannot be used ({error}); run pip install {what!r}"
        ) from error
    except Exception as error:  # a plugin may raise anything
        text = " ".join(f"{type(error).__name__}: {error}".split())
        advice = f"change its configuration, or report it to the authors of {plugin.dist}"
        raise PluginError(f"{plugin.type} {plugin.qualified!r} failed ({text}); {advice}") from error
