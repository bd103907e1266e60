"""What all records share: the base from which each plugin type's record derives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from pydantic import BaseModel
from typing_extensions import TypeVar

__all__ = ["ConfigT", "Record"]

ConfigT = TypeVar("ConfigT", bound=BaseModel, default=Any)
"""The configuration that a record's `build` takes; a record written without it takes any."""


@dataclass(frozen=True, kw_only=True)
class Record(Generic[ConfigT]):
    """What a plugin hands the host; each plugin type has a record of its own, with more fields.

    Fields are only ever added, with defaults, so a record written for this API keeps working.

    Attributes:
        name: ``[a-z][a-z0-9_]*``.
        summary: One line for `molchord plugins list`.
        api: The literal number of the plugin API it was written for.
        config: Its pydantic model.
        build: Makes the plugin of a configuration; what else it takes depends on the type.
        config_version: Raised when old saved configurations no longer validate.
        migrate_config: ``migrate_config(config, from_version)`` for saved configurations of older versions.
        install: What to `pip install` where a library that the plugin needs is missing.
    """

    name: str
    summary: str
    api: int
    config: type[ConfigT]
    build: Callable[..., Any]
    config_version: int = 1
    migrate_config: Callable[[Mapping[str, Any], int], Mapping[str, Any]] | None = None
    install: str = ""
