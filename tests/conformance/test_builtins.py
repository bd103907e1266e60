"""Every built-in plugin passes the conformance kit; encoders run on every built-in modality of their kinds."""

from importlib.util import find_spec

import pytest

from molchord.host import installed
from molchord.testing import checks

EXTRAS = {"faiss": ("faiss",), "milvus": ("milvus_lite", "pymilvus"), "mlflow": ("mlflow", "sqlalchemy")}
EXTRAS |= {"aimnet2": ("Auto3D",)}
EXTRAS |= {name: (name,) for name in ("tensorboard", "wandb")}
"""Libraries that some need and the tests do without."""

BUILTINS = [
    plugin.record
    for plugin in installed().plugins
    if plugin.dist == "molchord" and all(find_spec(library) for library in EXTRAS.get(plugin.name, ()))
]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # of mlflow's own tables
@checks(*(record for record in BUILTINS if record.name != "dimenetpp"))
def test_contract(check):
    check()


@checks(
    *(record for record in BUILTINS if record.name == "dimenetpp"),
    expected_failures={"uses_every_column": "DimeNet++ sees elements and positions alone, as published"},
)
def test_contract_of_dimenetpp(check):
    check()
