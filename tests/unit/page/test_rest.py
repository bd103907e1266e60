"""REST: from an upload to an answer, its reasons and its exports; errors are one sentence."""

import csv
import io
import json
import zipfile

import pytest

from molchord.chem import molecule
from molchord.page.desk import LIMITS

from .conftest import curve


def upload(client, **files):
    return client.post("/api/samples", files=[("files", (name, content)) for name, content in files.items()])


def test_a_spectrum_becomes_an_answer(client, sample):
    row = client.get(f"/api/samples/{sample}").json()
    assert (row["name"], row["state"], row["chips"]) == ("unknown", "waiting", [{"modality": "ir", "title": "IR"}])
    answer = client.get(f"/api/samples/{sample}/hits").json()
    assert answer["current"] is True
    assert answer["candidates"] == 3
    assert sorted(hit["smiles"] for hit in answer["hits"]) == ["CC#N", "CCO", "CSC"]
    assert client.get(f"/api/samples/{sample}").json()["state"] == "answered"
    assert answer["hits"][0]["svg"].startswith(f"/api/samples/{sample}/hits/1.svg")
    drawing = client.get(answer["hits"][0]["svg"])
    assert drawing.headers["content-type"] == "image/svg+xml"
    assert "sandbox" in drawing.headers["content-security-policy"]


def test_the_answer_is_that_of_the_library_itself(client, sample, desk, library, tmp_path):
    file = tmp_path / "unknown.ir.csv"
    file.write_bytes(curve())
    [alone] = desk.loaded_run.identify(file, library[1], k=3).answers
    answer = client.get(f"/api/samples/{sample}/hits").json()
    assert [(hit["key14"], hit["cosines"]["ir"]) for hit in answer["hits"]] == [
        (hit.key14, pytest.approx(hit.cosines["ir"])) for hit in alone.hits
    ]


def test_an_answer_of_something_else_is_said_to_be(client, sample):
    client.get(f"/api/samples/{sample}/hits")
    client.patch(f"/api/samples/{sample}", json={"asked": {"formula": "C2H6O"}})
    assert client.get(f"/api/samples/{sample}").json()["state"] == "waiting"
    assert client.get(f"/api/samples/{sample}/answer").json()["current"] is False
    again = client.get(f"/api/samples/{sample}/hits").json()
    assert [hit["smiles"] for hit in again["hits"]] == ["CCO"]


def test_a_mass_is_held_against_each_candidate(client, sample):
    mass = molecule("CCO").exact_mass
    asked = {"mz": mass * (1 + 3e-6) + 1.00727646, "adduct": "M+H", "ppm": 10}
    row = client.patch(f"/api/samples/{sample}", json={"asked": asked}).json()
    assert row["asked"]["adduct"] == "[M+H]+"
    [hit] = client.get(f"/api/samples/{sample}/hits").json()["hits"]
    assert hit["deviation_ppm"] == pytest.approx(-3.0, abs=0.2)


def test_candidates_are_counted_as_a_question_is_typed(client):
    def left(**asked):
        return client.get("/api/candidates/count", params=asked).json()

    assert left() == {"left": 3, "of": 3, "unseen": 0, "error": None}
    assert left(elements="C,H,N")["left"] == 1
    assert left(mz=47.0491, adduct="[M+H]+", da=0.01)["left"] == 1
    assert "belong together" in left(mz=47.0)["error"]
    assert "cannot be read" in left(formula="Xy")["error"] or left(formula="Xy")["error"]


def test_why_shades_parts_of_the_spectrum(client, sample):
    client.get(f"/api/samples/{sample}/hits")
    why = client.get(f"/api/samples/{sample}/why", params={"hit": 2}).json()
    assert why["hit"]["rank"] == 2
    [one] = why["spectra"]
    assert (one["title"], len(one["x"]) == len(one["y"]) > 100) == ("IR", True)
    parts = [*one["reasons_for"], *one["reasons_against"]]
    assert parts
    assert all(part["start"] < part["stop"] for part in parts)


