"""From the datasets of a run to its examples: read, convert, encode, fit, split, count.

Nothing is left out without its line in the ledger. What is returned is a pure function of
the files, the template, the tokenizer and the arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.data import cache, mix, purpose, registry, sampled
from tunesmith.data.examples import Maker, Said, fitting
from tunesmith.data.fast_encode import Differs
from tunesmith.data.fetch import NO_ACCESS, Access, fetch
from tunesmith.data.fit import Policy
from tunesmith.data.invisible import Invisible
from tunesmith.data.ledger import Ledger, counted
from tunesmith.data.media.family import Family
from tunesmith.data.media.render import Seeing
from tunesmith.data.mix import Mixing, Part
from tunesmith.data.reader import Reader, Unasked
from tunesmith.data.rows import files
from tunesmith.data.sampled import Drawn, Sampled, Sampling
from tunesmith.data.split import Copies, copies, fingerprint, split
from tunesmith.data.thinking import Thoughts
from tunesmith.data.token_store import Examples, Writer
from tunesmith.errors import ConfigError, DataError
from tunesmith.templates.choose import Renderer
from tunesmith.types import Example, Tokenizer

_TOLD_EVERY = 256  # rows
_Sides = tuple[Examples, Examples, tuple[Part, ...]]


class Prepared(NamedTuple):
    """The examples of a run and what became of every row."""

    train: Examples
    eval: Examples
    ledger: Ledger
    fingerprint: str
    """sha256 of what is learned: ids and trained flags of all examples, in order."""
    source: str
    """sha256 of the raw bytes of all data files, in order."""
    num_duplicates: int
    """Training examples that equal an earlier one."""
    num_leaked: int
    """Held-out examples that are training examples too."""
    tools: bool = False
    """Whether a row has tools or calls them."""
    entries: tuple[tuple[registry.Entry, bool], ...] = ()
    """What was read, fetched where it was elsewhere, and whether its rows are held out."""
    refusal: DataError | None = None
    """Why a run with these rows stops; only of a `whole` reading."""
    mix: tuple[Part, ...] = ()
    """What an epoch takes of each training dataset."""
    mix_table: tuple[str, ...] = ()
    """The same in lines; none where every row comes once, in its turn."""
    sampled: Sampled | None = None
    """What this is an estimate from; `None`: all rows have been read."""


def prepare(  # noqa: PLR0913 - one keyword for each key of the run file that matters here
    *,
    dataset: Sequence[registry.Item],
    eval_dataset: Sequence[registry.Item] = (),
    dataset_dir: Path,
    media_dir: Path | None = None,
    renderer: Renderer,
    tokenizer: Tokenizer,
    family: Family | None = None,
    cutoff_len: int,
    max_samples: int | None = None,
    val_size: float = 0,
    seed: int = 42,
    mix_strategy: str = mix.CONCAT,
    interleave_probs: Sequence[float] = (),
    train_on_prompt: bool = False,
    mask_history: bool = False,
    split_special_tokens: bool = True,
    on_bad_row: str = "error",
    whole: bool = False,
    truncation: Policy = "keep_end",
    overwrite_cache: bool = False,
    where: Callable[[str], str] = str,
    access: Access = NO_ACCESS,
    sampling: Sampling | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Read the datasets of a run and make its examples, or find them made before.

    Args:
        dataset: names, paths or entries (see `registry`).
        eval_dataset: held-out datasets; excludes `val_size`.
        dataset_dir: where `dataset_info.json` stands.
        media_dir: where paths of media begin; `None`: where those of their entry do.
        renderer: the chat template.
        tokenizer: the checked tokenizer.
        family: what the model makes of media; `None`: it takes none.
        cutoff_len: the most tokens of an example.
        max_samples: the first rows of each dataset, `None`: all.
        val_size: share of the rows (below 1) or their number (from 1) that is held out.
        seed: decides which rows are held out, sampled and drawn.
        mix_strategy: how the training rows of the datasets follow one another; see `mix`.
        interleave_probs: shares of the datasets in the mix; empty: they take turns.
        train_on_prompt: learn the questions too.
        mask_history: learn the last answer only.
        split_special_tokens: the strings of control tokens in a row's words stay words.
        on_bad_row: `error` or `skip`.
        whole: read all rows whatever is wrong with some: `Prepared.refusal` says what is raised
            otherwise.
        truncation: what happens to a row over the cutoff; see `fit.fit`.
        overwrite_cache: make them again though they are there.
        where: the place of a key of the run, for errors about what stands in it.
        access: what may be used to get datasets from elsewhere.
        sampling: of how many rows a sample may stand for all; `None`: of none, all are prepared.
        progress: called with the rows done while they are encoded.

    Raises:
        DataError: a file, an entry of the registry or rows that cannot be used.
        UnfitError: a dataset that is not for this stage (see `purpose`).
        ConfigError: `val_size` with `eval_dataset`, or out of range.
        StoreError: the cache cannot be written.
    """
    held, takes = _held_out_size(val_size, eval_dataset), tuple(family.slots) if family else ()
    places: Any = {"dataset_dir": dataset_dir, "where": where, "access": access}
    entries = entered(dataset, eval_dataset, takes=takes, **places)
    options = {
        "cutoff_len": cutoff_len,
        "max_samples": max_samples,
        "train_on_prompt": train_on_prompt,
        "mask_history": mask_history,
        "split_special_tokens": split_special_tokens,
        "truncation": truncation,
        "seed": seed if any(entry.num_samples for entry, _ in entries) else None,
        "media_dir": str(media_dir) if media_dir and family else None,
    }
    source = _source([entry for entry, _ in entries])
    laying: Renderer = Seeing(renderer, family) if family else renderer
    named = partial(cache.key, entries, source, laying, tokenizer)
    key, drawn = named(options=options), None
    if sampling and (sampling.asked or overwrite_cache or not cache.there(key)):
        drawn = sampled.draw(entries, sampling, max_samples=max_samples, seed=seed)
    key = named(options=options | {"sample": drawn.identity()}) if drawn else key
    reading = partial(
        Reader, renderer=renderer, max_samples=max_samples, seed=seed, media_dir=media_dir,
        takes=takes, only=drawn.parts if drawn else None,
    )  # fmt: skip
    as_examples = fitting(
        laying, tokenizer, cutoff_len=cutoff_len, truncation=truncation,
        train_on_prompt=train_on_prompt, mask_history=mask_history,
        split_special_tokens=split_special_tokens,
        expected=0 if max_samples or drawn else _size(entries),
    )  # fmt: skip

    stop = on_bad_row != "skip" and not whole

    def fill(writer: Writer, ledger: Ledger) -> None:
        ledger.stands_for = drawn.of if drawn else 0
        reader, unasked = reading(ledger, stop=stop), Unasked(renderer, mask_history=mask_history)
        thoughts, unseen = Thoughts(renderer), Invisible(ledger)
        said = unasked.counting(thoughts.in_marks(unseen.counting(reader.said(entries))))
        _write(Maker(as_examples, ledger, writer.counts).examples(said), writer, progress)
        if train_on_prompt:
            ledger.notes += reader.learned_all_the_same()
        ledger.notes += [*thoughts.notes(), *unasked.notes(), *unseen.notes()]
        ledger.stop_on_bad_rows("error" if stop else "skip")
        ledger.close()
        refuse_changed([entry for entry, _ in entries], source)

    prepared = _divided(
        *_kept(key, fill, again=overwrite_cache),
        entries=entries,
        drawn=drawn,
        how=Mixing(mix_strategy, tuple(interleave_probs), seed),
        val_size=held,
        on_bad_row=on_bad_row,
        whole=whole,
        where=where,
    )
    return prepared._replace(source=source, entries=tuple(entries))


