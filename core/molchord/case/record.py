"""What ``case.json`` holds. Imports no torch."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "FORMAT",
    "CandidatesRecord",
    "CaseRecord",
    "FileRecord",
    "Question",
    "ReadingRecord",
    "ReferencesRecord",
    "RunRecord",
    "SampleRecord",
    "Settings",
    "safe_suffix",
]

FORMAT: Final = 1
"""Version of the layout."""

Text = Annotated[str, StringConstraints(max_length=4000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
StoredName = Annotated[str, StringConstraints(pattern=r"^[a-z]+[0-9]+(\.[a-z0-9]{1,10}){0,2}$")]
"""A file of the case: never what somebody called it."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Record):
    """What is known of a sample, as it was typed.

    Attributes:
        mass: Exact mass in Da.
        mz: m/z of an ion in place of its mass.
        adduct: Which ion that is.
        ppm: Half width of the mass window in ppm.
        da: Half width of the mass window in Da.
        formula: Sum formula.
        elements: Elements allowed.
    """

    mass: float | None = Field(default=None, allow_inf_nan=False)
    mz: float | None = Field(default=None, allow_inf_nan=False)
    adduct: Name | None = None
    ppm: float | None = Field(default=None, allow_inf_nan=False)
    da: float | None = Field(default=None, allow_inf_nan=False)
    formula: Name | None = None
    elements: Name | None = None

    def over(self, other: Question) -> Question:
        """Return this, with what it does not say as the other has it; mass and ion count as one.

        Example:
            >>> Question(mz=195.088, adduct="[M+H]+").over(Question(mass=180.0, ppm=5.0)).mass is None
            True
        """
        mine = self.model_dump(exclude_none=True)
        theirs = other.model_dump(exclude_none=True)
        for one, rest in (("mass", ("mz", "adduct")), ("mz", ("mass",)), ("ppm", ("da",)), ("da", ("ppm",))):
            if one in mine:
                for name in rest:
                    theirs.pop(name, None)
        return Question(**{**theirs, **mine})


class ReadingRecord(_Record):
    """How a table is read that does not say all itself; fields as `molchord.api.ReadingOptions` has them."""

    x_unit: Name | None = None
    y_unit: Name | None = None
    column: Name | None = None
    skip: int = Field(default=0, ge=0, le=100_000)


class FileRecord(_Record):
    """A file of a sample.

    Attributes:
        id: Names it in the case.
        name: What it was called where it came from.
        stored: What it is called in the folder ``files``; entries of one file share it.
        sha256: Digest of its content.
        bytes: Size.
        modality: What it was said to be a spectrum of; None: its content says so.
        entry: Which of its entries is meant, from 1; None: all.
        entries: How many it has; None: it has not been read.
        reading: How it is read.
    """

    id: Annotated[str, StringConstraints(pattern=r"^f[0-9]+$")]
    name: Name
    stored: StoredName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: int
    modality: Name | None = None
    entry: int | None = Field(default=None, ge=1)
    entries: int | None = None
    reading: ReadingRecord = ReadingRecord()


class SampleRecord(_Record):
    """A sample.

    Attributes:
        id: Names it in the case; never given again.
        name: What it is called.
        files: Its files.
        asked: What is known of it.
        clean: Steps of clean-up by modality, as `molchord search --clean` takes them.
        decision: What was decided of it.
        decided_key14: The candidate that was accepted.
        comment: What was noted.
    """

    id: Annotated[str, StringConstraints(pattern=r"^s[0-9]+$")]
    name: Name
    files: tuple[FileRecord, ...] = ()
    asked: Question = Question()
    clean: dict[str, Text] = {}
    decision: Literal["accepted", "rejected"] | None = None
    decided_key14: Annotated[str, StringConstraints(max_length=14)] | None = None
    comment: Text = ""


class RunRecord(_Record):
    """The run of a case: its folder or the word of a shipped one, and the digest of its weights and graph."""

    path: str
    identity: str | None = None


class CandidatesRecord(_Record):
    """The candidates of a case.

    Attributes:
        name: What they are called.
        source: A shipped list's word, or the path of a file or folder; None: `stored` is the list.
        stored: Name of the copy in the folder ``lists``.
        sha256: Digest of the file, or of a folder's manifest.
        identity: Digest of what was embedded, which says the same of it on another machine; None until it was.
    """

    name: Name
    source: str | None = None
    stored: StoredName | None = None
    sha256: str | None = None
    identity: str | None = None


class ReferencesRecord(_Record):
    """The references of a case: the folder of a data set, and the digest of its manifest."""

    name: Name
    source: str
    sha256: str | None = None


class Settings(_Record):
    """How each sample is searched for.

    Attributes:
        fusion: How similarities are joined.
        k: Hits shown and written; more are kept, for functional groups.
    """

    fusion: Name = "gm-exp"
    k: int = Field(default=10, ge=1, le=100)


class CaseRecord(_Record):
    """All of ``case.json``.

    Attributes:
        kind: Distinguishes a case from other folders.
        format: Version of the layout.
        versions: Of what made the answers, by package.
        name: What the case is called.
        run: The model.
        candidates: The candidates.
        references: The references; None: there are none.
        settings: How each sample is searched for.
        asked: What is known of all samples that say nothing else.
        samples: The samples, in the order in which they are shown.
        samples_made: How many ids of samples were given.
        files_made: How many ids of files were given.
        lists_made: How many lists of candidates were stored.
    """

    kind: Literal["molchord case"] = "molchord case"
    format: Literal[1] = FORMAT
    versions: dict[str, str]
    name: Name
    run: RunRecord
    candidates: CandidatesRecord
    references: ReferencesRecord | None = None
    settings: Settings = Settings()
    asked: Question = Question()
    samples: tuple[SampleRecord, ...] = ()
    samples_made: int = 0
    files_made: int = 0
    lists_made: int = 0


def safe_suffix(name: str) -> str:
    """Return the last suffixes of a file's name as far as they are plain: readers look at them.

    Example:
        >>> safe_suffix("a.ir.CSV"), safe_suffix("list.csv.gz"), safe_suffix("../../x"), safe_suffix("a.b c")
        ('.csv', '.csv.gz', '', '')
    """
    found = re.search(r"(?:\.[A-Za-z0-9]{1,10})?\.[A-Za-z0-9]{1,10}\Z", name.replace("\\", "/").rpartition("/")[2])
    if found is None:
        return ""
    suffix = found[0].lower()
    return suffix if suffix.endswith(".gz") else suffix[suffix.rindex(".") :]