def test_a_spectrum_is_shown_before_and_after_clean_up(client, sample):
    [before] = client.get(f"/api/samples/{sample}/spectrum").json()
    assert (before["raw"], before["descending"], before["unit"]) == (None, True, "cm^-1")
    assert before["read"].startswith("read: 875 points, 500 to 39")
    assert before["peaks"][0]["x"] == pytest.approx(1700, abs=4)
    client.patch(f"/api/samples/{sample}", json={"clean": {"ir": "crop=1000:3000"}})
    [after] = client.get(f"/api/samples/{sample}/spectrum").json()
    assert after["raw"]["x"] == before["x"]
    assert [step["on"] for step in after["steps"] if step["step"] == "crop"] == [True]
    seen = [x for x, y in zip(after["x"], after["y"], strict=True) if y is not None]
    assert (min(seen) >= 990, max(seen) <= 3010) == (True, True)


def test_a_decision_and_a_comment_are_exported(client, sample):
    hits = client.get(f"/api/samples/{sample}/hits").json()["hits"]
    body = {"decision": "accepted", "decided_key14": hits[1]["key14"], "comment": "by its smell"}
    assert client.patch(f"/api/samples/{sample}", json=body).json()["decided_key14"] == hits[1]["key14"]
    table = client.get("/api/export/csv")
    assert table.headers["content-disposition"] == 'attachment; filename="mine-results.csv"'
    rows = [row for row in csv.DictReader(io.StringIO(table.text)) if row["sample"] == "unknown"]
    assert [(row["SMILES"], row["decision"], row["comment"]) for row in rows][1] == (
        hits[1]["smiles"],
        "accepted",
        "by its smell",
    )
    assert [row["decision"] for row in rows] == ["", "accepted", ""]
    assert client.get("/api/export/sdf").text.count("$$$$") == client.get("/api/export/json").text.count('"key14"')
    assert client.patch(f"/api/samples/{sample}", json={"decision": "none"}).json()["decision"] is None


def test_a_case_is_exported_without_paths_of_the_machine(client, sample, desk):
    client.get(f"/api/samples/{sample}/hits")
    with zipfile.ZipFile(io.BytesIO(client.get("/api/export/case").content)) as archive:
        record = json.loads(archive.read("case.json"))
        assert record["run"]["path"] == desk.loaded_run.path.name
        stored = record["samples"][0]["files"][0]["stored"]
        assert archive.read(f"files/{stored}") == curve()
        assert str(desk.case.folder) not in archive.read("answers.jsonl").decode()


def test_a_bad_file_is_a_sample_with_its_sentence_until_it_is_read_otherwise(client):
    rows = "".join(f"{2.5 + n / 40:.3f},{50 + 40 * (n % 7) / 7:.1f}\n" for n in range(300))
    [bad] = upload(client, **{"x.csv": f"wavelength,value\n{rows}".encode()}).json()
    assert (bad["state"], bad["light"]) == ("failed", "red")
    assert bad["error"].startswith("'x.csv': ")
    file = bad["files"][0]["id"]
    fixed = client.patch(
        f"/api/files/{file}", json={"modality": "ir", "reading": {"x_unit": "um", "y_unit": "%T", "skip": 1}}
    ).json()
    assert fixed["files"][0]["reading"] == {"x_unit": "um", "y_unit": "%T", "column": None, "skip": 1}
    assert (fixed["error"], fixed["state"]) == (None, "waiting")
    client.delete(f"/api/samples/{bad['id']}")


def test_a_file_is_moved_and_removed(client, sample):
    [other] = upload(client, **{"other.ir.csv": curve(1200)}).json()
    file = other["files"][0]["id"]
    both = client.patch(f"/api/files/{file}", json={"sample": sample}).json()
    assert [one["name"] for one in both["files"]] == ["unknown.ir.csv", "other.ir.csv"]
    assert client.get(f"/api/samples/{other['id']}").status_code == 404
    assert client.delete(f"/api/files/{file}").status_code == 204
    assert len(client.get(f"/api/samples/{sample}").json()["files"]) == 1


