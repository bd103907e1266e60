"""The notebook runs from top to bottom, and is kept without outputs, which would grow old."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "docs" / "from-python.ipynb"


def test_there_is_one_notebook_and_it_is_kept_without_outputs():
    assert [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.ipynb")] == [NOTEBOOK]
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


def test_the_notebook_runs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "the right one is at rank" in said
    sound, turned = said.split("upside down: ")
    assert "hangs from its top" in turned
    assert "hangs from its top" not in sound
    assert "ir + raman" in said
    assert any("image/png" in output.data for output in outputs if output.output_type == "display_data")
