"""A hub on loopback: Hugging Face's and ModelScope's interfaces over one set of files, with faults.

with FakeHub({"own/model": {"config.json": b"{}", "model.safetensors": b"..."}}) as hub:
    hub.url            # for HF_ENDPOINT or MODELSCOPE_ENDPOINT
    hub.fault = "503"  # every request from now on
    hub.requests       # (method, path, range) as they came
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import Handler, Loopback, git_sha1
from tunesmith.models import transfer

LARGE = (".safetensors", ".model", ".gguf")  # stored in LFS, so stated with sha256


class FakeHub(Loopback):
    """Serves `models` (id -> path -> bytes) until it is closed.

    Faults: `503` every answer; `503 once` the next one; `wrong` sends other bytes of the same
    length; `gated` refuses without a token; `html` answers with a page; `no range` ignores Range.
    `lost` takes a byte off large files that are uploaded; `503 upload` refuses their bytes.
    `cuts` large files end in the middle, and `after_cut` is the fault from then on.
    """

    def __init__(self, models: dict[str, dict[str, bytes]]) -> None:
        self.models = models
        self.fault = ""
        self.cuts = 0
        self.after_cut = ""
        self.token = ""
        self.requests: list[tuple[str, str, str]] = []
        self.uploaded: dict[str, bytes] = {}
        self.private: set[str] = set()
        """Large files by sha256, as they arrived in LFS."""
        super().__init__(_handler(self))

    def commit(self, name: str) -> str:
        """Forty digits that change with any byte of the model."""
        files = self.models[name]
        said = "".join(f"{p}{hashlib.sha256(files[p]).hexdigest()}" for p in sorted(files))
        return hashlib.sha1(said.encode()).hexdigest()


def _handler(hub: FakeHub) -> type[Handler]:  # noqa: C901  # one small server
    class Answers(Handler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            path, query = unquote(parts.path), parse_qs(parts.query)
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
            if hub.fault in ("503", "503 once"):
                hub.fault = "" if hub.fault == "503 once" else hub.fault
                return self.send(503, b"busy")
            if hub.fault == "html":
                return self.send(200, b"<html>welcome</html>")
            if hub.token and hub.token not in (self.headers.get("Authorization") or ""):
                return self._no(401, "GatedRepo" if hub.fault == "gated" else "RepoNotFound")
            if path.startswith("/api/v1/models/"):
                return self._modelscope(path, query)
            return self._huggingface(path)

        do_GET = do_HEAD = _answer

        def do_PUT(self) -> None:
            """Bytes of a large file, to where `_lfs` has sent them."""
            body = self._body()
            hub.requests.append(("PUT", self.path, ""))
            if hub.fault == "503 upload":
                return self.send(400, b"no")
            hub.uploaded[self.path.rpartition("/")[2]] = body[: -1 if hub.fault == "lost" else None]
            self.send(200, b"")

        def do_POST(self) -> None:
            """Uploads: a repository is made, files are announced, one commit brings them all."""
            path, body = urlsplit(self.path).path, self._body()
            hub.requests.append(("POST", path, ""))
            if hub.fault == "503":
                return self.send(503, b"busy")
            if hub.token and hub.token not in (self.headers.get("Authorization") or ""):
                return self._no(401, "RepoNotFound")
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                if name not in hub.models:
                    hub.models[name] = {}
                    private = asked.get("private") or asked.get("visibility") == "private"
                    hub.private |= {name} if private else set()
                return self._json({"url": f"{hub.url}/{name}", "id": name, "name": name})
            if path == "/api/validate-yaml":
                return self._json({"errors": [], "warnings": []})
            if path.endswith(".git/info/lfs/objects/batch"):
                return self._json({"objects": [self._lfs(e) for e in json.loads(body)["objects"]]})
            owner, short, action = path.removeprefix("/api/models/").split("/", 2)
            name = f"{owner}/{short}"
            if action.startswith("preupload"):
                return self._json({"files": [_announced(f) for f in json.loads(body)["files"]]})
            for entry in map(json.loads, body.splitlines()):
                said = entry["value"]
                if entry["key"] == "file":
                    hub.models[name][said["path"]] = base64.b64decode(said["content"])
                if entry["key"] == "lfsFile":
                    hub.models[name][said["path"]] = hub.uploaded[said["oid"]]
            commit = hub.commit(name)
            return self._json({"commitUrl": f"{hub.url}/{name}/commit/1", "commitOid": commit})

        def _lfs(self, entry: dict[str, Any]) -> dict[str, Any]:
            to = {"upload": {"href": f"{hub.url}/lfs/{entry['oid']}"}}
            return entry | ({} if entry["oid"] in hub.uploaded else {"actions": to})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _huggingface(self, path: str) -> None:
            if path.startswith("/api/models/"):
                name, _, commit = path.removeprefix("/api/models/").partition("/tree/")
                if commit:
                    return self._json(_tree(hub, name))
                name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
                if name not in hub.models:
                    return self._no(404, "RepoNotFound")
                if revision not in ("", "main", hub.commit(name)):
                    return self._no(404, "RevisionNotFound")
                return self._json(_info(hub, name))
            name, _, rest = path.removeprefix("/").partition("/resolve/")
            _, _, inner = rest.partition("/")
            content = hub.models.get(name, {}).get(inner)
            if content is None:
                return self._no(404, "EntryNotFound" if name in hub.models else "RepoNotFound")
            large = inner.endswith(LARGE)
            sha = hashlib.sha256(content).hexdigest() if large else git_sha1(content)
            headers = {"X-Repo-Commit": hub.commit(name), "ETag": f'"{sha}"'}
            if large:
                headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(content))}
            return self._file(content, headers, large=large)

        def _modelscope(self, path: str, query: dict[str, list[str]]) -> None:
            name, _, action = path.removeprefix("/api/v1/models/").partition("/repo")
            files = hub.models.get(name)
            if files is None or query.get("Revision") not in (["master"], ["v1"]):
                said = {"Code": 10010205001, "Message": "not found", "Success": False}
                return self.send(404, json.dumps(said).encode())
            if action == "/files":
                listed = [_entry(inner, content) for inner, content in files.items()]
                said = {"Code": 200, "Success": True, "Data": {"Files": listed}}
                return self._json(said)
            inner = query["FilePath"][0]
            return self._file(files[inner], {}, large=inner.endswith(LARGE))

        def _file(self, content: bytes, headers: dict[str, str], *, large: bool) -> None:
            if hub.fault == "wrong" and large:
                content = bytes(len(content))
            start, asked = 0, self.headers.get("Range", "")
            if asked and hub.fault != "no range":
                start = int(asked.removeprefix("bytes=").partition("-")[0])
                if start >= len(content):
                    return self.send(416, b"")
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            sent = content[start:]
            if self.command != "HEAD" and large and hub.cuts > 0:
                hub.cuts -= 1
                return self._cut(sent, headers, 206 if start else 200)
            return self.send(206 if start else 200, sent, headers)

        def _cut(self, content: bytes, headers: dict[str, str], status: int) -> None:
            self.head(status, len(content), headers)
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            hub.fault = hub.after_cut or hub.fault

        def _json(self, value: Any) -> None:
            self.send(200, json.dumps(value).encode())

        def _no(self, status: int, code: str) -> None:
            said = {"X-Error-Code": code, "X-Error-Message": code}
            self.send(status, b'{"error": "no"}', said)

    return Answers


def _announced(file: dict[str, Any]) -> dict[str, Any]:
    how = "lfs" if file["path"].endswith(LARGE) else "regular"
    return {"path": file["path"], "uploadMode": how, "shouldIgnore": False}


def _info(hub: FakeHub, name: str) -> dict[str, Any]:
    siblings = []
    for inner, content in hub.models[name].items():
        entry: dict[str, Any] = {
            "rfilename": inner,
            "size": len(content),
            "blobId": git_sha1(content),
        }
        if inner.endswith(LARGE):
            sha = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 130}
        siblings.append(entry)
    return {
        "_id": "1",
        "id": name,
        "modelId": name,
        "sha": hub.commit(name),
        "siblings": siblings,
        "private": False,
        "tags": [],
    }


def _tree(hub: FakeHub, name: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": entry["rfilename"],
            "size": entry["size"],
            "oid": entry["blobId"],
            **({"lfs": entry["lfs"] | {"oid": entry["lfs"]["sha256"]}} if "lfs" in entry else {}),
        }
        for entry in _info(hub, name)["siblings"]
    ]


def _entry(inner: str, content: bytes) -> dict[str, Any]:
    return {
        "Path": inner,
        "Name": inner.rpartition("/")[2],
        "Type": "blob",
        "Size": len(content),
        "Sha256": hashlib.sha256(content).hexdigest(),
    }


@contextmanager
def as_hub(monkeypatch: Any, models: dict[str, dict[str, bytes]], cache: Path) -> Iterator[FakeHub]:
    """The fake hub as both hubs of the environment, behind proxies that nobody listens at."""
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its store is not faked, LFS is
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setenv("TUNESMITH_CACHE", str(cache / "cache"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0))
    with FakeHub(models) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", served.url)
        close_session()  # another test's has read another environment
        yield served
    close_session()