def test_a_search_is_a_job_whose_progress_is_a_stream(client, sample):
    job = client.post("/api/search", json={"samples": [sample], "again": True}).json()
    events = client.get(f"/api/jobs/{job['id']}/events").text.split("\n\n")
    states = [json.loads(event.removeprefix("data: "))["state"] for event in events if event.startswith("data: ")]
    assert states[-1] == "done"
    assert client.get(f"/api/jobs/{job['id']}").json()["done"] == 1


def test_other_candidates_are_embedded_in_the_background(client, desk, sample):
    client.get(f"/api/samples/{sample}/hits")
    kept = desk.case.record.candidates
    job = client.post("/api/candidates", json={"text": "CCO ethanol\nC methane\n", "name": "pasted"}).json()
    assert job["kind"] == "candidates"
    client.get(f"/api/jobs/{job['id']}/events")
    found = client.get("/api/candidates").json()
    assert (found["name"], found["state"], found["count"]) == ("pasted", "ready", 2)
    names = [hit["name"] for hit in client.get(f"/api/samples/{sample}/hits").json()["hits"]]
    assert sorted(names) == ["ethanol", "methane"]
    form = client.post("/api/candidates", files={"file": ("list.smi", b"CC#N acetonitrile\n")}).json()
    client.get(f"/api/jobs/{form['id']}/events")
    assert client.get("/api/candidates").json()["count"] == 1
    client.get(
        f"/api/jobs/{client.post('/api/candidates', json={'text': (desk.case.folder / 'lists' / kept.stored).read_text(), 'name': 'mine.csv'}).json()['id']}/events"
    )
    assert client.get("/api/candidates").json()["count"] == 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/api/samples/s999", None, 404, "sample 's999' is not in this case"),
        ("GET", "/api/samples/..%2F..", None, 404, "there is nothing under this address"),
        ("GET", "/api/samples/x/hits", None, 422, "cannot be used"),
        ("GET", "/api/jobs/j999", None, 404, "job 'j999' is not known"),
        ("GET", "/api/export/exe", None, 422, "there is no export 'exe'"),
        ("GET", "/api/nothing", None, 404, "there is nothing under this address"),
        ("PUT", "/api/case", {}, 405, "PUT is not answered here"),
        ("PATCH", "/api/case", {"colour": "red"}, 422, "`colour` cannot be used"),
        ("PATCH", "/api/case", {"asked": {"mz": 100.0}}, 422, "belong together"),
        ("POST", "/api/candidates", {"list": "../../etc"}, 422, "comes with molchord"),
        ("POST", "/api/candidates", {}, 422, "no candidates were given"),
        ("POST", "/api/samples", None, 422, "no file was given"),
        ("PATCH", "/api/files/f999", {"modality": "ir"}, 404, "file 'f999' is not in this case"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(client, method, path, body, status, said):
    answer = client.request(method, path, json=body)
    assert answer.status_code == status
    assert [*answer.json()] == ["error"]
    assert said in answer.json()["error"]


def test_steps_of_clean_up_and_spectra_that_there_are_not_are_refused(client, sample):
    for clean, said in (({"ir": "polish"}, "'polish'"), ({"xray": "baseline"}, "'xray'")):
        answer = client.patch(f"/api/samples/{sample}", json={"clean": clean})
        assert (answer.status_code, said in answer.json()["error"]) == (422, True)
    assert client.get(f"/api/samples/{sample}").json()["clean"] == {}


def test_uploads_are_limited_in_bytes_and_number(client, monkeypatch):
    monkeypatch.setitem(LIMITS, "bytes_per_file", 100)
    assert "more than 100 bytes" in upload(client, **{"a.csv": b"1" * 101}).json()["error"]
    many = [("files", (f"{n}.csv", b"1")) for n in range(LIMITS["files_per_upload"] + 1)]
    assert client.post("/api/samples", files=many).status_code in (400, 422)
    assert all(row["name"] != "a" for row in client.get("/api/samples").json())


def test_openapi_describes_every_route(client):
    found = client.get("/api/openapi.json").json()
    assert {"/api/samples", "/api/samples/{id}/hits", "/api/runs", "/api/candidates", "/api/export/{form}"} <= {
        *found["paths"]
    }
    described = [route.get("description") for path in found["paths"].values() for route in path.values()]
    assert all(described)
