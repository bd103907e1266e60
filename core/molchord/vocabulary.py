"""Words that several modules share, each once; the command line reads them without importing what they belong to."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = [
    "ALL_FUSIONS",
    "DEFAULT_POOLS",
    "DEFAULT_PROPERTY",
    "ENGINES",
    "FAILURES",
    "FUSIONS",
    "KINDS",
    "MODES",
    "ORIGINS",
    "POOLS",
    "PROJECTIONS",
    "PUBLISHED",
    "REJECTED",
    "SPLITS",
    "STORAGES",
    "UNUSABLE",
    "Origin",
    "Split",
    "Storage",
]

KINDS = ("graph", "spectrum1d", "peaks", "vector")
"""Forms in which a modality reaches an encoder; a third party's own kind is ``dist:kind``."""

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Parts of a data set, in the order of their codes on disk."""

Origin: TypeAlias = Literal["measured", "computed"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
"""Where a measurement comes from: the column ``origin`` that every modality stores."""

Fusion: TypeAlias = Literal["gm-exp", "gm-half", "gm-clamp"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
"""Forms of the geometric mean, the default first."""

PUBLISHED = "published"
"""VibraCLIP's equation 6: the root of a product of signed cosines, which falls where one of two negative ones rises."""

ALL_FUSIONS = (*FUSIONS, PUBLISHED)
"""What a search may be asked for; an evaluation measures `PUBLISHED` only where it is named."""

MODES = ("blind", "library")
"""What candidates carry: a structure only, or reference spectra too; the default first."""

DEFAULT_PROPERTY = "functional_groups"
"""What is asked of hits where a user names no property."""

POOLS = ("test", "all", "all:N", "isomers", "unseen:N", "mass:Xppm")
"""Forms of the name of a pool, the candidates that a metric is measured against."""

DEFAULT_POOLS = ("test", "all")
"""The pools that an evaluation measures where none are named."""

PROJECTIONS = ("pca", "umap")
"""Ways in which an embedding space is laid out in two dimensions, the default first."""

Storage: TypeAlias = Literal["fp32", "bf16", "int8"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
"""What a search scans of a library, the default first; with bf16 and int8 the fp32 rows stay, for scoring."""

ENGINES = ("local", "ray")
"""What runs the stages of embedding a library: this machine, or Ray; the default first."""

FAILURES = "failures.csv"
"""Molecules that could not be made or computed, with reasons."""

REJECTED = "rejected.csv"
"""Entries and files that an import could not use, with reasons."""

UNUSABLE = "unusable.csv"
"""Measurements that an evaluation could not use, with reasons."""
