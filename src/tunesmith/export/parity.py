"""Any two ways to a model held against each other: directory, GGUF file, server, or a run.

A run is asked by whoever knows runs (`cli.parity`); the others are opened here, in processes of
their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunesmith.errors import ModelError
from tunesmith.export import bnb, gate, gguf_file, job, proof, read_url, reader
from tunesmith.export.gate import Bound, Door
from tunesmith.export.said import Questions, Said
from tunesmith.export.sights import Sight
from tunesmith.models import files, gguf_tokenizer
from tunesmith.models import gguf as ggufs
from tunesmith.models import tokenizer as tokenizers
from tunesmith.types import Tokenizer

CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "How are you? 2 + 2 = 4, 你好"}],
    [{"role": "user", "content": "Name three colours."}],
    [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello, what can I do for you?"},
        {"role": "user", "content": "What is the capital of France?"},
    ],
)
"""What both are asked, beside the rows of a run."""
_NEW_TOKENS = 16
_SHOWN = ("run", "directory")
_EXACT = Bound("float32", 2e-5, 1e-8)


class Side(NamedTuple):
    """One of the two."""

    name: str
    """As it was given."""
    kind: Literal["run", "directory", "gguf", "server"]
    bound: Bound
    """How far its stored weights may be from the exact ones."""
    ask: Callable[[Questions], Said]
    tokenizer: Tokenizer | None = None
    """Where it brings one."""
    encode: Callable[[list[dict[str, str]]], list[int]] | None = None
    """Conversation to prompt ids, where that is known without asking."""


class Parity(NamedTuple):
    """What was found."""

    a: str
    b: str
    readers: tuple[str, str]
    doors: tuple[Door, ...]
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Nothing that could be compared differs, and something could."""
        found = [door.equal for door in self.doors]
        return False not in found and True in found

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        doors = [door.as_dict() for door in self.doors]
        return self._asdict() | {"doors": doors, "equal": self.equal}


def side(name: str, *, key: str = "", model: str = "") -> Side | None:
    """A way that is no run; `None`: it may be one.

    Args:
        name: path or URL.
        key: of a server.
        model: which of a server's.

    Raises:
        ModelError: a file that cannot be opened.
    """
    if name.startswith(("http://", "https://")):
        return Side(
            name, "server", _EXACT, lambda asked: read_url.read(name, asked, key=key, name=model)
        )
    path = Path(name)
    inside = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if path.suffix == ".gguf" or (len(inside) == 1 and not (path / "config.json").exists()):
        return _gguf(name, inside[0] if inside else path)
    if (path / "config.json").is_file() and not (path / "run.yaml").is_file():
        bound = _of_directory(path)
        return Side(
            name,
            "directory",
            bound,
            lambda asked: reader.apart("transformers", path, asked),
            tokenizers.load(path),
        )
    return None


def compare(
    a: Side, b: Side, *, rows: Sequence[list[int]] = (), sights: Sequence[Sight] = ()
) -> Parity:
    """Ask both the same, and hold the answers against each other.

    Args:
        a: the one that is right if they differ.
        b: the other.
        rows: ids of a run's rows, preferably held out; texts in many scripts are added.
        sights: questions about pictures, for two that can be shown any.

    Raises:
        ModelError: one of them cannot be asked.
    """
    asked = _questions(a, b, rows)
    if all(one.kind in _SHOWN for one in (a, b)):
        asked = asked._replace(sights=tuple(sights))
    said = [one.ask(asked) for one in (a, b)]
    doors = gate.compare(said[0], said[1], a.bound.beside(b.bound))
    notes = tuple(dict.fromkeys(note for found in said for note in found.notes))
    return Parity(a.name, b.name, (said[0].reader, said[1].reader), tuple(doors), notes)


def _questions(a: Side, b: Side, rows: Sequence[list[int]]) -> Questions:
    """In the ids of the first side that has a tokenizer."""
    owner = next((one for one in (a, b) if one.tokenizer is not None), None)
    prompts = list(CONVERSATIONS)
    if owner is None or owner.tokenizer is None:
        return Questions([], prompts, [], [], _NEW_TOKENS)
    backend = owner.tokenizer.backend
    texts = [*tokenizers.PROBE, *(backend.decode(row, skip_special_tokens=False) for row in rows)]
    every = [*rows, *(backend.encode(text).ids for text in tokenizers.PROBE)]
    cut = [list(row)[: proof.PROBE_TOKENS] for row in every[: proof.PROBES] if row]
    encode = owner.encode or _by_jinja(owner.tokenizer)
    begun = [encode(conversation) for conversation in prompts] if encode else cut[:3]
    return Questions(texts, prompts, cut, begun, _NEW_TOKENS)


def _by_jinja(tokenizer: Tokenizer) -> Callable[[list[dict[str, str]]], list[int]] | None:
    if tokenizer.chat_template is None:
        return None
    made = tokenizers.to_hf(tokenizer)

    def encode(conversation: list[dict[str, str]]) -> list[int]:
        found = made.apply_chat_template(conversation, add_generation_prompt=True, return_dict=True)
        return list(found["input_ids"])

    return encode


def _gguf(name: str, path: Path) -> Side:
    metadata = ggufs.metadata(path)
    bounds = {gguf_file.FILE_TYPES[kind]: held.bound for kind, held in gguf_file.KINDS.items()}
    bound = bounds.get(metadata.get("general.file_type", -1), gguf_file.KINDS["q4_k_m"].bound)
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as place:
        gguf_tokenizer.write(str(path), metadata, Path(place))
        tokenizer = tokenizers.load(Path(place))
    return Side(name, "gguf", bound, lambda asked: reader.apart("gguf", path, asked), tokenizer)


def _of_directory(path: Path) -> Bound:
    """What the weights of a directory may be off by."""
    held = files.read_json(path / "config.json").get("quantization_config") or {}
    if held.get("load_in_4bit") or held.get("load_in_8bit"):
        return bnb.BOUNDS[4 if held.get("load_in_4bit") else 8]
    if held:
        raise ModelError(
            f"{path}/config.json: quantization_config",
            got=held.get("quant_method", held),
            need="dense weights, or bitsandbytes",
        )
    return job.OF_DTYPE[proof.stored_dtype(path)]
