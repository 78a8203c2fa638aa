"""A directory put on the Hugging Face hub by its own client, and what arrived compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith import store
from tunesmith.errors import ModelError
from tunesmith.models import hub_huggingface, transfer
from tunesmith.models.hub import RemoteFile

_CHUNK_BYTES = 1 << 22


def push(directory: Path, name: str, token: str | None) -> str:
    """Make the repository where it is missing, upload every file, and read the listing back.

    Args:
        directory: what was exported; the manifest stays here.
        name: `owner/name` on the hub.
        token: access token; `None`: the one that the hub's own client finds.

    Returns:
        Address of the model on the hub.

    Raises:
        ModelError: no access, no answer, or something else arrived.
    """
    from huggingface_hub import HfApi

    where = f"export_hub_model_id: {name}"
    api = HfApi(endpoint=hub_huggingface.endpoint(), token=token)
    _explained(where, lambda: api.create_repo(name, exist_ok=True))
    _explained(
        where,
        lambda: api.upload_folder(
            repo_id=name,
            folder_path=str(directory),
            commit_message="Upload by Tunesmith",
            ignore_patterns=[store.MANIFEST, f"*/{store.MANIFEST}"],
        ),
    )
    found = _explained(where, lambda: hub_huggingface.listing(name, "main", token))
    there = {file.path: file for file in found.files}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        inner = path.relative_to(directory).as_posix()
        if path.name == store.MANIFEST:
            continue
        file = there.get(inner)
        if file is None or not _same(path, file):
            raise ModelError(
                f"{where}: {inner}",
                got="another file" if file else "no such file on the hub after the upload",
                need=f"the bytes of {path}",
                hint="the same command again",
            )
    return f"{hub_huggingface.endpoint()}/{name}"


def _explained(where: str, ask: Callable[[], Any]) -> Any:
    try:
        return hub_huggingface.asking(ask)
    except (transfer.Refused, transfer.Unreachable) as error:
        status = getattr(error, "status", None)
        hint = "HF_TOKEN of an account that may write there" if status in (401, 403, 404) else ""
        raise ModelError(
            where,
            got=str(error),
            need=f"a repository on {hub_huggingface.host()} that can be written",
            hint=hint or "the same command again; the export itself is whole",
        ) from None


def _same(path: Path, file: RemoteFile) -> bool:
    if file.size != path.stat().st_size:
        return False
    found = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest() == (file.sha256 or file.git)
