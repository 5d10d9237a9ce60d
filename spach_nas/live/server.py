"""A few pages over HTTP, for browsers on this machine alone.

Only the paths that are known are answered, only to GET and HEAD, and only when the browser asked
for this machine by its own name: a foreign site whose name was made to point here gets nothing.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from spach_nas.errors import SpachNasError

HOST = "127.0.0.1"
_FIRST_PORT, _PORTS = 8642, 100
_OWN_NAMES = frozenset({HOST, "localhost"})
# Between two looks whether the server is to end.
_TICK_S = 0.1
# A browser that takes longer over one request is gone.
_PATIENCE_S = 30.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(NamedTuple):
    """What a path is answered with.

    Attributes:
        body: Bytes.
        kind: Media type; all texts are UTF-8.
        status: Of HTTP.
    """

    body: bytes = b""
    kind: str = "text/plain"
    status: HTTPStatus = HTTPStatus.OK


# From the parameters of the query to the answer, by path.
Routes = Mapping[str, Callable[[Mapping[str, str]], Answer]]


def listen(port: int | None = None) -> socket.socket:
    """A port of this machine, which only this machine reaches.

    Args:
        port: Which; None: the first free one from 8642 on.

    Raises:
        SpachNasError: It cannot be had.
    """
    problem: OSError | None = None
    for candidate in [port] if port is not None else range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        try:
            return socket.create_server((HOST, candidate))
        except OSError as refusal:
            problem = refusal
    assert problem is not None, "at least one was tried"
    wanted = f"{port}" if port is not None else f"{_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}"
    raise SpachNasError(
        f"--port: {wanted}: {os.strerror(problem.errno or 0).lower()}; expected a free port, or no "
        "--port for the first free one"
    ) from None


def url_of(listener: socket.socket) -> str:
    """What to open in a browser."""
    return f"http://{HOST}:{listener.getsockname()[1]}/"


class PageServer(ThreadingHTTPServer):
    """Serves some paths until `shutdown`.

    Args:
        listener: A listening socket; it is closed with the server.
        routes: What is answered, by path.
    """

    daemon_threads = True
    # A browser keeps idle connections; whoever ends the server does not wait for them.
    block_on_close = False

    def __init__(self, listener: socket.socket, routes: Routes) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.routes = routes

    def start(self) -> None:
        """Serve from a thread, until `shutdown` or the end of the process."""
        threading.Thread(target=self.serve_forever, args=(_TICK_S,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers may leave when they like; anything else is a mistake of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "spach-nas", ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """The path's answer."""
        answer = self._answer()
        self.send_response(answer.status)
        for name, text in _HEADERS.items():
            self.send_header(name, text)
        if answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        """Its head alone."""
        self.do_GET()

    def _answer(self) -> Answer:
        if _name(self.headers.get("Host", "")) not in _OWN_NAMES:
            own = f"http://{HOST}:{self.server.server_address[1]}/"
            return Answer(f"unknown host; open {own}\n".encode(), status=HTTPStatus.FORBIDDEN)
        parts = urlsplit(self.path)
        route = self.server.routes.get(parts.path)
        if route is None:
            return Answer(b"not found\n", status=HTTPStatus.NOT_FOUND)
        return route(dict(parse_qsl(parts.query)))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the search."""


def json_answer(data: Mapping[str, Any], *, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """An answer for scripts."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Answer(text.encode(), kind="application/json", status=status)


def _name(host: str) -> str | None:
    # Any port: a tunnel from another machine may have another number at its far end.
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
