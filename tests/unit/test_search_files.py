"""Files of a search: options where they do not say all, refused where they are another modality's, named in warnings."""

import json
import warnings

import numpy as np
import pytest
import torch

from molchord.api import Measurement, ReadingOptions
from molchord.cli.main import main
from molchord.cli.reading import reading_of_each
from molchord.cli.search import search_parser
from molchord.errors import QueryError
from molchord.library.quality import inspected, unlike_training
from molchord.query import query_of
from molchord.testing import tiny_run

X = np.linspace(4000, 400, 900)
BANDS = np.exp(-(((X - 1700) / 15) ** 2)) + 0.7 * np.exp(-(((X - 2900) / 30) ** 2))


def table(x, y, head="cm-1,absorbance\n"):
    return head + "".join(f"{a:.10g},{b:.10g}\n" for a, b in zip(x, y, strict=True))


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.csv").write_text(table(X, BANDS))
    (tmp_path / "bare.csv").write_text(table(1e4 / X, BANDS, ""))
    (tmp_path / "flat.csv").write_text(table(X, np.minimum(3 * BANDS, 1)))
    (tmp_path / "short.csv").write_text(table(X[:30], BANDS[:30]))
    (tmp_path / "raman.csv").write_text(table(X, BANDS, "Raman shift (cm-1),Intensity\n"))
    return tmp_path


def test_a_table_is_read_as_options_say_and_searched_with(run, folder):
    with pytest.raises(QueryError, match="give `--x-unit um`"):
        run.measurements("ir", folder / "bare.csv")
    [found] = run.measurements("ir", folder / "bare.csv", options=ReadingOptions(x_unit="um"))
    [same] = run.measurements("ir", folder / "good.csv")
    np.testing.assert_allclose(found.arrays["wavenumber"], same.arrays["wavenumber"], rtol=1e-5)
    torch.testing.assert_close(
        query_of(run.embedder, {"ir": found}).vectors["ir"], query_of(run.embedder, {"ir": same}).vectors["ir"],
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


def test_the_command_takes_the_options(run, folder, capsys):
    library = run.library(["CCO", "CC#N", "CSC"])
    words = ["search", str(run.path), str(library.path), "--ir", str(folder / "bare.csv"), "--json"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*words, "--x-unit", "um"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 3
        assert main([*words, "--x-unit", "ir=um"]) == 0
    assert main(words) == 2
    assert "give `--x-unit um`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"ir": None, "raman": None}),
        (["--x-unit", "um"], {"ir": ReadingOptions(x_unit="um"), "raman": ReadingOptions(x_unit="um")}),
        (["--skip", "ir=3", "--column", "all"], {"ir": ReadingOptions(skip=3, column="all"), "raman": ReadingOptions(column="all")}),
        (["--column", "a=b"], {"ir": ReadingOptions(column="a=b"), "raman": ReadingOptions(column="a=b")}),
    ],
)  # fmt: skip
def test_an_option_is_of_all_spectra_or_of_the_one_that_it_names(words, expected):
    arguments = search_parser().parse_args(["RUN", "LIBRARY", *words])
    assert reading_of_each(arguments, ["ir", "raman"]) == expected


def test_a_modality_without_the_ability_refuses_options(run, folder):
    class Plain:
        """Reads, and takes no options."""

        can_read, read = run.modalities["ir"].can_read, run.modalities["ir"].read

    embedder = type(run.embedder)(**{**vars(run.embedder), "modalities": {**run.modalities, "ir": Plain()}})
    with pytest.raises(QueryError, match="modality 'ir' takes no options of reading; leave `--skip` out"):
        embedder.measurements("ir", folder / "good.csv", options=ReadingOptions(skip=1))
    assert len(embedder.measurements("ir", folder / "good.csv", options=ReadingOptions())) == 1


def test_a_file_that_names_itself_as_another_spectrum_of_the_run_is_refused(run, folder):
    class Raman:
        """Claims files that say Raman."""

        def can_read(self, path):
            return "raman" in path.read_text().lower()

    embedder = type(run.embedder)(**{**vars(run.embedder), "modalities": {**run.modalities, "raman": Raman()}})
    with pytest.raises(QueryError, match=r"raman.csv' names itself 'raman' and not 'ir'; give it as 'raman'"):
        embedder.measurements("ir", [folder / "good.csv", folder / "raman.csv"])


# --- warnings of several spectra


def test_a_warning_names_the_file_of_several_spectra(run, folder):
    files = [folder / name for name in ("good.csv", "flat.csv")]
    messages = [one.message for one in inspected(run.modalities["ir"], "ir", run.measurements("ir", files))]
    assert [message.partition(":")[0] for message in messages] == [
        f"the measurement of 'ir' in {str(folder / 'flat.csv')!r} is doubtful"
    ]
    alone = inspected(run.modalities["ir"], "ir", run.measurements("ir", folder / "flat.csv"))
    assert alone[0].message.startswith("the measurement of 'ir' is doubtful: its strongest band is cut off flat")


def test_a_measurement_of_no_file_is_named_by_its_number(run):
    arrays = {"wavenumber": X[::-1].copy(), "absorbance": np.minimum(3 * BANDS, 1)[::-1].copy()}
    messages = [one.message for one in inspected(run.modalities["ir"], "ir", [Measurement(arrays=arrays)] * 2)]
    assert [message.partition(" is")[0] for message in messages] == [
        "the measurement of 'ir' (1 of 2)",
        "the measurement of 'ir' (2 of 2)",
    ]


def test_one_of_several_that_is_unlike_training_is_named():
    carbon = Measurement(arrays={}, columns={"nucleus": "13C"}, location="a.jdx")
    proton = Measurement(arrays={}, columns={"nucleus": "1H"}, location="b.jdx")
    [warning] = unlike_training({"nucleus": "13C"}, "carbon", [carbon, proton])
    assert warning.message.startswith("the measurement of 'carbon' in 'b.jdx' is doubtful: its nucleus is '1H'")


def test_a_spectrum_that_is_left_out_is_named(run, folder):
    files = [folder / name for name in ("good.csv", "short.csv")]
    with pytest.warns(UserWarning, match=r"1 of 2 measurements of 'ir' cannot be used \('.*short.csv': the curve of"):
        query_of(run.embedder, {"ir": files})