def _write(
    rows: Iterable[tuple[Said, list[Example]]],
    writer: Writer,
    progress: Callable[[int], None] | None,
) -> None:
    for done, (one, made) in enumerate(rows, start=1):
        writer.add(made, held_out=one.held_out, turns=one.turns)
        if progress is not None and done % _TOLD_EVERY == 0:
            progress(done)


def _divided(
    examples: Examples,
    ledger: Ledger,
    *,
    entries: Sequence[tuple[registry.Entry, bool]],
    drawn: Drawn | None,
    how: Mixing,
    val_size: float,
    on_bad_row: str,
    whole: bool,
    where: Callable[[str], str],
) -> Prepared:
    """What is learned from and what is held out, and what they have in common."""
    on_side = examples.records("held_out")
    read = usable, held_out = examples.choose(~on_side), examples.choose(on_side)
    names = [[entry.name for entry, of in entries if of is side] for side in (False, True)]
    if drawn:
        usable, held_out = (
            sampled.scaled(side, drawn, there) for side, there in zip(read, names, strict=True)
        )
    wanted = [side for side, there in zip((usable, held_out), names, strict=True) if there]
    refusal = _refusal(ledger, on_bad_row, wanted)
    if refusal and not whole:
        raise refusal
    how = how._replace(strategy=mix.CONCAT) if refusal else how
    sides = partial(
        _sides, usable, held_out, names[0], val_size=val_size, wanted=ledger.wanted, where=where
    )
    (train, held_out, parts), how, unmixed = _mixed(sides, how, whole=whole)
    prepared = _prepared(train, held_out, ledger, of=read if drawn else None)
    if drawn:
        tokens, one_each = int(train.lengths.sum()), len(examples) == ledger.num_read
        told = sampled.told(read[0], drawn, parts, tokens, one_each=one_each)
        prepared = prepared._replace(sampled=told)
    return prepared._replace(refusal=refusal or unmixed, mix=parts, mix_table=mix.table(parts, how))


def _mixed(
    sides: Callable[..., _Sides], how: Mixing, *, whole: bool
) -> tuple[_Sides, Mixing, DataError | None]:
    """Both sides; where a dataset has no row to draw, a whole reading tells of the others too."""
    try:
        return sides(how=how), how, None
    except DataError as error:
        if not whole:
            raise
        how = how._replace(strategy=mix.CONCAT)
        return sides(how=how), how, error


