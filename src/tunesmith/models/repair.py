"""A model directory with other bos, eos, unk or pad tokens, written whole and proved.

Weights are copied byte for byte unless a token needs a row; then the logits of all old tokens
are held against those of the model that it was made from.
"""

from __future__ import annotations

import difflib
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tunesmith import store
from tunesmith.errors import ModelError, OutputError
from tunesmith.models import facts, files, load
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.vocabulary import Extended, NewToken, extend, make_rows
from tunesmith.types import Tokenizer

KIND = "tokenizer repair"
_BESIDE = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "*.py", "*processor_config.json")
_STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_SAME = 1e-4
"""Largest difference of a logit, as a share of the largest: a product of another width may add
its terms in another order."""
_ASKED_TOKENS = 48


class Repaired(NamedTuple):
    """What was written."""

    directory: Path
    named: dict[str, tuple[str | None, str, int]]
    """What each name was, what it is, and its id."""
    new: tuple[NewToken, ...]
    rows_before: int
    rows: int
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        out = [f"repaired  {self.directory}"]
        for name, (before, token, number) in self.named.items():
            out.append(f"  {name:<4} {token} (id {number}), was {before or 'none'}")
        for token in self.new:
            row = "a spare row of the embedding" if token.spare else "a new row of the embedding"
            out.append(
                f"  new  {token.token} takes {row}, set to the mean of all tokens' rows; "
                "the model has to be trained to use it"
            )
        grown = f"{self.rows_before:,} to {self.rows:,}"
        same = f"{self.rows:,}, as before"
        out.append(f"  rows {grown if self.rows != self.rows_before else same}")
        return out + [f"note: {note}" for note in self.notes]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        named = {k: {"was": w, "token": t, "id": n} for k, (w, t, n) in self.named.items()}
        return self._asdict() | {
            "directory": str(self.directory),
            "named": named,
            "new": [token._asdict() for token in self.new],
        }


def repair(
    directory: Path, out: Path, named: Mapping[str, str], *, trust_remote_code: bool = False
) -> Repaired:
    """Write a model directory in which bos, eos, unk or pad are other tokens.

    A token of the vocabulary keeps its id and row. One that is not in it takes a spare row of
    the embedding, else embedding and head grow.

    Args:
        directory: the model, which is not changed.
        out: a new or empty directory.
        named: token by name.
        trust_remote_code: allow the model's own Python code.

    Raises:
        OutputError: `out` holds something, or is the model.
        ModelError: the model cannot be read, a new token holds spaces, a token stands in ordinary
            text, or the result does not prove equal on old tokens.
        StoreError: a file cannot be written.
    """
    _refuse_place(directory, out)
    old = tokenizers.load(directory, trust_remote_code=trust_remote_code, check_names=False)
    _refuse_text(old, named)
    known = facts.facts(directory, trust_remote_code=trust_remote_code)
    extended = _with_all_rows(extend(old, known.vocab, special=tuple(named.values())))
    _refuse_words(extended.tokenizer, named)
    fresh = extended.tokenizer._replace(**named)
    for name in ("bos", "eos", "unk", "pad"):
        if name not in named and old.id_of(getattr(old, name)) is None:
            fresh = fresh._replace(**{name: None})  # what no token has cannot be written
    with store.publish(out, facts={"kind": KIND, "model": str(directory)}) as place:
        if extended.new or extended.rows > known.vocab:
            _write_grown(directory, place, extended, known, trust_remote_code=trust_remote_code)
        else:
            _copy_weights(directory, place)
        _write_beside(directory, place, fresh, named, before=old)
        _prove_tokenizer(place, extended.tokenizer, named)
        notes = _rowless_notes(extended, known) + _stock_notes(place)
    ids = {name: int(fresh.id_of(token) or 0) for name, token in named.items()}
    return Repaired(
        directory=out,
        named={name: (getattr(old, name), token, ids[name]) for name, token in named.items()},
        new=extended.new,
        rows_before=known.vocab,
        rows=extended.rows,
        notes=notes,
    )


def _refuse_place(directory: Path, out: Path) -> None:
    if out.resolve() == directory.resolve() or out.resolve() in directory.resolve().parents:
        raise OutputError(
            f"--output {out}", got=f"a directory that is or holds {directory}",
            need="a directory apart from the model",
        )  # fmt: skip
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        names = sorted(p.name for p in out.iterdir())[:5] if out.is_dir() else ["a file"]
        raise OutputError(f"--output {out}", got=", ".join(names), need="a new or empty directory")


def _refuse_text(tokenizer: Tokenizer, named: Mapping[str, str]) -> None:
    """A new token with spaces in it is a sentence in the wrong place: no text would reach it."""
    added = [t.content for t in tokenizer.backend.get_added_tokens_decoder().values()]
    for name, token in named.items():
        if tokenizer.id_of(token) is None and any(sign.isspace() for sign in token):
            near = difflib.get_close_matches(token, added, 1) or added[:1]
            raise ModelError(
                f"--fix {name}", got=token,
                need="a token of the vocabulary, or a new one without spaces",
                hint=shlex.quote(f"{name}={near[0]}") if near else "",
            )  # fmt: skip


def _refuse_words(tokenizer: Tokenizer, named: Mapping[str, str]) -> None:
    """Transformers cuts a named token out of every text that holds it."""
    added = {token.content for token in tokenizer.backend.get_added_tokens_decoder().values()}
    nothing = tokenizer._replace(bos=None, eos=None, unk=None, pad=None)
    for name, token in named.items():
        if token in added:
            continue
        texts = (f"a{token}a", f" {token} ", token * 2)
        try:
            tokenizers.check_rows(nothing._replace(**{name: token}), texts, from_file=False)
        except ModelError:
            raise ModelError(
                f"--fix {name}={token}", got="a piece of ordinary words",
                need="a control token, which no words hold: other loaders cut a named token out of "
                "every text, so that its other pieces change",
                hint=f"--fix {name}='<|extra_0|>', which is added",
            ) from None  # fmt: skip


