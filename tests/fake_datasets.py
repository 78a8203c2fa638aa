"""A hub of datasets on loopback: Hugging Face's and ModelScope's interfaces over one set of files.

with FakeDatasets({"own/rows": {"README.md": b"...", "train.jsonl": b"..."}}) as hub:
    hub.url       # for HF_ENDPOINT or MODELSCOPE_ENDPOINT
    hub.requests  # (method, path) as they came
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeDatasets:
    """Serves `datasets` (id -> path -> bytes) until it is closed; `token` is asked for if set."""

    def __init__(self, datasets: dict[str, dict[str, bytes]]) -> None:
        self.datasets, self.token = datasets, ""
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: FakeDatasets) -> type[BaseHTTPRequestHandler]:  # noqa: C901  # one small server
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = self.rfile.read(length)
            parts = urlsplit(self.path)
            path, query = unquote(parts.path), parse_qs(parts.query)
            hub.requests.append((self.command, path))
            if hub.token and hub.token not in (self.headers.get("Authorization") or ""):
                return self._no(401, "RepoNotFound")
            if path.startswith("/api/v1/datasets/"):
                return self._modelscope(path.removeprefix("/api/v1/datasets/"), query)
            if path.startswith("/api/datasets/"):
                return self._api(path.removeprefix("/api/datasets/"), sent)
            name, _, rest = path.removeprefix("/datasets/").partition("/resolve/")
            content = hub.datasets.get(name, {}).get(rest.partition("/")[2])
            if content is None:
                return self._no(404, "EntryNotFound" if name in hub.datasets else "RepoNotFound")
            return self._send(
                200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{_sha1(content)}"'}
            )

        do_GET = do_HEAD = do_POST = _answer

        def _api(self, path: str, sent: bytes) -> None:
            name = path.partition("/revision/")[0]
            name, _, tree = name.partition("/tree/")
            name, _, info = name.partition("/paths-info/")
            files = hub.datasets.get(name)
            if files is None:
                return self._no(404, "RepoNotFound")
            if tree:
                under = tree.partition("/")[2]
                return self._json([e for e in _entries(files) if e["path"].startswith(under)])
            if info:
                if sent.startswith(b"{"):
                    wanted = json.loads(sent)["paths"]
                else:
                    wanted = parse_qs(sent.decode())["paths"]
                wanted = [path.strip("/") for path in wanted]
                return self._json([e for e in _entries(files) if e["path"] in wanted])
            siblings = [{"rfilename": path} for path in files]
            return self._json(
                {"_id": "1", "id": name, "sha": COMMIT, "siblings": siblings, "tags": []}
            )

        def _modelscope(self, path: str, query: dict[str, list[str]]) -> None:
            name, _, action = path.partition("/repo")
            files = hub.datasets.get(name)
            if files is None:
                said = {"Code": 10010205001, "Message": "not found", "Success": False}
                return self._send(404, json.dumps(said).encode())
            if action == "/tree":
                listed = [
                    {
                        "Path": path, "Name": path.rpartition("/")[2], "Type": "blob",
                        "Size": len(content), "Revision": COMMIT, "IsLFS": False,
                        "Sha256": hashlib.sha256(content).hexdigest(),
                    }
                    for path, content in files.items()
                ]  # fmt: skip
                data = {"Files": listed, "TotalCount": len(listed)}
                return self._json({"Code": 200, "Success": True, "Data": data})
            return self._send(200, files[query["FilePath"][0]])

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode())

        def _no(self, status: int, code: str) -> None:
            said = {"X-Error-Code": code, "X-Error-Message": code, "X-Repo-Commit": COMMIT}
            self._send(status, b"{}", said)

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in ((headers or {}) | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def _entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    folders = {path.rpartition("/")[0] for path in files if "/" in path}
    return [
        *({"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders),
        *(
            {"type": "file", "path": path, "oid": _sha1(content), "size": len(content)}
            for path, content in files.items()
        ),
    ]
