"""A directory put on the Hugging Face hub by its own client, and what arrived compared."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith import store
from tunesmith.errors import ConfigError, ModelError
from tunesmith.models import hub_huggingface, transfer
from tunesmith.models.hub import RemoteFile

_CHUNK_BYTES = 1 << 22


def require(name: str, token: str | None) -> None:
    """Refuse before hours of merging what could not be uploaded behind them; asks nobody.

    Raises:
        ConfigError: no token anywhere, or the hub's client is told to stay offline.
    """
    from huggingface_hub import constants, get_token

    where = f"export_hub_model_id: {name}"
    if constants.HF_HUB_OFFLINE:
        raise ConfigError(
            where,
            got="HF_HUB_OFFLINE is set",
            need="the hub itself",
            hint="unset HF_HUB_OFFLINE, or remove export_hub_model_id",
        )
    if token is None and get_token() is None:
        raise ConfigError(
            where,
            got="no token",
            need=f"an account of {hub_huggingface.host()} that may write there",
            hint="HF_TOKEN=... in the environment, or `hf auth login`",
        )


def push(directory: Path, name: str, token: str | None, *, private: bool = True) -> str:
    """Make the repository where it is missing, upload every file, and read the listing back.

    Args:
        directory: what was exported and proved; the manifest stays here.
        name: `owner/name` on the hub.
        token: access token; `None`: the one that the hub's own client finds.
        private: a repository that is made is for its owner alone.

    Returns:
        Address of the model on the hub.

    Raises:
        ModelError: no access, no answer, or something else arrived; the directory is as it was.
    """
    from huggingface_hub import HfApi

    place = _Place(directory, name)
    api = HfApi(endpoint=hub_huggingface.endpoint(), token=token)
    place.explained(lambda: api.create_repo(name, exist_ok=True, private=private))
    place.explained(
        lambda: api.upload_folder(
            repo_id=name,
            folder_path=str(directory),
            commit_message="Upload by Tunesmith",
            ignore_patterns=[store.MANIFEST, f"*/{store.MANIFEST}"],
        )
    )
    found = place.explained(lambda: hub_huggingface.listing(name, "main", token))
    there = {file.path: file for file in found.files}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        inner = path.relative_to(directory).as_posix()
        if path.name == store.MANIFEST:
            continue
        file = there.get(inner)
        if file is None or not _same(path, file):
            raise ModelError(
                f"{place.where}: {inner}",
                got="another file" if file else "no such file on the hub after the upload",
                need=f"the bytes of {path}",
                hint=place.again(),
            )
    return f"{hub_huggingface.endpoint()}/{name}"


class _Place(NamedTuple):
    """What goes where, for errors."""

    directory: Path
    name: str

    @property
    def where(self) -> str:
        return f"export_hub_model_id: {self.name}"

    def again(self) -> str:
        """How to upload it without another merge, by the hub's own command."""
        words = ["hf", "upload", self.name, str(self.directory), "--exclude", store.MANIFEST]
        return f"the export in {self.directory} is whole; to upload it: {shlex.join(words)}"

    def explained(self, ask: Callable[[], Any]) -> Any:
        try:
            return hub_huggingface.asking(ask)
        except (transfer.Refused, transfer.Unreachable) as error:
            refused = getattr(error, "status", None) in (401, 403, 404)
            account = "with HF_TOKEN of an account that may write there, " if refused else ""
            raise ModelError(
                self.where,
                got=str(error),
                need=f"a repository on {hub_huggingface.host()} that can be written",
                hint=f"{account}{self.again()}",
            ) from None


def _same(path: Path, file: RemoteFile) -> bool:
    if file.size != path.stat().st_size:
        return False
    found = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest() == (file.sha256 or file.git)
