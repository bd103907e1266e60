"""Others are kept out: by name, by origin, by token; nothing that a file says becomes markup, a header or a path."""

import asyncio
import json
import re

import pytest
from starlette.testclient import TestClient

from molchord.page.app import app_of
from molchord.page.said import without_paths
from molchord.page.security import CONTENT_POLICY, Guard

from .conftest import CHANGES, HOSTILE

OWN = "http://127.0.0.1:8484"
TOKEN = "correct-horse-battery"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:9000"}, 200),
        ({"host": "[::1]:8484"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "evil.example@127.0.0.1"}, 200),
        ({"host": ""}, 421),
        ({"origin": OWN}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
    ],
)
def test_who_asks_under_another_name_or_from_another_page_is_refused(client, headers, status):
    assert client.get("/api/candidates", headers=headers).status_code == status


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_nothing_is_changed_without_the_header_of_the_page(client, method):
    answer = client.request(method, "/api/samples/s1", headers={"x-molchord": ""}, json={"comment": "x"})
    assert answer.status_code == 403
    assert "x-molchord: 1" in answer.json()["error"]


def test_every_answer_tells_the_browser_what_a_page_may_do(client):
    for path in ("/api/case", "/api/nothing", "/api/openapi.json", "/table"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == CONTENT_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
    assert "unsafe" not in CONTENT_POLICY
    assert "frame-ancestors 'none'" in CONTENT_POLICY


# --- the token -------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(desk):
    with TestClient(
        app_of(desk, token=TOKEN, host="0.0.0.0"), base_url="http://lab.example", headers=CHANGES
    ) as client:
        yield client


def test_with_a_token_who_does_not_know_it_is_told_nothing(guarded):
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": "molchord=x"},
    ):
        assert guarded.get("/api/case", headers=headers).status_code == 401
    assert guarded.get("/api/case?token=wrong").status_code == 401
    assert guarded.get("/api/case", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_first_visit_leaves_a_cookie_and_an_address_without_the_token(guarded):
    answer = guarded.get(f"/table?token={TOKEN}&has=C%3DO", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/table?has=C%3DO")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/api/case").status_code == 200
    away = guarded.get(f"//evil.example/?token={TOKEN}", follow_redirects=False)
    assert away.headers["location"] == "/evil.example/" or not away.headers["location"].startswith("//")


# --- how much, and how slowly ----------------------------------------------------------------------------------------


def asked(app, scope, messages):
    """What an application sends when it receives these messages, a pause for each None."""
    sent = []
    queue = list(messages)

    async def receive():
        while queue and queue[0] is None:
            queue.pop(0)
            await asyncio.sleep(3600)
        return queue.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


async def reading(scope, receive, send):
    """An application that reads all of a body."""
    read, message = b"", {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        read += message.get("body", b"")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{message['type']} {len(read)}".encode()})


def scope(*headers):
    given = [(b"host", b"127.0.0.1"), (b"x-molchord", b"1"), *headers]
    return {"type": "http", "method": "POST", "path": "/api/x", "query_string": b"", "headers": given}


def test_a_body_that_is_too_long_is_refused_by_what_it_states_and_by_what_comes():
    guard = Guard(reading, token=None)
    stated = asked(guard, scope((b"content-length", b"99999999999")), [])
    assert (stated[0]["status"], b"are allowed" in stated[1]["body"]) == (413, True)
    assert asked(guard, scope((b"content-length", b"-1")), [])[0]["status"] == 400
    part = {"type": "http.request", "body": b"x" * 2**23, "more_body": True}
    assert asked(guard, scope(), [part] * 9)[1]["body"].startswith(b"http.disconnect")
    short = {"type": "http.request", "body": b"x", "more_body": False}
    assert asked(guard, scope(), [short])[1]["body"] == b"http.request 1"


def test_a_client_that_takes_its_time_is_hung_up_on(monkeypatch):
    monkeypatch.setattr("molchord.page.security.CHUNK_SECONDS", 0.05)
    part = {"type": "http.request", "body": b"x", "more_body": True}
    assert asked(Guard(reading, token=None), scope(), [part, None])[1]["body"] == b"http.disconnect 1"


# --- hostile values --------------------------------------------------------------------------------------------------


def test_a_hostile_value_in_each_field_stays_text(client, desk):
    """File name, title, sample name, comment, metadata, SMILES, name and columns of candidates."""
    jcamp = (
        f"##TITLE={HOSTILE.splitlines()[0]}\n##JCAMP-DX=4.24\n##DATA TYPE=INFRARED SPECTRUM\n##XUNITS=1/CM\n"
        "##YUNITS=ABSORBANCE\n##ORIGIN=<iframe src=//evil>\n##FIRSTX=500\n##LASTX=3500\n##DELTAX=10\n##NPOINTS=301\n"
        "##XFACTOR=1\n##YFACTOR=0.01\n##XYDATA=(X++(Y..Y))\n"
        + "".join(f"{x} {x % 7 + 1}\n" for x in range(500, 3501, 10))
        + "##END=\n"
    )
    name = '../<svg onload=alert(1)>".jdx'
    made = client.post("/api/samples", files=[("files", (name, jcamp.encode()))]).json()[0]
    id = made["id"]
    client.patch(f"/api/samples/{id}", json={"name": HOSTILE, "comment": HOSTILE})
    answer = client.get(f"/api/samples/{id}/hits")
    assert answer.status_code == 200, answer.text
    assert "<img src=x onerror=alert(2)>" in {hit["name"] for hit in answer.json()["hits"]}
    client.patch(f"/api/samples/{id}", json={"decision": "accepted", "asked": {"formula": "C2H6O"}})
    pages = [
        client.get(path)
        for path in (f"/samples/{id}", f"/samples/{id}?hit=1&has=%3Cscript%3E&pin={HOSTILE[:8]}", "/table")
    ]
    assert client.get(f"/api/samples/{id}/hits").status_code == 200
    report = client.get("/api/export/report")
    for page in (*pages, report):
        assert page.status_code == 200, page.text[:500]
        for tag in ("<script>alert", "<img src=x", "<b onclick", "<svg onload", "<iframe src=//evil"):
            assert tag not in page.text
    for path in (f"/api/samples/{id}", f"/api/samples/{id}/spectrum", f"/api/samples/{id}/hits", "/api/samples"):
        assert client.get(path).headers["content-type"] == "application/json"
    assert not [path for path in desk.case.folder.parent.rglob("*") if "svg" in path.name]
    client.delete(f"/api/samples/{id}")


def test_a_hostile_name_of_a_case_reaches_no_header(client, desk):
    before = desk.case.record.name
    client.patch("/api/case", json={"name": HOSTILE})
    headers = client.get("/api/export/case").headers
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9_.-]+"', headers["content-disposition"])
    assert "set-cookie" not in headers
    client.patch("/api/case", json={"name": before})


@pytest.mark.parametrize("smiles", ["<svg/onload=alert(1)>", "C" * 5000, "[C@@@@@](C", "CC</script>"])
def test_a_hostile_smiles_is_a_row_that_is_left_out(client, desk, smiles):
    kept = (desk.case.folder / "lists" / desk.case.record.candidates.stored).read_text()
    job = client.post("/api/candidates", json={"text": f"CCO ethanol\n{smiles} bad\n", "name": "hostile"}).json()
    client.get(f"/api/jobs/{job['id']}/events")
    found = client.get("/api/candidates").json()
    assert (found["state"], found["count"]) == ("ready", 1)
    job = client.post("/api/candidates", json={"text": kept, "name": "mine.csv"}).json()
    client.get(f"/api/jobs/{job['id']}/events")


def test_no_answer_holds_a_path_of_the_machine(client, sample, desk):
    client.get(f"/api/samples/{sample}/hits")
    own = [str(desk.case.folder), str(desk.loaded_run.path), "/site-packages", "Traceback"]
    bad = client.post("/api/samples", files=[("files", ("broken.npz", b"PK\x03\x04 damaged"))]).json()[0]["id"]
    paths = [
        "/api/case",
        "/api/runs",
        "/api/candidates",
        "/api/samples",
        f"/api/samples/{sample}/hits",
        "/api/export/json",
    ]
    for path in (*paths, f"/api/samples/{bad}/hits", f"/samples/{bad}", "/model"):
        text = client.get(path).text
        assert [one for one in own if one in text] == []
    client.delete(f"/api/samples/{bad}")


def test_a_fault_of_the_server_is_a_sentence_without_its_traceback(desk, monkeypatch, caplog):
    def broken(self):
        raise RuntimeError("secret of /home/me/project/file.py")

    monkeypatch.setattr("molchord.page.desk.Desk.runs", broken)
    with TestClient(app_of(desk), base_url=OWN, raise_server_exceptions=False) as client:
        answer = client.get("/api/runs")
    assert (answer.status_code, json.loads(answer.text)) == (
        500,
        {"error": "the server failed at this; the terminal that runs it has the details"},
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" in caplog.text


def test_paths_leave_sentences_and_units_stay():
    assert without_paths("file '/a/b/c d.csv' (C:\\x\\y.csv) in 1/cm, and/or /srv/x/y.jdx; 2 km/s") == (
        "file 'c d.csv' (C:\\x\\y.csv) in 1/cm, and/or y.jdx; 2 km/s"
    )
