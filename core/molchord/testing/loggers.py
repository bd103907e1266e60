"""Checks on loggers, whose library must be installed; what a server got they cannot see."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from molchord.api import Logger, LoggerRecord, Training
from molchord.testing.require import require

_SETTINGS: dict[str, Any] = {"schema": 1, "modalities": {"first": {"where": None}}, "train": {"fraction": 0.5}}
_FIRST = {"loss": 2.5, "pairs/first-second": 2.5, "lr": 1e-4, "seconds": 0.0}
_LATER = {**_FIRST, "loss": float("inf"), "grad_norm": float("nan"), "val/loss": -1.0, "val/blind_mrr": 0.25}


@contextmanager
def _run_folder() -> Iterator[Path]:
    """Yield the folder of a run that no other test has, with a file of the engine's in it."""
    with TemporaryDirectory(prefix="molchord-run-") as name:
        run = Path(name, "run of mine")
        run.mkdir()
        (run / "metrics.jsonl").write_text('{"epoch": 1}\n', encoding="utf-8")
        yield run


def _opened(record: LoggerRecord, run: Path, epochs: int = 0) -> Logger:
    folder = run / "logs" / record.name
    folder.mkdir(parents=True, exist_ok=True)
    logger = record.build(record.config())
    logger.open(Training(run=run, folder=folder, settings=_SETTINGS, epochs=epochs))
    return logger


def figures_of_every_epoch_are_taken(record: LoggerRecord) -> None:
    """Validation is not in every epoch, and a metric may be not a number, or infinite.

    To mend it: take whichever metrics there are, and leave out those the library refuses.
    """
    with _run_folder() as run:
        logger = _opened(record, run)
        for epoch, figures in ((1, _FIRST), (2, _LATER), (3, _FIRST)):
            logger.log(epoch, figures)
        logger.close(True)


def it_goes_on_where_it_stopped(record: LoggerRecord) -> None:
    """A training that was stopped continues with a logger built anew, from the same folder.

    To mend it: keep the library's own id in the folder, and open it again from there.
    """
    with _run_folder() as run:
        for epochs in (0, 2):
            logger = _opened(record, run, epochs)
            logger.log(epochs + 1, _FIRST)
            logger.log(epochs + 2, _FIRST)
            logger.close(epochs > 0)


def no_epoch_is_no_error(record: LoggerRecord) -> None:
    """A training may fail, or be stopped, before its first epoch ends.

    To mend it: let `close` work straight after `open`.
    """
    with _run_folder() as run:
        _opened(record, run).close(False)


def it_keeps_to_its_folder(record: LoggerRecord) -> None:
    """The rest of the run folder is the engine's, and so is the working directory the user's.

    To mend it: hand the folder to the library in place of its default one.
    """
    with _run_folder() as run, TemporaryDirectory(prefix="molchord-here-") as here:
        before = os.getcwd()
        os.chdir(here)
        try:
            logger = _opened(record, run)
            logger.log(1, _FIRST)
            logger.close(True)
        finally:
            os.chdir(before)
        own = run / "logs" / record.name
        there = {path for path in run.rglob("*") if path.is_file() and not path.is_relative_to(own)}
        strange = sorted(str(path.relative_to(run)) for path in there - {run / "metrics.jsonl"})
        require(not strange, f"{strange} lie in the run folder, outside the logger's own")
        kept = (run / "metrics.jsonl").read_text(encoding="utf-8") == '{"epoch": 1}\n'
        require(kept, "metrics.jsonl, which is the engine's, was changed")
        require(not os.listdir(here), f"{sorted(os.listdir(here))} lie in the working directory")


def the_process_is_left_alone(record: LoggerRecord) -> None:
    """Ctrl-C must still save the training, and what it prints must still reach the screen.

    To mend it: start the library without its signal handlers and capture of the console.
    """
    before = _process()
    with _run_folder() as run:
        logger = _opened(record, run)
        logger.log(1, _FIRST)
        during = _process()
        logger.close(True)
    for name, value in before.items():
        require(during[name] == value, f"{name} is another one while the logger is open")
        require(_process()[name] == value, f"{name} is another one after the logger was closed")


def _process() -> dict[str, Any]:
    return {
        "the handler of SIGINT": signal.getsignal(signal.SIGINT),
        "sys.stdout": sys.stdout,
        "sys.stderr": sys.stderr,
        "sys.excepthook": sys.excepthook,
        "sys.exit": sys.exit,
        "the working directory": os.getcwd(),
    }


CHECKS = (
    the_process_is_left_alone,  # first, as what another check has left would be there before already
    figures_of_every_epoch_are_taken,
    it_goes_on_where_it_stopped,
    no_epoch_is_no_error,
    it_keeps_to_its_folder,
)
