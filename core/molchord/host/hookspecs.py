"""The hooks that a plugin may implement; each takes nothing and returns a list of records."""

from __future__ import annotations

import pluggy

from molchord.api import (
    EncoderRecord,
    IndexRecord,
    LoggerRecord,
    LossRecord,
    ModalityRecord,
    RerankerRecord,
    SimulatorRecord,
)

hookspec = pluggy.HookspecMarker("molchord")


@hookspec
def molchord_modalities() -> list[ModalityRecord]:  # type: ignore[empty-body]
    """Return the modalities that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_modalities():
            return [ModalityRecord(name="nmr", summary="NMR peak lists", api=1, ...)]
        ```
    """


@hookspec
def molchord_encoders() -> list[EncoderRecord]:  # type: ignore[empty-body]
    """Return the encoders that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_encoders():
            return [EncoderRecord(name="mlp", summary="multilayer perceptron", api=1, ...)]
        ```
    """


@hookspec
def molchord_losses() -> list[LossRecord]:  # type: ignore[empty-body]
    """Return the losses that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_losses():
            return [LossRecord(name="triplet", summary="triplet margin loss", api=1, ...)]
        ```
    """


@hookspec
def molchord_simulators() -> list[SimulatorRecord]:  # type: ignore[empty-body]
    """Return the simulators that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_simulators():
            return [SimulatorRecord(name="gfn2", summary="harmonic IR and Raman by GFN2-xTB", api=1, ...)]
        ```
    """


@hookspec
def molchord_rerankers() -> list[RerankerRecord]:  # type: ignore[empty-body]
    """Return the re-rankers that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_rerankers():
            return [RerankerRecord(name="rings", summary="rings that the spectrum shows", api=1, ...)]
        ```
    """


@hookspec
def molchord_indexes() -> list[IndexRecord]:  # type: ignore[empty-body]
    """Return the indexes that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_indexes():
            return [IndexRecord(name="trees", summary="random projection trees", api=1, ...)]
        ```
    """


@hookspec
def molchord_loggers() -> list[LoggerRecord]:  # type: ignore[empty-body]
    """Return the loggers that this package provides.

    Example:
        ```python
        @hookimpl
        def molchord_loggers():
            return [LoggerRecord(name="lab_server", summary="the screen in our laboratory", api=1, ...)]
        ```
    """
