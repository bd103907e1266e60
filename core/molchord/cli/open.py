"""`molchord open`: the page where samples become answers, and REST, on this machine."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from molchord.cli.options import Group, add_command, add_device
from molchord.errors import MolchordError, QueryError

if TYPE_CHECKING:
    from molchord.page.desk import Desk

__all__ = ["add_open"]

_PORT = 8484


def add_open(group: Group) -> None:
    """Declare the command."""
    command = add_command(group, "open", _open, "the page where samples become answers, on this machine")
    command.add_argument("folder", metavar="FOLDER", nargs="?", help="a case, or spectra, whose case is made beside it")
    command.add_argument("--candidates", metavar="LIST", help="as `molchord identify` takes it (default: ordinary)")
    command.add_argument("--run", dest="run_folder", metavar="RUN", help="the model (default: pretrained)")
    command.add_argument("--references", metavar="DATASET", help="measurements of known molecules to compare with")
    command.add_argument("--no-browser", action="store_true", help="serve, and print the address only")
    command.add_argument("--port", type=int, default=_PORT, help="default: %(default)s, or any other that is free")
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="other than this machine needs --token")
    command.add_argument("--token", help="what who asks must know: at least 16 letters and digits")
    command.add_argument("--cache", metavar="DIR", help="where embedded lists are kept (default: the user's cache)")
    add_device(command)


def _open(arguments: argparse.Namespace) -> int:
    """Open a case and serve it until Ctrl-C."""
    _check(arguments)
    from molchord.case.opening import opened, spectra_in

    case = opened(
        arguments.folder, run=arguments.run_folder, candidates=arguments.candidates, references=arguments.references
    )
    from molchord.page.desk import Desk

    desk = Desk(case, cache=None if arguments.cache is None else Path(arguments.cache), device=arguments.device)
    try:
        folder = Path(arguments.folder) if arguments.folder is not None else None
        if folder is not None and folder.resolve() != case.folder.resolve():
            files, said = spectra_in(folder, case)
            print(said)
            if files:
                desk.add(files)
        _serve(desk, arguments)
    finally:
        desk.close()
    print(f"the case is in {str(case.folder)!r}; `molchord open {case.folder}` opens it again")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before anything is written or loaded.

    Raises:
        MolchordError: The extra is not installed.
        QueryError: The server would be open to others without a token, or the token or port makes no sense.
    """
    lacking = [name for name in ("fastapi", "uvicorn", "python_multipart") if find_spec(name) is None]
    if lacking:
        raise MolchordError(
            f"`molchord open` needs {' and '.join(lacking)}, which this installation lacks; "
            "`pip install 'molchord[page]'` installs what it needs"
        )
    from molchord.page.security import is_loopback, refuse_short_token

    if why := refuse_short_token(arguments.token):
        raise QueryError(why)
    if arguments.token is None and not is_loopback(arguments.host):
        raise QueryError(
            f"`--host {arguments.host}` lets other machines ask, and everybody could; add `--token`, or leave it out"
        )
    if not 0 <= arguments.port <= 65535:
        raise QueryError(f"`--port` is {arguments.port}, but must be 0 to 65535; 0 takes any that is free")


def _serve(desk: Desk, arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C, and show the page once the server answers."""
    import asyncio
    import socket

    from molchord.page.app import app_of, server_of

    def bound(port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((arguments.host, port))
        listening.listen()  # who asks as soon as the address is shown waits for the server, and is not refused
        return listening

    try:
        listening = bound(arguments.port)
    except OSError as error:
        if arguments.port != _PORT:
            raise QueryError(
                f"port {arguments.port} of {arguments.host} cannot be had ({error.strerror}); choose another"
            ) from error
        listening = bound(0)
    port = listening.getsockname()[1]
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    url = f"http://{shown}:{port}/" + (f"?token={arguments.token}" if arguments.token else "")
    server = server_of(app_of(desk, token=arguments.token, host=arguments.host), host=arguments.host, port=port)
    print(f"{desk.case.record.name}: {url}\nCtrl-C ends it; all is saved as you go", flush=True)
    if not arguments.no_browser:
        threading.Timer(1.0, webbrowser.open, [url]).start()
    try:
        asyncio.run(server.serve(sockets=[listening]))
    except KeyboardInterrupt:
        print(file=sys.stderr)
