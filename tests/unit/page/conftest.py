"""A case at work with a tiny run: three molecules, a computed IR spectrum as an unknown."""

import warnings

import numpy as np
import pytest
from starlette.testclient import TestClient

from molchord.case.case import Case
from molchord.page.app import app_of
from molchord.page.desk import Desk
from molchord.testing import tiny_run

CHANGES = {"x-molchord": "1"}
HOSTILE = "<script>alert(1)</script>\"'&`${7*7}\r\nSet-Cookie: a=b"
LIST = f'SMILES,name,note\nCCO,"<img src=x onerror=alert(2)>","<b onclick=\'alert(3)\'>"\nCC#N,=1+1,plain\nCSC,,{"x" * 300}\n'


def curve(centre=1700.0):
    """A band as a table of wavenumber and absorbance."""
    x = np.arange(500.0, 4000.0, 4.0)
    return "".join(f"{a:.0f},{b:.5f}\n" for a, b in zip(x, 1 / (1 + (x - centre) ** 2 / 400), strict=True)).encode()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "mine.csv"
    path.write_text(LIST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return path, tiny_run().library(path)


@pytest.fixture(scope="module")
def desk(tmp_path_factory, library):
    path, embedded = library
    run = tiny_run()
    case = Case.create(tmp_path_factory.mktemp("case") / "mine", run=str(run.path), candidates=str(path))
    desk = Desk(case, run=run, library=embedded, cache=tmp_path_factory.mktemp("cache"))
    desk.loading.future.result(timeout=60)
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def client(desk):
    with TestClient(app_of(desk), base_url="http://127.0.0.1:8484", headers=CHANGES) as client:
        yield client


@pytest.fixture
def sample(client):
    """The id of a sample of its own."""
    answer = client.post("/api/samples", files=[("files", ("unknown.ir.csv", curve()))])
    assert answer.status_code == 201, answer.text
    yield answer.json()[0]["id"]
    client.delete(f"/api/samples/{answer.json()[0]['id']}")
