"""`molchord open` is refused in a sentence before anything is loaded; a server starts, answers and ends with Ctrl-C."""

import json
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection
from importlib.util import find_spec

import pytest

from molchord.cli.main import main

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "add `--token`"),
        (["--host", "lab.example"], "add `--token`"),
        (["--token", "short"], "`--token` has 5 characters"),
        (["--token", "ein Schlüssel mit Umlaut"], "plain letters and digits"),
        (["--port", "99999"], "`--port` is 99999"),
        (["--candidates", "no such list"], "do not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_made(options, said, tmp_path, capsys):
    assert main(["open", str(tmp_path / "case"), "--no-browser", *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "case" / "case.json").exists()


def test_a_missing_extra_is_one_sentence_with_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        "molchord.cli.open.find_spec", lambda name: None if name in ("fastapi", "uvicorn") else find_spec(name)
    )
    assert main(["open", str(tmp_path / "case")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "needs fastapi and uvicorn" in error
    assert "`pip install 'molchord[page]'`" in error


@pytest.mark.slow
def test_a_server_starts_answers_and_ends_with_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "molchord", "open", str(tmp_path / "case"), "--no-browser", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--token", TOKEN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    port = re.search(r":(\d+)/\?token=", server.stdout.readline())[1]
    connection = HTTPConnection("127.0.0.1", int(port), timeout=120)
    connection.request("GET", "/api/case", headers={"Authorization": f"Bearer {TOKEN}"})
    assert json.loads(connection.getresponse().read())["name"] == "case"
    connection.request("GET", "/api/case")
    assert connection.getresponse().status == 401
    server.send_signal(signal.SIGINT)
    out, error = server.communicate(timeout=120)
    assert (server.returncode, "Traceback" in error) == (0, False)
    assert "opens it again" in out