def _sides(
    usable: Examples,
    held_out: Examples,
    datasets: Sequence[str],
    *,
    val_size: float,
    how: Mixing,
    wanted: Mapping[str, int],
    where: Callable[[str], str],
) -> _Sides:
    """What an epoch learns from, what is held out, and what is taken of each dataset."""
    if not len(usable):
        return usable, held_out, ()
    train = usable
    if val_size:
        train, held_out = split(usable, val_size, how.seed)
    train, parts = mix.mixed(train, usable, datasets, how, wanted=wanted, where=where)
    return train, held_out, parts


def entered(
    dataset: Sequence[registry.Item],
    eval_dataset: Sequence[registry.Item],
    *,
    dataset_dir: Path,
    takes: purpose.Takes = (),
    where: Callable[[str], str] = str,
    access: Access = NO_ACCESS,
) -> list[tuple[registry.Entry, bool]]:
    """The datasets of a run, here, and whether their rows are held out; as in `prepare`."""
    asked = {"dataset": dataset, "eval_dataset": eval_dataset}
    return [
        (fetch(entry, access), key == "eval_dataset")
        for key, items in asked.items()
        for entry in purpose.of_answers(registry.load(dataset_dir, items, where(key)), takes)
    ]


def _size(entries: Sequence[tuple[registry.Entry, bool]]) -> int:
    """Bytes of all files."""
    named = (path for entry, _ in entries for path in entry.paths)
    return sum(path.stat().st_size for one in named for path in files(one))


def _kept(
    key: str, fill: Callable[[Writer, Ledger], None], *, again: bool
) -> tuple[Examples, Ledger]:
    try:
        return cache.kept(key, fill, again=again)
    except Differs:  # all of it once more: now the ids are the library's
        return cache.kept(key, fill, again=again)


def _held_out_size(val_size: float, eval_dataset: Sequence[registry.Item]) -> float:
    if not val_size:
        return 0
    if eval_dataset:
        need = "one of them: held-out rows come from eval_dataset or from the training data"
        raise ConfigError("val_size", got=f"{val_size} beside eval_dataset", need=need)
    if val_size < 0 or (val_size > 1 and val_size != int(val_size)):
        need = "a share below 1, or a whole number of rows"
        raise ConfigError("val_size", got=val_size, need=need)
    return val_size


def _source(entries: Sequence[registry.Entry]) -> str:
    """sha256 of the names and the raw bytes of all files, in order."""
    whole = hashlib.sha256()
    named = (path for entry in entries for path in entry.paths)
    for path in (path for one in named for path in files(one)):
        whole.update(f"{path.name}\0{cache.digest(path)}".encode())
    return whole.hexdigest()


def refuse_changed(entries: Sequence[registry.Entry], source: str) -> None:
    """Nothing is made of files that somebody writes to meanwhile.

    Args:
        entries: what has been read.
        source: hash of their files before that.

    Raises:
        DataError: they are other files now.
    """
    if _source(entries) != source:
        names = ", ".join(str(path) for entry in entries for path in entry.paths)
        raise DataError(names, got="other bytes than before", need="files that nobody changes")


def _prepared(
    train: Examples, held_out: Examples, ledger: Ledger, *, of: Sequence[Examples] | None
) -> Prepared:
    """Both sides, and how many rows they have twice; of a sample, those of the sample `of`."""
    twice, leaked = copies(*of) if of else copies(train.distinct(), held_out)
    _tell(ledger, "duplicates", twice, "exact copies of an earlier row: {}")
    _tell(ledger, "leakage", leaked, "held out and trained on as well: {}; evaluation looks better")
    learned = fingerprint(train, held_out)
    counts = twice.number, leaked.number
    return Prepared(train, held_out, ledger, learned, "", *counts, tools=ledger.tools)


def _refusal(ledger: Ledger, on_bad_row: str, wanted: Sequence[Examples]) -> DataError | None:
    """Why a run with these rows stops; examples that are wanted must be there."""
    left = all(map(len, wanted))
    return ledger.refusal(on_bad_row) or (None if left else _nothing_left(ledger))


def _nothing_left(ledger: Ledger) -> DataError:
    skips = ledger.skips()
    reasons = ", ".join(f"{s.count:,} {reason}" for reason, s in skips.items())
    advice = [note for note in ledger.notes if "would keep" in note]
    hints = (s.first[0].hint for s in skips.values() if s.first[0].hint)
    return DataError(
        next((s.first[0].place for s in skips.values()), ", ".join(ledger.files) or "dataset"),
        got=f"no usable rows: {ledger.num_read:,} read, {reasons}",
        need="at least one row to learn from",
        hint=advice[-1].split("; ")[-1] if advice else next(hints, ""),
    )


def _tell(ledger: Ledger, kind: str, found: Copies, what: str) -> None:
    if found.first is not None:
        place = f"{found.first[0]} is {found.first[1]}"
        ledger.find(kind, place, found.number)
        ledger.notes.append(f"{what.format(counted(found.number))} (first: {place})")
