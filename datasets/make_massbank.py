"""Make `datasets/massbank` from a file of MassBank's MS/MS spectra: those that may be passed on.

Usage: python datasets/make_massbank.py ms2.mgf.gz [--without TABLE.csv ...] [--out FOLDER]

Keeps entries under CC0 and CC BY as they are, leaves out molecules (InChIKey block) that a table after `--without`
names in a column `inchikey` or `key14`, such as those that others measure on, and writes one MGF file, and beside the
folder an attribution file that lists each entry's record and licence, and the card.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from held_out import keys_of

from molchord.files import replace_file, sha256_file, write_csv

LICENCES = ("CC0", "CC BY")
ATTRIBUTION = ("massbank_record", "licence")

CARD = """# massbank

**Measured** MS/MS spectra of MassBank (https://massbank.eu): {spectra:,} spectra of {molecules:,} molecules (InChIKey
block), those under CC0 or CC BY; {megabytes:.1f} MB.

    molchord data import datasets/massbank --out data/massbank

makes the data set that `molchord train --data` takes.

`ms2.mgf.gz` has an entry per spectrum: record (`TITLE`), SMILES, InChIKey, precursor m/z, adduct, polarity, collision
energy as its contributor wrote it, type of instrument, licence, and peaks (m/z, intensity relative to the base peak,
those under 0.1 % dropped). A molecule has at most 24 spectra.

| | entries |
|---|---|
{table}

## What is missing
{other:,} entries under another licence, and {held:,} of molecules whose measured infrared or Raman spectra
benchmarks use.

## Licence
Each entry's own: `massbank-attribution.csv` lists all records with their licences. CC BY asks that the record, and
so its authors, is named where its spectrum is used: https://massbank.eu/MassBank/RecordDisplay?id= and the record's
name.

## How it was made
    python datasets/make_massbank.py {command}

from a file with sha256 `{digest}`.
"""


def entries(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Yield (fields, text) of every entry of a compressed MGF file."""
    fields: dict[str, str] = {}
    lines: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            lines.append(line)
            if "=" in line:
                name, _, value = line.strip().partition("=")
                fields[name] = value
            if line.startswith("END IONS"):
                yield fields, "".join(lines)
                fields, lines = {}, []


def make(source: Path, out: Path, without: Sequence[Path] = ()) -> None:
    """Write the entries that may be passed on, their attribution and the card."""
    held_out = set[str]().union(*map(keys_of, without))
    texts: list[str] = []
    credits: list[tuple[str, str]] = []
    keys: set[str] = set()
    counts: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for fields, text in entries(source):
        if fields.get("LICENSE") not in LICENCES:
            left["licence"] += 1
        elif fields["INCHIKEY"][:14] in held_out:
            left["held out"] += 1
        else:
            texts.append(text.strip() + "\n\n")
            credits.append((fields["TITLE"], fields["LICENSE"]))
            keys.add(fields["INCHIKEY"][:14])
            counts.update([fields["LICENSE"], fields.get("IONMODE", "").lower() or "polarity unknown"])
    out.mkdir(parents=True, exist_ok=True)
    # A fixed time keeps the file the same where the entries are.
    replace_file(out / "ms2.mgf.gz", gzip.compress("".join(texts).encode(), 9, mtime=0))
    write_csv(out.parent / f"{out.name}-attribution.csv", ATTRIBUTION, sorted(credits))
    card = CARD.format(
        spectra=len(texts), molecules=len(keys), megabytes=(out / "ms2.mgf.gz").stat().st_size / 1e6,
        table="\n".join(f"| {name} | {count:,} |" for name, count in sorted(counts.items())),
        other=left["licence"], held=left["held out"], digest=sha256_file(source),
        command=" ".join([source.name, *(["--without"] if without else []), *(table.name for table in without)]),
    )  # fmt: skip
    replace_file(out.parent / f"{out.name}.md", card)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep the MS/MS spectra of MassBank that may be passed on.")
    parser.add_argument("source", type=Path, metavar="ms2.mgf.gz")
    parser.add_argument("--without", type=Path, nargs="+", default=[], metavar="TABLE.csv")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "massbank", metavar="FOLDER")
    arguments = parser.parse_args()
    make(arguments.source, arguments.out, arguments.without)
