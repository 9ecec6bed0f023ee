"""Browse run folders from one machine: a small read-only server that gives out pages and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from radfoundry import runs
from radfoundry.records import InputError
from radfoundry.web import index, report

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".parquet": "application/octet-stream",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page written by somebody else may not run scripts of its own or call home; ours carries a stricter rule.
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
# matplotlib's settings are shared by all threads, so pages are drawn one at a time.
DRAWING = threading.Lock()


class NotFoundError(InputError):
    """What was asked for is not there, or not to be given out."""


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD with the list of runs, their reports and their small files."""

    server_version = "radfoundry"
    sys_version = ""

    def __init__(self, *arguments: object, folder: Path, names: frozenset[str]) -> None:
        self.folder, self.names = folder, names
        super().__init__(*arguments)  # ty: ignore[invalid-argument-type]

    def do_GET(self) -> None:
        """Answer with the page or file, or with one line that says why not."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The headers of the same answer."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: what is read here is nobody else's business."""

    def _answer(self, *, with_body: bool) -> None:
        status, kind = HTTPStatus.OK, KINDS[".txt"]
        # A page elsewhere could point its own name at this machine and read the answers; only our names count.
        if _host_name(self.headers.get("Host", "")) not in self.names:
            status, content = HTTPStatus.FORBIDDEN, b"this server answers on its own address only\n"
        else:
            try:
                kind, content = answer(self.folder, self.path)
            except NotFoundError as error:
                status, content = HTTPStatus.NOT_FOUND, f"{error}\n".encode()
            except (InputError, OSError) as error:
                status, content = HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def answer(folder: Path, path: str) -> tuple[str, bytes]:
    """Content type and bytes for a requested path. Refuses everything outside the folder's visible run folders.

    >>> answer(Path("/tmp"), "/../etc/passwd")
    Traceback (most recent call last):
    ...
    radfoundry.web.serve.NotFoundError: /../etc/passwd: not given out
    """
    asked = unquote(urlsplit(path).path)
    parts = [part for part in asked.split("/") if part]
    if any(part.startswith(".") or "\\" in part or "\0" in part for part in parts):
        raise NotFoundError("not given out", where=asked.replace("\0", "?"))
    if not parts or parts == [index.INDEX]:
        return KINDS[".html"], index.render_index(folder).encode()
    place = folder.joinpath(*parts)
    if not place.resolve().is_relative_to(folder.resolve()):
        raise NotFoundError("not given out", where=asked)
    if (place / runs.RECORD).is_file():
        place = place / report.PAGE
    if place.name == report.PAGE and not place.is_file() and (place.parent / runs.RECORD).is_file():
        with DRAWING:
            return KINDS[".html"], report.render_report(place.parent).encode()
    kind = KINDS.get(place.suffix)
    if kind is None or not place.is_file() or not _inside_run(folder, place):
        raise NotFoundError("no such page", where=asked)
    return kind, place.read_bytes()


def _inside_run(folder: Path, place: Path) -> bool:
    """Whether a file belongs to a run: some folder between it and the top has a run record."""
    between = [parent for parent in place.parents if parent.is_relative_to(folder)]
    return any((parent / runs.RECORD).is_file() for parent in between)


def _host_name(header: str) -> str:
    """The name in a Host header without its port: `[::1]:80` gives `::1`."""
    return (urlsplit(f"//{header}").hostname or "").lower() if header.count("@") == 0 else ""


def make_server(runs_folder: str | Path, *, host: str = "127.0.0.1", port: int = 8765) -> ThreadingHTTPServer:
    """The server, bound but not yet answering; port 0 takes any free one. Refuses a folder that is not there."""
    folder = Path(runs_folder)
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), remedy="give the folder that holds your runs")
    if host in ("", "0.0.0.0", "::"):
        raise InputError("every address at once is not allowed", where=f"host {host!r}", remedy="name one address")
    handler = partial(Handler, folder=folder, names=frozenset({"127.0.0.1", "localhost", "::1", host.lower()}))
    try:
        return ThreadingHTTPServer((host, port), handler)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen there ({error})", where=f"{host}:{port}", remedy="choose another port"
        ) from None


def serve(
    runs_folder: str | Path, host: str = "127.0.0.1", port: int = 8765, *, ready: Callable[[], None] | None = None
) -> None:
    """Show the runs in a folder at http://HOST:PORT until interrupted; by default to this machine only.

    Nothing is ever written or changed. Any other address than this machine's own must be asked for by
    name, because the pages are then readable by everybody who reaches it. `ready` is called once it listens.
    """
    with make_server(runs_folder, host=host, port=port) as server:
        if ready is not None:
            ready()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
