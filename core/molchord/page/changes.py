"""What may be asked for: bodies of requests, with their limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from molchord.case.record import Name, Question, ReadingRecord, Text
from molchord.vocabulary import Fusion

__all__ = ["CandidatesGiven", "CaseChange", "FileChange", "SampleChange", "SearchAsked"]

Id = Annotated[str, StringConstraints(pattern=r"^[sf][0-9]{1,9}$")]


class Change(BaseModel):
    """Base of all: what is not given stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SampleChange(Change):
    """Change of a sample."""

    name: Name | None = Field(default=None, description="What it is called.")
    asked: Question | None = Field(default=None, description="What is known of it, in place of what was.")
    clean: dict[str, Text] | None = Field(
        default=None, description="Steps of clean-up by modality, such as baseline,crop=500:4000; empty: none."
    )
    decision: Literal["accepted", "rejected", "none"] | None = Field(default=None, description="none takes it back.")
    decided_key14: Annotated[str, StringConstraints(pattern=r"^[A-Z]{14}$")] | None = Field(
        default=None, description="Which candidate is accepted; the first one where it is not given."
    )
    comment: Text | None = Field(default=None, description="What is noted.")


class FileChange(Change):
    """Change of a file."""

    modality: Name | None = Field(default=None, description="What it is a spectrum of; 'unknown': its content says so.")
    reading: ReadingRecord | None = Field(default=None, description="How it is read, in place of what was.")
    sample: Id | Literal["new"] | None = Field(default=None, description="The sample that it is moved to.")


class CaseChange(Change):
    """Change of the case."""

    name: Name | None = Field(default=None, description="What it is called.")
    asked: Question | None = Field(default=None, description="What is known of all samples that say nothing else.")
    fusion: Fusion | None = Field(default=None, description="How similarities join.")
    hits: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, description="Hits shown per sample.")


class CandidatesGiven(Change):
    """Candidates that are named or pasted."""

    list: Name | None = Field(default=None, description="A list that comes with molchord.")
    text: Annotated[str, StringConstraints(max_length=2**24)] | None = Field(
        default=None, description="SMILES or InChI, one a line with a name behind it, or a table or SD file as text."
    )
    name: Name | None = Field(default=None, description="What they are called.")


class SearchAsked(Change):
    """Samples to search for."""

    samples: tuple[Id, ...] | None = Field(default=None, description="Their ids; null: all that are not answered.")
    again: bool = Field(default=False, description="Search for those too that are answered as they are now.")
