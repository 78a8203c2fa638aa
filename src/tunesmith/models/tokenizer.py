"""The tokenizer of a model directory: `tokenizer.json` decides, the rest is checked against it.

transformers rebuilds a tokenizer from its class name and can get other ids out of the same files
without a word. So the `tokenizers` library reads `tokenizer.json` as it stands (`load`), what
transformers makes of it is compared (`check_rows`, `check_stock`), and what is written
(`save`) opens to the same ids wherever transformers lets it. Nothing here needs a model.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tokenizers

from tunesmith import store
from tunesmith.errors import ModelError
from tunesmith.models import files
from tunesmith.models.end_tokens import end_tokens
from tunesmith.types import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

RIGHT_LOADER = "transformers.PreTrainedTokenizerFast.from_pretrained"
PROBE = (
    "Hello,  world!\n\n\tIt's 12345.678 o'clock; I'LL be there in 2026.",
    "  two spaces first, then a tab\tand three newlines\n\n\nend  ",
    "你好，世界！今天是2026年１１月。這是繁體字。こんにちは カタカナ 안녕하세요",
    "def f(x: int) -> str:\n    return f'{x**2}'  # naïve café e\u0301 ﬁ Ⅷ",
    "Привет, мир — «кавычки» … ½ ² 😀👩‍👩‍👧 \u200b\u00a0|\x00|",
    '{"a": [1, 22, 333, 4444], "b": null}</s><|im_end|> <think>\n</think>',
    "مرحبا بالعالم ١٢٣ नमस्ते สวัสดี",
)
_NAMES = ("bos", "eos", "pad", "unk")
_KEPT = ("model_max_length", "model_input_names", "padding_side", "truncation_side")


class Difference(NamedTuple):
    """A text that another loader turns into other ids than `tokenizer.json` does."""

    text: str
    ids: list[int]
    """What `tokenizer.json` says."""
    other: list[int]
    """What the other loader says."""
    loader: str
    """Name of the class that the other loader chose."""


def load(
    directory: Path, *, trust_remote_code: bool = False, check_names: bool = True
) -> Tokenizer:
    """Read the tokenizer of a model directory; transformers is not imported for `tokenizer.json`.

    Args:
        directory: holds `tokenizer.json`, or `tokenizer.model` (converted and verified).
        trust_remote_code: allow a tokenizer that exists as the model's own Python code only.
        check_names: without, a bos, eos, pad or unk that is no token is let through, for
            whoever reports or repairs it.

    Raises:
        ModelError: no tokenizer, a broken one, or files beside it that contradict it.
    """
    directory = Path(directory)
    config = files.read_json_if_there(directory / "tokenizer_config.json")
    backend = _backend(directory, config, trust_remote_code=trust_remote_code)
    named = _named_tokens(directory, config)
    if check_names:
        _check_named(directory, backend, named)
    _check_numbered(directory, backend, config)
    ends, ends_from = end_tokens(directory, backend)
    eos = named["eos"] or (ends[0] if ends else None)
    return Tokenizer(
        backend=backend,
        path=directory,
        bos=named["bos"],
        eos=eos,
        pad=named["pad"],
        unk=named["unk"],
        chat_template=_chat_template(directory, config),
        stops=tuple(token for token in ends if token != eos),
        stops_from=ends_from,
    )


def save(
    tokenizer: Tokenizer,
    directory: Path,
    *,
    chat_template: str | None = None,
    eos: str | None = None,
) -> None:
    """Write the tokenizer so that stock transformers gets the same ids wherever it can.

    `tokenizer.json` keeps its bytes unless the tokenizer in memory differs from its file.

    Args:
        tokenizer: what to write.
        directory: is made; other files in it stay.
        chat_template: Jinja written instead of the tokenizer's own, which then stands beside
            it as `chat_template.own.jinja`, for people.
        eos: end token written instead of the tokenizer's own; in the vocabulary.

    Raises:
        ModelError: `eos` is no token of the vocabulary.
        StoreError: a file cannot be written.
    """
    if eos is not None and tokenizer.id_of(eos) is None:
        raise ModelError("eos", got=eos, need=f"a token of the vocabulary of {tokenizer.path}")
    before = files.read_json_if_there(tokenizer.path / "tokenizer_config.json")
    named = {f"{name}_token": getattr(tokenizer, name) for name in _NAMES}
    named["eos_token"] = eos or tokenizer.eos
    config = {key: before[key] for key in _KEPT if key in before} | named
    config |= _for_processor(tokenizer, before)
    config["clean_up_tokenization_spaces"] = False
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    store.make_directory(Path(directory))
    store.write_bytes(Path(directory) / "tokenizer.json", _source_bytes(tokenizer))
    store.write_json(Path(directory) / "tokenizer_config.json", config)
    special = {key: token for key, token in named.items() if token is not None}
    store.write_json(Path(directory) / "special_tokens_map.json", special)
    template = chat_template if chat_template is not None else tokenizer.chat_template
    if template is not None:
        store.write_text(Path(directory) / "chat_template.jinja", template)
    own = tokenizer.chat_template
    if own is not None and own != template:  # nothing reads it by itself; it is not lost
        store.write_text(Path(directory) / "chat_template.own.jinja", own)


def to_hf(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The same tokenizer as transformers' class, its ids checked on the probe texts.

    Raises:
        ModelError: transformers changes ids of the probe texts.
    """
    from transformers import PreTrainedTokenizerFast

    before = files.read_json_if_there(tokenizer.path / "tokenizer_config.json")
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(tokenizer.backend.to_str()),
        clean_up_tokenization_spaces=False,
        chat_template=tokenizer.chat_template,
        **{f"{name}_token": getattr(tokenizer, name) for name in _NAMES},
        **{key: before[key] for key in _KEPT if key in before},
        **_for_processor(tokenizer, before),
    )
    _refuse(tokenizer.path, compare(tokenizer.backend, made, PROBE))
    return made


