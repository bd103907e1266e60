"""A case folder: opened, changed, and written whole with each change. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import IO, Any, TypeVar, final

from pydantic import BaseModel, ValidationError

from molchord.api import ReadingOptions
from molchord.case.folder import absolute, copied, digest_of_source, locked, plain_label, versions
from molchord.case.record import (
    FORMAT,
    CandidatesRecord,
    CaseRecord,
    FileRecord,
    Question,
    ReferencesRecord,
    RunRecord,
    SampleRecord,
    safe_suffix,
)
from molchord.data.candidates import shipped_list
from molchord.errors import DataError, NotInCase, OutputError
from molchord.files import remove, replace_file, sha256_file
from molchord.identify.samples import Asked, Sample, SpectrumFile, grouped

__all__ = ["CASE_FILE", "Case", "is_case"]

CASE_FILE = "case.json"

_Model = TypeVar("_Model", bound=BaseModel)
_COPIED = 2**26
"""Bytes of a list of candidates up to which a case holds a copy of it."""


def is_case(folder: Path) -> bool:
    """Return whether a folder is a case."""
    return (folder / CASE_FILE).is_file()


@final
class Case:
    """A case folder. All methods may be called from several threads; each change is on the disk when they return.

    Attributes:
        folder: The folder.
        record: What ``case.json`` holds.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp()) / "mine"
        >>> with Case.create(folder, run="pretrained", candidates="ordinary") as case:
        ...     _ = case.add({"a.ir.csv": b"500,1", "a.mgf": b"BEGIN IONS"}, ["ir"])
        >>> with Case.open(folder) as case:
        ...     [(sample.name, len(sample.files)) for sample in case.record.samples]
        [('a', 2)]
    """

    def __init__(self, folder: Path, record: CaseRecord, lock: IO[str]) -> None:
        self.folder, self.record = folder, record
        self._lock_file = lock
        self._lock = RLock()

    # --- opening

    @classmethod
    def create(
        cls, folder: Path, *, run: str, candidates: str, references: str | None = None, name: str | None = None
    ) -> Case:
        """Make a new case.

        Raises:
            OutputError: The folder holds something, or cannot be written.
            DataError: The candidates cannot be read.
        """
        if folder.exists() and (not folder.is_dir() or any(one.name != ".lock" for one in folder.iterdir())):
            raise OutputError(f"case {str(folder)!r} cannot be made, as something else is there; choose another folder")
        lock = locked(folder)
        record = CaseRecord(
            versions=versions(),
            name=(name or folder.resolve().name)[:300],
            run=RunRecord(path=absolute(run)),
            candidates=CandidatesRecord(name=candidates, source=candidates),
        )
        case = cls(folder, record, lock)
        try:
            case.choose_candidates(candidates)
            case.choose_references(references)
        except BaseException:
            case.close()
            raise
        return case

    @classmethod
    def open(cls, folder: Path) -> Case:
        """Open a case.

        Raises:
            DataError: The folder is not a case, is damaged or is open in another program.
        """
        path = folder / CASE_FILE
        if not path.is_file():
            raise DataError(f"folder {str(folder)!r} is not a case, as it has no {CASE_FILE}; give one that has")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
                raise DataError(
                    f"case {str(folder)!r} has format {values['format']!r}, this molchord reads {FORMAT}; open it with "
                    "the molchord that wrote it"
                )
            record = CaseRecord.model_validate(values)
        except ValidationError as error:
            raise DataError(f"case {str(folder)!r} is damaged ({_first(error)}); restore {CASE_FILE}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"case {str(folder)!r} is damaged ({error}); restore {CASE_FILE}") from error
        return cls(folder, record, locked(folder))

    def close(self) -> None:
        """Let other programs open it."""
        self._lock_file.close()

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading it

    def sample(self, id: str) -> SampleRecord:
        """Return a sample.

        Raises:
            NotInCase: There is none of this id.
        """
        for one in self.record.samples:
            if one.id == id:
                return one
        raise NotInCase(f"sample {id!r} is not in this case; it may have been removed: look at the list of samples")

    def file(self, id: str) -> tuple[SampleRecord, FileRecord]:
        """Return a file, and the sample that it belongs to.

        Raises:
            NotInCase: There is none of this id.
        """
        for sample in self.record.samples:
            for one in sample.files:
                if one.id == id:
                    return sample, one
        raise NotInCase(f"file {id!r} is not in this case; it may have been removed: look at the list of samples")

    def path_of(self, file: FileRecord) -> Path:
        """Return where a file is."""
        return self.folder / "files" / file.stored

    def question(self, sample: SampleRecord) -> Question:
        """Return what is known of a sample, with what is known of all."""
        return sample.asked.over(self.record.asked)

    def searched(self, id: str) -> Sample:
        """Return a sample as `molchord.identify` searches for it.

        Raises:
            QueryError: What is known of it makes no sense.
        """
        sample = self.sample(id)
        asked = Asked.of(**self.question(sample).model_dump())
        return Sample(id=id, files=tuple(map(self.spectrum_file, sample.files)), asked=asked, together=True)

    def spectrum_file(self, file: FileRecord) -> SpectrumFile:
        """Return a file as `molchord.identify` reads it."""
        options = ReadingOptions(**file.reading.model_dump())
        return SpectrumFile(
            path=self.path_of(file),
            label=file.name,
            modality=file.modality,
            entry=file.entry,
            options=options if options.given else None,
        )

    def key(self, sample: SampleRecord) -> str:
        """Return a digest of all that the answer to a sample depends on."""
        record = self.record
        candidates = record.candidates
        return _digest(
            {
                "run": record.run.identity,
                "candidates": candidates.identity or candidates.sha256,
                "references": None if record.references is None else record.references.sha256,
                "fusion": record.settings.fusion,
                "asked": self.question(sample).model_dump(),
                "clean": {name: text for name, text in sample.clean.items() if text},
                "files": [
                    (one.name, one.sha256, one.modality, one.entry, one.reading.model_dump()) for one in sample.files
                ],
            }
        )

    def candidates_source(self) -> str | Path:
        """Return what `Run.library` takes: a shipped list's word, or a path."""
        candidates = self.record.candidates
        return self.folder / "lists" / candidates.stored if candidates.stored else str(candidates.source)

    def differences(self) -> list[str]:
        """Say what is not as it was when the case was saved: files, candidates, references, versions."""
        said = []
        stored: dict[str, FileRecord] = {}
        for sample in self.record.samples:
            for one in sample.files:
                stored.setdefault(one.stored, one)
        for one in stored.values():
            path = self.path_of(one)
            if not path.is_file():
                said.append(f"file {one.name!r} is missing in the case; add it again")
            elif sha256_file(path) != one.sha256:
                said.append(f"file {one.name!r} was changed since it was added; add it again")
        for what, found in (("candidates", self.record.candidates), ("references", self.record.references)):
            if found is None or found.sha256 is None:
                continue
            source = self.candidates_source() if isinstance(found, CandidatesRecord) else found.source
            now = digest_of_source(source)
            if now is None:
                said.append(f"{what} {found.name!r} are not on this machine any more; choose others")
            elif now != found.sha256:
                said.append(f"{what} {found.name!r} are not the same any more; answers will be found again")
        before = self.record.versions
        said += [
            f"{package} is {now} now and was {before[package]} when the case was made; figures may differ a little"
            for package, now in versions().items()
            if package in before and before[package] != now
        ]
        return said

    # --- changing it

    def add(
        self, files: Mapping[str, bytes | Path], modalities: Sequence[str], asked: Question | None = None
    ) -> list[str]:
        """Copy files into the case, and group them into samples by their names; returns the ids of new samples.

        Args:
            files: Content, or a file to copy, by name; a name may have folders, which are never made.
            modalities: The run's spectra, whose names at the end of a name say what it is.
            asked: What is known of all of them.

        Raises:
            OutputError: They cannot be written.
        """
        with self._lock:
            record = self.record
            made, samples = record.files_made, record.samples_made
            (self.folder / "files").mkdir(exist_ok=True)
            by_label: dict[str, FileRecord] = {}
            for name, content in files.items():
                made += 1
                label = plain_label(name) or f"file {made}"
                label = label if label not in by_label else f"{label} ({made})"
                stored = f"f{made}{safe_suffix(label)}"
                size, digest = copied(content, self.folder / "files" / stored)
                by_label[label] = FileRecord(id=f"f{made}", name=label, stored=stored, sha256=digest, bytes=size)
            new = []
            for group in grouped({Path(label): label for label in by_label}, modalities):
                samples += 1
                own = tuple(by_label[f.label].model_copy(update={"modality": f.modality}) for f in group.files)
                new.append(SampleRecord(id=f"s{samples}", name=group.id[:300], files=own, asked=asked or Question()))
            self._save(samples=(*record.samples, *new), files_made=made, samples_made=samples)
            return [one.id for one in new]

    def split(self, id: str, entries: int, most: int) -> list[str]:
        """Make a sample of each entry of a sample's only file; returns their ids, that of the sample first.

        Args:
            id: The sample.
            entries: How many entries its file has, at least 2.
            most: How many samples are made at most.
        """
        with self._lock:
            sample = self.sample(id)
            [file] = sample.files
            record, new = self.record, []
            for number in range(1, min(entries, most) + 1):
                first = number == 1
                own = {"entry": number, "entries": entries} | (
                    {} if first else {"id": f"f{record.files_made + number - 1}"}
                )
                fresh = {} if first else {"id": f"s{record.samples_made + number - 1}"}
                name = f"{sample.name[:280]}#{number}"
                one = sample.model_copy(update={"name": name, "files": (file.model_copy(update=own),), **fresh})
                new.append(one)
            at = record.samples.index(sample)
            self._save(
                samples=(*record.samples[:at], *new, *record.samples[at + 1 :]),
                files_made=record.files_made + len(new) - 1,
                samples_made=record.samples_made + len(new) - 1,
            )
            return [one.id for one in new]

    def change_sample(self, id: str, **fields: Any) -> SampleRecord:
        """Change fields of a sample, as `SampleRecord` has them."""
        with self._lock:
            changed = _valid(SampleRecord, {**self.sample(id).model_dump(), **fields})
            self._save(samples=tuple(changed if one.id == id else one for one in self.record.samples))
            return changed

    def change_file(self, id: str, **fields: Any) -> FileRecord:
        """Change fields of a file, as `FileRecord` has them."""
        with self._lock:
            sample, file = self.file(id)
            changed = _valid(FileRecord, {**file.model_dump(), **fields})
            files = tuple(changed if one.id == id else one for one in sample.files)
            self._save(samples=_with_files(self.record.samples, {sample.id: files}))
            return changed

    def regroup(self, file: str, sample: str | None) -> str:
        """Put a file into another sample, or into one of its own; returns the id of that sample."""
        with self._lock:
            home, one = self.file(file)
            made = self.record.samples_made
            samples = _with_files(self.record.samples, {home.id: tuple(f for f in home.files if f.id != file)})
            if sample is None:
                made += 1
                target = SampleRecord(id=f"s{made}", name=_stem(one.name), files=(one,))
                samples = (*samples, target)
            else:
                target = self.sample(sample)
                if target.id == home.id:
                    return home.id
                samples = _with_files(samples, {target.id: (*target.files, one)})
            self._save(samples=tuple(s for s in samples if s.files), samples_made=made)
            return target.id

    def remove(self, ids: Iterable[str]) -> None:
        """Remove samples and files of these ids, and what no sample needs any more."""
        with self._lock:
            gone = set(ids)
            kept = [
                one.model_copy(update={"files": tuple(f for f in one.files if f.id not in gone)})
                for one in self.record.samples
                if one.id not in gone
            ]
            before = {f.stored for one in self.record.samples for f in one.files}
            self._save(samples=tuple(one for one in kept if one.files))
            for stored in before - {f.stored for one in kept for f in one.files}:
                if (self.folder / "files" / stored).exists():
                    remove(self.folder / "files" / stored)

    def choose_candidates(self, source: str, *, name: str | None = None, content: bytes | None = None) -> None:
        """Take other candidates.

        Args:
            source: A shipped list's word, a file or a folder; with `content`, only what the list was called.
            name: What they are called; None: the last part of `source`.
            content: The list itself, which is stored in the case.

        Raises:
            DataError: There are none.
            OutputError: They cannot be written.
        """
        with self._lock:
            path = shipped_list(source) if content is None else None
            made = self.record.lists_made
            called = (name or plain_label(source).rpartition("/")[2] or "candidates")[:300]
            given: bytes | Path | None = content
            if content is None and path is None:
                path = Path(source)
                if not path.exists():
                    raise DataError(
                        f"candidates {called!r} do not exist; give a file of SMILES, a table, an SD file, a library, "
                        "or name a list that comes with molchord, such as ordinary"
                    )
                if path.is_file() and path.stat().st_size <= _COPIED:
                    given = path
            if given is None:
                source = source if path == shipped_list(source) else absolute(source)
                chosen = CandidatesRecord(name=called, source=source, sha256=digest_of_source(source))
            else:
                made += 1
                stored = f"l{made}{safe_suffix(called)}"
                (self.folder / "lists").mkdir(exist_ok=True)
                _, digest = copied(given, self.folder / "lists" / stored)
                chosen = CandidatesRecord(name=called, stored=stored, sha256=digest)
            self._save(candidates=chosen, lists_made=made)

    def choose_references(self, source: str | None) -> None:
        """Take other references, the folder of a data set; None: no references."""
        found = None
        if source is not None:
            sha256 = digest_of_source(source)
            if sha256 is None:
                raise DataError(
                    f"references {Path(source).name!r} are not a data set; give a folder that `molchord data import` "
                    "wrote"
                )
            found = ReferencesRecord(name=Path(source).resolve().name, source=absolute(source), sha256=sha256)
        self._save(references=found)

    def choose_run(self, path: str, identity: str | None = None) -> None:
        """Take another run, or note the identity of the one that was opened."""
        self._save(run=RunRecord(path=absolute(path), identity=identity))

    def change(self, **fields: Any) -> None:
        """Change fields of the case, as `CaseRecord` has them, such as `name`, `asked` and `settings`."""
        self._save(**fields)

    def _save(self, **fields: Any) -> None:
        with self._lock:
            record = _valid(CaseRecord, {**self.record.model_dump(), **{k: _plain(v) for k, v in fields.items()}})
            replace_file(self.folder / CASE_FILE, record.model_dump_json(indent=1) + "\n")
            self.record = record


# --- helpers ---------------------------------------------------------------------------------------------------------


def _stem(name: str) -> str:
    return re.sub(r"\.[^./]*$", "", name) or name


def _with_files(
    samples: Sequence[SampleRecord], files: Mapping[str, tuple[FileRecord, ...]]
) -> tuple[SampleRecord, ...]:
    return tuple(one.model_copy(update={"files": files[one.id]}) if one.id in files else one for one in samples)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    dump: Callable[[], Any] | None = getattr(value, "model_dump", None)
    return value if dump is None else dump()


def _valid(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise DataError(f"the case cannot be changed so ({_first(error)}); correct it") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
