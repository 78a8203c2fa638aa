"""A hub of datasets on loopback: Hugging Face's and ModelScope's interfaces over one set of files.

with FakeDatasets({"own/rows": {"README.md": b"...", "train.jsonl": b"..."}}) as hub:
    hub.url       # for HF_ENDPOINT or MODELSCOPE_ENDPOINT
    hub.requests  # (method, path) as they came
"""

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import Handler, Loopback, git_sha1

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeDatasets(Loopback):
    """Serves `datasets` (id -> path -> bytes) until it is closed; `token` is asked for if set."""

    def __init__(self, datasets: dict[str, dict[str, bytes]]) -> None:
        self.datasets, self.token = datasets, ""
        self.requests: list[tuple[str, str]] = []
        super().__init__(_handler(self))


def _handler(hub: FakeDatasets) -> type[Handler]:  # noqa: C901  # one small server
    class Answers(Handler):
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
            return self.send(
                200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{git_sha1(content)}"'}
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
                return self.send(404, json.dumps(said).encode())
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
            return self.send(200, files[query["FilePath"][0]])

        def _json(self, value: Any) -> None:
            self.send(200, json.dumps(value).encode())

        def _no(self, status: int, code: str) -> None:
            said = {"X-Error-Code": code, "X-Error-Message": code, "X-Repo-Commit": COMMIT}
            self.send(status, b"{}", said)

    return Answers


def _entries(files: dict[str, bytes]) -> list[dict[str, Any]]:
    folders = {path.rpartition("/")[0] for path in files if "/" in path}
    return [
        *({"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders),
        *(
            {"type": "file", "path": path, "oid": git_sha1(content), "size": len(content)}
            for path, content in files.items()
        ),
    ]