def _for_processor(tokenizer: Tokenizer, config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Tokens that a processor asks its tokenizer for by name: `boi_token` of Gemma-3 and the like.

    In `tokenizer_config.json` they stand by themselves, or together since transformers 4.46.
    """
    named = {key: token for key, token in config.items() if key.endswith("_token")}
    for key in ("extra_special_tokens", "model_specific_special_tokens"):
        named |= found if isinstance(found := config.get(key), dict) else {}
    own = {f"{name}_token" for name in _NAMES if getattr(tokenizer, name) is not None}
    kept = {
        key: token
        for key, token in named.items()
        if key not in own and isinstance(token, str) and tokenizer.id_of(token) is not None
    }
    return {"extra_special_tokens": kept} if kept else {}


def check_rows(tokenizer: Tokenizer, texts: Iterable[str], *, from_file: bool = True) -> None:
    """Compare the loaded tokenizer with its file and with transformers' class, text by text.

    Args:
        tokenizer: as loaded.
        texts: the run's first rows; the probe texts are added.
        from_file: false for one that has got new tokens since it was loaded.

    Raises:
        ModelError: a text gets other ids, with the text and the first id that differs.
    """
    texts = [*PROBE, *texts]
    made = to_hf(tokenizer)
    _refuse(tokenizer.path, compare(tokenizer.backend, made, texts))
    if from_file and (tokenizer.path / "tokenizer.json").exists():
        again = _read_backend(tokenizer.path / "tokenizer.json")
        _refuse(tokenizer.path, compare(tokenizer.backend, again, texts))


def check_stock(directory: Path, texts: Iterable[str] = ()) -> list[Difference]:
    """Open a directory as everybody does, by AutoTokenizer, and list the texts that come out wrong.

    Where it differs, `RIGHT_LOADER` gets the ids of `tokenizer.json`.

    Args:
        directory: a whole model directory; the `config.json` beside the tokenizer matters.
        texts: further texts; the probe texts are always tried.

    Raises:
        ModelError: AutoTokenizer cannot open it at all, or there is no `tokenizer.json`.
    """
    import transformers

    from tunesmith.models.load import quiet

    backend = _read_backend(Path(directory) / "tokenizer.json")
    try:
        with quiet():
            stock = transformers.AutoTokenizer.from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # whatever a foreign tokenizer class raises
        raise ModelError(
            str(directory),
            got=f"{type(error).__name__}: {error}",
            need=f"a tokenizer that AutoTokenizer of transformers {transformers.__version__} opens",
            hint=f"{RIGHT_LOADER}({str(directory)!r})",
        ) from error
    return compare(backend, stock, [*PROBE, *texts])


def compare(
    backend: tokenizers.Tokenizer, other: Any, texts: Sequence[str], *, limit: int | None = None
) -> list[Difference]:
    """Texts whose ids differ, without and with the special tokens that a tokenizer adds itself.

    Args:
        backend: decides.
        other: a `tokenizers.Tokenizer` or any tokenizer of transformers.
        texts: compared one by one.
        limit: stop after so many differences.
    """
    found: list[Difference] = []
    for text in texts:
        for special in (False, True):
            ids = backend.encode(text, add_special_tokens=special).ids
            got = _ids(other, text, special)
            if ids != got:
                found.append(Difference(text, ids, got, type(other).__name__))
                break
        if limit is not None and len(found) >= limit:
            break
    return found


def _ids(other: Any, text: str, special: bool) -> list[int]:
    if isinstance(other, tokenizers.Tokenizer):
        return other.encode(text, add_special_tokens=special).ids
    return list(other(text, add_special_tokens=special, verbose=False)["input_ids"])


def _refuse(directory: Path, differences: list[Difference]) -> None:
    if not differences:
        return
    text, ids, other, loader = differences[0]
    at = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), len(ids))
    raise ModelError(
        f"{directory}: tokenizer",
        got=f"{loader} turns {text[:60]!r} into {other[at : at + 4]} from token {at} on",
        need=f"the ids of tokenizer.json, {ids[at : at + 4]}; a model fed with other ids learns "
        "and answers wrongly",
        hint="fetch the tokenizer files again, all from one source",
    )


def _backend(
    directory: Path, config: dict[str, Any], *, trust_remote_code: bool
) -> tokenizers.Tokenizer:
    if not directory.is_dir():
        raise ModelError(str(directory), got="no such directory", need="a model directory")
    if (directory / "tokenizer.json").exists():
        return _read_backend(directory / "tokenizer.json")
    if (directory / "tokenizer.model").exists():
        from tunesmith.models import sentencepiece

        return sentencepiece.convert(directory)
    remote = (config.get("auto_map") or {}).get("AutoTokenizer")
    if remote and not trust_remote_code:
        raise ModelError(
            f"{directory}: tokenizer_config.json: auto_map",
            got=remote,
            need="tokenizer.json; this tokenizer exists as the model's own Python code only",
            hint="trust_remote_code=true, if you trust whoever made it",
        )
    if remote:
        return _remote_backend(directory)
    raise ModelError(
        str(directory),
        got=", ".join(sorted(p.name for p in directory.iterdir())[:8]) or "an empty directory",
        need="tokenizer.json (or tokenizer.model); weights alone cannot read text",
        hint="copy the tokenizer files of the base model into the directory",
    )


def _remote_backend(directory: Path) -> tokenizers.Tokenizer:
    """The fast tokenizer that a model's own code builds, if it builds one."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(
        str(directory), trust_remote_code=True, local_files_only=True
    )
    backend = getattr(made, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise ModelError(
            str(directory),
            got=f"{type(made).__name__}, written in Python",
            need="a tokenizer that the tokenizers library can hold (tokenizer.json)",
            hint="look for a conversion of the model that ships tokenizer.json",
        )
    return _without_limits(backend)


def _read_backend(path: Path) -> tokenizers.Tokenizer:
    files.refuse_pointer_if_there(path)
    try:
        return _without_limits(tokenizers.Tokenizer.from_file(str(path)))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(
            str(path), got=str(error), need="a tokenizer.json", hint="fetch the file again"
        ) from None


def _without_limits(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Some files were saved with truncation or padding on: rows would be cut without a word."""
    backend.no_truncation()
    backend.no_padding()
    return backend


def _named_tokens(directory: Path, config: dict[str, Any]) -> dict[str, str | None]:
    """bos, eos, pad and unk; tokenizer_config.json before special_tokens_map.json."""
    older = files.read_json_if_there(directory / "special_tokens_map.json")
    named: dict[str, str | None] = {}
    for name in _NAMES:
        key = f"{name}_token"
        token = config[key] if key in config else older.get(key)
        named[name] = token.get("content") if isinstance(token, dict) else token
    return named


def _check_named(
    directory: Path, backend: tokenizers.Tokenizer, named: dict[str, str | None]
) -> None:
    """Transformers would add what is missing under a new id, past the end of the embedding."""
    for name, token in named.items():
        if token is not None and backend.token_to_id(token) is None:
            raise ModelError(
                f"{directory}: tokenizer_config.json: {name}_token",
                got=token,
                need="a token of tokenizer.json; the model has no row for another one",
                hint="fetch both files from one source, or name a token that is there: "
                f"tunesmith tokenizer check {shlex.quote(str(directory))} --fix {name}=TOKEN "
                "--output DIR",
            )


def _check_numbered(directory: Path, backend: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
    """Ids that tokenizer_config.json states are those of tokenizer.json."""
    for number, entry in (config.get("added_tokens_decoder") or {}).items():
        token = entry.get("content") if isinstance(entry, dict) else entry
        if str(backend.token_to_id(token)) != str(number):
            raise ModelError(
                f"{directory}: tokenizer_config.json: added_tokens_decoder.{number}",
                got=token,
                need=f"what tokenizer.json has there: {backend.id_to_token(int(number))!r}",
                hint="fetch both files from one source",
            )


def _chat_template(directory: Path, config: dict[str, Any]) -> str | None:
    """The model's own Jinja: its file, else the processor's, else the inline one."""
    if (directory / "chat_template.jinja").exists():
        return files.read_text(directory / "chat_template.jinja")
    older = files.read_json_if_there(directory / "chat_template.json")
    template = older.get("chat_template") or config.get("chat_template")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        template = next(iter(named.values())) if len(named) == 1 else named.get("default")
    return template


def _source_bytes(tokenizer: Tokenizer) -> bytes:
    source = tokenizer.path / "tokenizer.json"
    if source.exists():
        raw = source.read_bytes()
        if _read_backend(source).to_str() == tokenizer.backend.to_str():
            return raw
    return tokenizer.backend.to_str().encode()
