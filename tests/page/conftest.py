"""A chemist's browser before a server with the shipped model and a list of 50 molecules."""

import contextlib
import csv
import gzip
import shutil
import threading
import time
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNKNOWN = ROOT / "examples" / "unknown-ordinary"
ANSWER = ("acetamiprid", "CC(=NC#N)N(C)Cc1ccc(Cl)nc1")
HOSTILE = "<img src=x onerror=alert(1)>\"'&"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.page)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def run():
    import molchord

    return molchord.load("pretrained")


@pytest.fixture(scope="session")
def candidates(tmp_path_factory):
    """A list of 50 molecules: the answer, one of a hostile name, and others that ship with molchord."""
    path = tmp_path_factory.mktemp("list") / "fifty.csv"
    source = resources.files("molchord").joinpath("../../datasets/ordinary_smiles.csv.gz")
    with gzip.open(str(source), "rt", newline="") as file:
        others = [row["smiles"] for row in list(csv.DictReader(file))[:4800:100]]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "smiles", f"note {HOSTILE}"])
        rows.writerow([*ANSWER, HOSTILE])
        rows.writerow([HOSTILE, "CC(=O)Oc1ccccc1C(=O)O", HOSTILE])
        rows.writerows([f"molecule {number}", smiles, ""] for number, smiles in enumerate(others))
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def served(run, candidates, cache, tmp_path):
    """Return a function that serves the case of this test, made or opened again, and gives its address."""
    from molchord.case.case import Case, is_case
    from molchord.page.app import app_of, server_of
    from molchord.page.desk import Desk

    folder = tmp_path / "case"

    @contextlib.contextmanager
    def serving():
        opened = is_case(folder)
        case = Case.open(folder) if opened else Case.create(folder, run="pretrained", candidates=str(candidates))
        desk = Desk(case, run=run, cache=cache)
        desk.loading.future.result(timeout=60)
        server = server_of(app_of(desk))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
        desk.close()

    return serving


@pytest.fixture
def address(served):
    with served() as where:
        yield where


@pytest.fixture
def visit(browser):
    """Return a function that opens an address; what the page must never do fails the test."""
    wrong = []
    contexts = []

    def opened(where, **options):
        context = browser.new_context(accept_downloads=True, **{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
        page.on("request", lambda asked: None if own(asked.url) else wrong.append(f"asked {asked.url}"))
        page.on("filechooser", lambda _: None)  # from here on: asked for with the key, it may come after the key
        page.goto(where)
        return page

    def own(url):
        return url.startswith(("http://127.0.0.1:", "data:", "blob:"))

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def spectra(tmp_path):
    """Return the files of one unknown, named as one sample."""
    folder = tmp_path / "spectra"
    folder.mkdir()
    for name in ("ir.csv", "raman.csv", "msms.mgf"):
        text = (UNKNOWN / name).read_text().replace("# origin: computed\n", "")  # what is computed is not cleaned up
        (folder / f"unknown.{name}").write_text(text)
    return sorted(folder.iterdir())


@pytest.fixture
def drop():
    """Return a function that drops files on a place of the page, as a hand does."""

    def dropping(page, place, files):
        given = [[path.name, path.read_text()] for path in files]
        carried = page.evaluate_handle(
            """given => {
              const carried = new DataTransfer();
              for (const [name, text] of given) carried.items.add(new File([text], name));
              return carried;
            }""",
            given,
        )
        for event in ("dragenter", "dragover", "drop"):
            page.dispatch_event(place, event, {"dataTransfer": carried})

    return dropping
