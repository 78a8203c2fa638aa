"""Hugging Face: listings and tokens by its own client library, copies in its cache used in place.

A copy that another program has downloaded is verified by the names that the library gives to its
files there, which are their hashes.
"""

from __future__ import annotations

import contextlib
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import ModelError
from tunesmith.models import files as local
from tunesmith.models import hub, transfer
from tunesmith.models.hub import Ask, Listing, RemoteFile
from tunesmith.models.transfer import Refused, Unreachable


def endpoint() -> str:
    """Address of the hub; `HF_ENDPOINT` changes it."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def host() -> str:
    """Name of the hub for messages."""
    return urllib.parse.urlsplit(endpoint()).netloc


def listing(name: str, revision: str, token: str | None) -> Listing:
    """All files of a model at a revision.

    Raises:
        Unreachable: no answer after all tries, or offline mode.
        Refused: no such model or revision, or no access.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint(), token=token)
    info = asking(lambda: api.model_info(name, revision=revision, files_metadata=True, timeout=20))
    found = []
    for file in info.siblings or []:
        lfs = file.lfs
        found.append(
            RemoteFile(
                path=file.rfilename,
                size=file.size if lfs is None else lfs.size,
                sha256=None if lfs is None else lfs.sha256,
                git=file.blob_id if lfs is None else None,
            )
        )
    return Listing(info.sha, info.sha, tuple(found))


def place(name: str, ref: str, file: RemoteFile, token: str | None) -> tuple[str, dict[str, str]]:
    """(address of a file, headers to ask with); the token is the library's where none is given."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(name, file.path, revision=ref, endpoint=endpoint())
    sent = build_hf_headers(token=token)
    return url, {key: value for key, value in sent.items() if key.lower() == "authorization"}


def cached(ask: Ask, listing: Listing | None) -> Path | None:
    """A whole and right copy in Hugging Face's own cache.

    Args:
        ask: what is needed.
        listing: of the hub; `None` when it does not answer: then the weights have to be whole
            by their own headers, and every file has to have the hash that is its name there.
    """
    from huggingface_hub import try_to_load_from_cache

    revision = ask.revision if listing is None else listing.commit
    found = try_to_load_from_cache(ask.name, "config.json", revision=revision)
    if not isinstance(found, str):
        return None
    directory = Path(found).parent
    try:
        if listing is not None:
            wanted = ask.select(listing)
        else:
            weights = local.weight_files(directory) if ask.weights else []
            small = [path for path in directory.iterdir() if path.suffix == ".json"]
            wanted = [_by_name(path) for path in (*small, *weights)]
        if not all((directory / file.path).exists() for file in wanted):
            return None
        for file in wanted:
            hub.verify(directory / file.path, file, ask.name, remove=False)
    except ModelError:
        return None
    return directory


def _by_name(path: Path) -> RemoteFile:
    """The cache names a blob by its hash: 64 digits are a sha256, 40 are git's sha1."""
    blob = path.resolve().name
    sha256 = blob if len(blob) == 64 else None
    git = blob if len(blob) == 40 else None
    return RemoteFile(path.name, None, sha256, git)


def asking(action: Callable[[], Any]) -> Any:
    """Run a call of the library; its many exceptions become `Unreachable` or `Refused`."""
    for pause in transfer.PAUSES:
        try:
            with _translated():
                return action()
        except Unreachable as error:
            if "offline mode" in str(error):
                raise
            time.sleep(pause)
    with _translated():
        return action()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    from huggingface_hub import errors

    _keep_loopback_direct()
    try:
        yield
    except errors.GatedRepoError:
        raise Refused(403, "the model is gated") from None
    except errors.RepositoryNotFoundError:
        raise Refused(404, "no such model, or a private one") from None
    except errors.RevisionNotFoundError:
        raise Refused(404, "no such revision") from None
    except errors.HFValidationError as error:
        raise Refused(400, str(error)) from None
    except errors.OfflineModeIsEnabled:
        raise Unreachable("offline mode (HF_HUB_OFFLINE) is on") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (408, 429) or status >= 500:
            raise Unreachable(f"it answers {status}") from None
        raise Refused(status, str(error).splitlines()[0]) from None
    except Exception as error:  # connection errors of whichever HTTP library it uses
        said = [f"{type(e).__name__}: {e}".splitlines()[0] for e in (error, error.__cause__) if e]
        raise Unreachable("; ".join(said)) from None


def _keep_loopback_direct() -> None:
    """A proxy of the environment must not see requests to this machine itself."""
    from huggingface_hub import close_session

    if not transfer.is_loopback(endpoint()):
        return
    name = urllib.parse.urlsplit(endpoint()).hostname or ""
    for key in ("NO_PROXY", "no_proxy"):
        hosts = [part for part in os.environ.get(key, "").split(",") if part]
        if name not in hosts:
            os.environ[key] = ",".join([*hosts, name])
            close_session()  # one that is open already has read the old value
