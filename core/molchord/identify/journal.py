"""What is done of a batch: one line of JSON per answer, so that a batch goes on where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, final

from molchord.errors import OutputError, QueryError
from molchord.files import remove
from molchord.identify.answers import Answer

__all__ = ["ANSWERS", "Journal", "digest_of"]

ANSWERS = "answers.jsonl"
"""Made of a first line about the run, the candidates and the options, and a line per answer."""


def digest_of(value: Any) -> str:
    """Return the digest of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@final
class Journal:
    """The answers of a result folder, as they come.

    Args:
        folder: The result folder.
        settings: What all answers have in common: run, candidates, options.
        force: Start again where a journal of something else is there.

    Raises:
        QueryError: There is a journal of other settings, or the folder holds what no `identify` has written.
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, force: bool) -> None:
        self._path, self._settings, self._force = folder / ANSWERS, dict(settings), force
        self._folder = folder
        self.done: dict[str, tuple[str, Answer]] = {}
        if folder.exists() and not folder.is_dir():
            raise QueryError(f"output {str(folder)!r} is a file; give a folder")
        if self._path.exists() and not self._resumed():
            if not force:
                raise QueryError(self._differs)
            remove(self._path)
        elif not self._path.exists() and folder.is_dir() and any(folder.iterdir()) and not force:
            raise QueryError(
                f"output {str(folder)!r} holds files of something else; choose another folder, or pass `--force`"
            )

    def __enter__(self) -> Journal:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            new = not self._path.exists()
            self._file = self._path.open("ab")
            if new:
                self._line({"settings": self._settings})
        except OSError as error:
            raise OutputError(
                f"{str(self._path)!r} cannot be written ({error.strerror}); choose another folder"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def answer(self, sample: str, digest: str) -> Answer | None:
        """Return the answer of a sample that is done; None where it is not.

        Args:
            sample: What it is called.
            digest: Of its files and of what is known of it.

        Raises:
            QueryError: It was done with other files, or with something else known of it.
        """
        if sample not in self.done:
            return None
        before, answer = self.done[sample]
        if before == digest:
            return answer
        if self._force:
            return None
        raise QueryError(
            f"sample {sample!r} was answered in {str(self._folder)!r} before its files, or its row of the table, "
            "changed; choose another folder, or pass `--force` to answer it again"
        )

    def add(self, digest: str, answer: Answer) -> None:
        """Keep an answer: it is on the disk when this returns.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            self._line({"digest": digest, "answer": dataclasses.asdict(answer)})
        except OSError as error:
            raise OutputError(
                f"{str(self._path)!r} cannot be written ({error.strerror}); make room, and give the same command again"
            ) from error
        self.done[answer.sample] = (digest, answer)

    def _line(self, value: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _resumed(self) -> bool:
        """Read what is done; a last line that a kill cut short is dropped."""
        try:
            content = self._path.read_bytes()
            lines = content.split(b"\n")
            settings = json.loads(lines[0])["settings"] if len(lines) > 1 else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._differs = f"journal {str(self._path)!r} is damaged ({error!r}); pass `--force` to start again"
            return False
        if settings is None:  # not even the first line is whole
            remove(self._path)
            return True
        for name in [*self._settings, *settings]:
            old, new = settings.get(name), self._settings.get(name)
            if old != new:
                self._differs = (
                    f"output {str(self._folder)!r} was made with {name} {old!r}, and this is {name} {new!r}; choose "
                    "another folder, or pass `--force` to start again"
                )
                return False
        try:
            for line in lines[1:-1]:
                note = json.loads(line)
                answer = Answer.of(note["answer"])
                self.done[answer.sample] = (note["digest"], answer)
        except (ValueError, KeyError, TypeError) as error:
            self._differs = f"journal {str(self._path)!r} is damaged ({error!r}); pass `--force` to start again"
            return False
        if lines[-1]:
            with self._path.open("r+b") as file:
                file.truncate(len(content) - len(lines[-1]))
        return True
