"""A server on loopback with the layout of Hugging Face's hub: OWNER/NAME/resolve/REVISION/FILE."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)


class Hub:
    """The repositories of a hub, which are the folders OWNER/NAME under a folder.

    Attributes:
        folder: holds the repositories.
        url: address of the server.
        cut: names of files whose transfer breaks off in the middle.
        spoiled: names of files that arrive with other bytes than their hash says.
        asked: paths of all requests so far.
    """

    def __init__(self, folder: Path):
        self.folder, self.url = folder, ""
        self.cut: set[str] = set()
        self.spoiled: set[str] = set()
        self.asked: list[str] = []

    @contextlib.contextmanager
    def serving(self) -> Iterator["Hub"]:
        """Serve the repositories for as long as the context lasts."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop serving, as if the network were gone."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        """Answer with the headers of a file."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.hub
        hub.asked.append(self.path)
        owner, name, _, revision, file = self.path.strip("/").split("/", 4)
        path = hub.folder / owner / name / file
        if not path.parent.is_dir():
            return self._refuse("RepoNotFound")
        if revision not in REVISIONS:
            return self._refuse("RevisionNotFound")
        if not path.is_file():
            return self._refuse("EntryNotFound")
        content = path.read_bytes()
        large = path.suffix != ".json"
        digest = hashlib.sha256(content) if large else hashlib.sha1(content)
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{digest.hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if file in hub.spoiled:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if body:
            self.wfile.write(content[: len(content) // 2] if file in hub.cut else content)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