def _with_all_rows(extended: Extended) -> Extended:
    """With a row for every id, also where the embedding had fewer than the tokenizer."""
    ids = extended.tokenizer.backend.get_vocab(with_added_tokens=True).values()
    return extended._replace(rows=max(extended.rows, 1 + max(ids)))


def _rowless_notes(extended: Extended, known: facts.Facts) -> tuple[str, ...]:
    count = extended.ids_before - known.vocab
    if count <= 0:
        return ()
    return (f"{count:,} ids had no row; theirs is the mean of all rows until they are learned",)


def _write_grown(
    directory: Path,
    place: Path,
    extended: Extended,
    known: facts.Facts,
    *,
    trust_remote_code: bool,
) -> None:
    """Weights with the new rows, in the type that they had, held against the old ones."""
    from transformers import GenerationConfig

    dtype = _STORED.get(known.stored_dtype or "")
    if dtype is None:
        raise ModelError(
            f"{directory}: weights", got=known.stored_dtype,
            need=f"one of {', '.join(_STORED)}, so that a row can be added",
        )  # fmt: skip
    model: Any = load.load_model(directory, dtype=dtype, trust_remote_code=trust_remote_code)
    ids = extended.tokenizer.backend.encode(tokenizers.PROBE[0]).ids[:_ASKED_TOKENS]
    ids = [i for i in ids if i < known.vocab and i not in {token.id for token in extended.new}]
    ids = ids or [0]  # an embedding so small that it has a row for none of them
    old = min(extended.ids_before, known.vocab)
    said = _logits(model, ids)[:, :old]
    make_rows(model, extended)
    model.generation_config = GenerationConfig()  # the old one is written as it stands
    with load.quiet():
        model.save_pretrained(place)
    del model
    again = load.load_model(place, dtype=dtype, trust_remote_code=trust_remote_code)
    differs = float((_logits(again, ids)[:, :old] - said).abs().max())
    bound = _SAME * max(1.0, float(said.abs().max())) * (1 if dtype == torch.float32 else 100)
    if not differs <= bound:
        raise ModelError(
            str(directory), got=f"a logit of an old token that differs by {differs:.3g}",
            need=f"at most {bound:.3g}; nothing was written",
        )  # fmt: skip


def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def _copy_weights(directory: Path, place: Path) -> None:
    for path in files.weight_files(directory):
        shutil.copyfile(path, place / path.name)
    if (directory / files.INDEX).is_file():
        shutil.copyfile(directory / files.INDEX, place / files.INDEX)
    shutil.copyfile(directory / "config.json", place / "config.json")


def _write_beside(
    directory: Path, place: Path, fresh: Tokenizer, named: Mapping[str, str], *, before: Tokenizer
) -> None:
    """Configs with the ids, the tokenizer, and what else a model directory brings."""
    config = files.read_json(place / "config.json")
    generation = files.read_json_if_there(directory / "generation_config.json")
    former = None if _ends_turns(before) else before.id_of(before.eos)
    for name in (name for name in named if name != "unk"):
        key, number = f"{name}_token_id", fresh.id_of(named[name])
        for part in (config, config.get("text_config"), generation):
            if isinstance(part, dict) and (part is not config.get("text_config") or key in part):
                part[key] = _with_others(part.get(key), number, former) if name == "eos" else number
    store.write_json(place / "config.json", config)
    store.write_json(place / "generation_config.json", generation)
    tokenizers.save(fresh, place)
    for path in (path for pattern in _BESIDE for path in sorted(directory.glob(pattern))):
        shutil.copyfile(path, place / path.name)
    for path in place.iterdir():
        path.chmod(0o644)  # safetensors writes for the owner alone


def _ends_turns(before: Tokenizer) -> bool:
    """Whether the model's own template, which stays, writes the end that is replaced."""
    return bool(before.eos and before.chat_template and before.eos in before.chat_template)


def _with_others(stated: Any, number: int | None, former: int | None) -> Any:
    """The new end first, then the further ones that stood there, without a former end."""
    stood = stated if isinstance(stated, list) else [stated]
    others = [i for i in stood if i not in (former, number, None)]
    return [number, *others] if others else number


def _prove_tokenizer(place: Path, tokenizer: Tokenizer, named: Mapping[str, str]) -> None:
    """What was written reads as what was meant, here and by transformers' fast class."""
    again = tokenizers.load(place)
    wrong = [name for name, token in named.items() if getattr(again, name) != token]
    assert not wrong, f"{wrong} were written otherwise"
    if tokenizers.compare(tokenizer.backend, again.backend, tokenizers.PROBE):
        raise ModelError(str(place), need="the ids of the tokenizer that was repaired")
    tokenizers.check_rows(again, list(named.values()))


def _stock_notes(place: Path) -> tuple[str, ...]:
    try:
        wrong = tokenizers.check_stock(place)
    except ModelError as error:
        return (f"AutoTokenizer cannot open it ({error.got}); use {tokenizers.RIGHT_LOADER}",)
    if not wrong:
        return ()
    return (
        f"AutoTokenizer takes {wrong[0].loader} for it and gets other ids; "
        f"use {tokenizers.RIGHT_LOADER}",
    )
