"""Running checks: one by one, all of them, with strict expected failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

from molchord.api import (
    EncoderRecord,
    IndexRecord,
    LoggerRecord,
    LossRecord,
    ModalityRecord,
    PropertyRecord,
    RerankerRecord,
    SimulatorRecord,
)
from molchord.api.record import Record
from molchord.host.types import type_of

Check: TypeAlias = Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outcome of one check: `failure` is empty where the plugin behaves; `expected` is why it may fail."""

    check: str
    failure: str = ""
    expected: str = ""

    @property
    def ok(self) -> bool:
        """True where the check passed, or failed as expected."""
        return bool(self.failure) == bool(self.expected)

    def __str__(self) -> str:
        if self.expected and not self.failure:
            return f"{self.check}: passed, though expected to fail ({self.expected}); take it off `expected_failures`"
        if self.failure:
            return f"{self.check}: {'expected failure' if self.expected else 'FAILED'}: {self.failure}"
        return f"{self.check}: ok"


@dataclass(frozen=True, kw_only=True)
class Report:
    """All results for one record."""

    subject: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """True where every result is."""
        return all(result.ok for result in self.results)

    def __str__(self) -> str:
        return "\n".join([self.subject, *(f"  {result}" for result in self.results)])


def check_record(record: Record, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check for the record's type."""
    expected = dict(expected_failures or {})
    found = _checks_of(record)
    unknown = sorted(set(expected) - {check.__name__ for check in found})
    if unknown:
        raise ValueError(
            f"`expected_failures` names unknown checks {unknown!r}; there are {sorted(c.__name__ for c in found)}"
        )
    results = [_run(check, record, expected.get(check.__name__, "")) for check in found]
    return Report(subject=f"{type(record).__name__} {record.name!r}", results=tuple(results))


def check_modality(record: ModalityRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on a modality."""
    return check_record(record, expected_failures=expected_failures)


def check_encoder(record: EncoderRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on an encoder, with every installed modality of a kind that it accepts."""
    return check_record(record, expected_failures=expected_failures)


def check_loss(record: LossRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on a loss."""
    return check_record(record, expected_failures=expected_failures)


def check_reranker(record: RerankerRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on a re-ranker."""
    return check_record(record, expected_failures=expected_failures)


def check_simulator(record: SimulatorRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on a simulator, whose library must be installed."""
    return check_record(record, expected_failures=expected_failures)


def check_index(record: IndexRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on an index, whose library must be installed."""
    return check_record(record, expected_failures=expected_failures)


def check_logger(record: LoggerRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on a logger, whose library must be installed."""
    return check_record(record, expected_failures=expected_failures)


def check_property(record: PropertyRecord, *, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check on a property."""
    return check_record(record, expected_failures=expected_failures)


def checks(*records: Record, expected_failures: Mapping[str, str] | None = None) -> Callable[[Any], Any]:
    """Parametrise a pytest test, whose argument is ``check``, with every check of the records."""
    import pytest

    params: list[Any] = []
    for record in records:
        for check in _checks_of(record):
            reason = (expected_failures or {}).get(check.__name__)
            marks: list[Any] = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            params.append(pytest.param(partial(check, record), id=f"{record.name}-{check.__name__}", marks=marks))
    return pytest.mark.parametrize("check", params)


def _checks_of(record: Record) -> list[Check]:
    from molchord.testing import records

    own = type_of(record).checks
    return [*records.CHECKS, *(import_module(own).CHECKS if own else ())]


def _run(check: Check, record: Record, expected: str) -> Result:
    try:
        check(record)
    except Exception as error:  # whatever a wrong plugin raises is a failure of this check alone
        failure = str(error) or type(error).__name__
        if not isinstance(error, AssertionError):
            failure = f"{type(error).__name__}: {failure}"
        return Result(check=check.__name__, failure=failure, expected=expected)
    return Result(check=check.__name__, expected=expected)
