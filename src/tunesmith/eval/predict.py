"""Answers to a data set, written row by row in order; a run that was interrupted goes on.

    generated_predictions.jsonl   a line for each row: prompt, predict, label, where it stands
    predict_results.json          what was asked, from the start; the figures, at the end

An answer depends on its row alone (`infer.batching`), and so does its seed: whatever is
interrupted, and wherever, the file of a run that went on has the bytes of one that did not.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith import store
from tunesmith.data.media.feed import Feed
from tunesmith.errors import Error, OutputError
from tunesmith.eval.questions import Question, Questions
from tunesmith.infer.batching import SLOTS, Batching, Switch
from tunesmith.infer.hf import Answer, Engine
from tunesmith.infer.request import Request
from tunesmith.infer.sampling import Sampling
from tunesmith.infer.stream import TextStream
from tunesmith.types import Call, Origin

ROWS, RESULTS = "generated_predictions.jsonl", "predict_results.json"
PICTURE = "predict_confusion.png"
_FORMAT = 1
_PACE = ("predict_runtime", "predict_samples_per_second", "predict_samples_asked")
_AHEAD = 4 * SLOTS  # rows that are under way or wait, so that a long answer holds up nobody

Read = Callable[[Answer], tuple[str, tuple[Call, ...]]]
"""Words and calls of an answer, as the template writes them."""


class Predicted(NamedTuple):
    """One row that was answered."""

    prompt: str
    predict: str
    label: str
    finish: str
    origin: Origin
    predict_calls: tuple[Call, ...] = ()
    label_calls: tuple[Call, ...] = ()

    def line(self) -> str:
        """As it stands in the file."""
        dataset, file, line, row = self.origin
        said: dict[str, Any] = {
            "prompt": self.prompt,
            "predict": self.predict,
            "label": self.label,
            "finish": self.finish,
            "dataset": dataset,
            "file": file,
            "line": line,
            "row": row,
        }
        if self.predict_calls or self.label_calls:
            said["predict_calls"] = [list(call) for call in self.predict_calls]
            said["label_calls"] = [list(call) for call in self.label_calls]
        return json.dumps(said, ensure_ascii=False)

    @classmethod
    def of(cls, text: bytes) -> Predicted:
        """What `line` has written."""
        said = json.loads(text)
        if not isinstance(said, dict):
            raise ValueError("no object")
        prompt, predict, label, finish = (said[k] for k in ("prompt", "predict", "label", "finish"))
        if not all(isinstance(text, str) for text in (prompt, predict, label, finish)):
            raise ValueError("texts")
        origin = Origin(said["dataset"], said["file"], int(said["line"]), int(said["row"]))
        made, wanted = (
            tuple(Call(*call) for call in said.get(key, ()))
            for key in ("predict_calls", "label_calls")
        )
        return cls(prompt, predict, label, finish, origin, made, wanted)


class Asking:
    """How rows are asked.

    Args:
        engine: over the loaded model.
        sampling: of each; every row has a seed of its own.
        read: words and calls of an answer.
        within: makes the context of a forward pass; see `infer.batching`.
        over: what answers in place of the engine's model; closed at the end.
        see: reads the media of a prompt.
    """

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        read: Read,
        *,
        within: Switch | None = None,
        over: Any = None,
        see: Feed | None = None,
    ) -> None:
        self.engine, self.sampling, self.read, self._over = engine, sampling, read, over
        self._see = see or Feed(None)
        self._within = {None: within} if within else None

    def answers(self, questions: Questions, *, start: int = 0) -> Iterator[Predicted]:
        """The rows from `start` on with their answers, in order."""
        engine = self.engine
        waiting: deque[tuple[Question, Any]] = deque()
        batching = self._over or Batching(
            engine.model,
            engine.tokenizer.backend,
            stop_ids=engine.stop_ids,
            stop_texts=engine.stop_texts,
            adapters=self._within,  # type: ignore[arg-type]
        )
        try:
            for index in range(start, len(questions)):
                asked = questions[index]
                sampling = self.sampling._replace(seed=seed_of(self.sampling.seed, index))
                seen = self._see.prompt(asked.prompt_ids, asked.media)
                request = Request((*asked.prompt_ids,), sampling, seen=seen)
                waiting.append((asked, batching.submit(request)))
                if len(waiting) >= _AHEAD:
                    yield self._answered(*waiting.popleft())
            while waiting:
                yield self._answered(*waiting.popleft())
        finally:
            batching.close()

    def _answered(self, asked: Question, stream: Any) -> Predicted:
        for _ in stream:
            pass
        finish = "stop" if stream.row.finish == "stop" else "length"
        row = stream.row
        text = self.engine.text(row.ids)
        said, calls = self.read(Answer(text, row.ids, asked.prompt_ids, finish, 0.0))
        label, label_calls = self.read(self._label(asked))
        prompt = self.engine.tokenizer.backend.decode(asked.prompt_ids, skip_special_tokens=False)
        return Predicted(prompt, said, label, finish, asked.origin, calls, label_calls)

    def _label(self, asked: Question) -> Answer:
        """The answer of a row, as if the model had given it."""
        backend = self.engine.tokenizer.backend
        stream = TextStream(backend, skipped=self.engine.skipped)
        for token_id in asked.label_ids:
            if token_id not in self.engine.stop_ids:
                stream.push(token_id)
        stream.finish()
        text = stream.text
        for word in self.engine.stop_texts:
            text = text.removesuffix(word)
        return Answer(text, asked.label_ids, asked.prompt_ids, "stop", 0.0)


def seed_of(seed: int, index: int) -> int:
    """The seed of a row's draw: neither order nor neighbours matter."""
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:7], "big")


class Files:
    """What a prediction writes into a directory.

    Args:
        directory: held by a lock of the caller; made where it is missing.
        identity: of what is asked: model, rows, settings.
        overwrite: whether predictions of something else are moved aside.

    Raises:
        OutputError: predictions of something else are there, or files that nobody here wrote.
    """

    def __init__(
        self, directory: Path, identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.rows, self.results = directory / ROWS, directory / RESULTS
        self._picture = directory / PICTURE
        self._identity = json.loads(json.dumps({"format": _FORMAT, **identity}))
        self.moved: list[Path] = []
        self._decide(overwrite)

    def begin(self) -> None:
        """What is asked, before the first row; nothing where it is known already."""
        if not self.results.is_file():
            store.write_json(self.results, {"finished": False, "identity": self._identity})

    def there(self, questions: Questions) -> list[Predicted]:
        """Rows that are answered already; a line that was not finished is cut off.

        Raises:
            OutputError: the file has been edited.
        """
        if not self.rows.is_file():
            return []
        data = self.rows.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            store.cut(self.rows, len(whole))
        found = []
        for index, line in enumerate(whole.split(b"\n")[:-1]):
            row = _row(line)
            known = index < len(questions) and row and row.origin == questions[index].origin
            if not (row and known):
                raise OutputError(
                    f"{self.rows}:{index + 1}", got=line.decode("utf8", "replace"),
                    need="the lines as they were written",
                    hint="move the file away, or --output DIR",
                )  # fmt: skip
            found.append(row)
        return found

    def add(self, row: Predicted) -> None:
        """One more row, on disk when this returns."""
        store.append_line(self.rows, row.line(), sync=True)

    def pace(self, new: int, seconds: float) -> dict[str, float]:
        """Time and speed of the rows that are new; of the last that were, if none is."""
        if not new:
            before = self._read()
            known = {key: before[key] for key in _PACE if key in before}
            if known:
                return known
        seconds = max(seconds, 1e-9)
        values = round(seconds, 4), round(new / seconds, 3), new
        return dict(zip(_PACE, values, strict=True))

    def finish(self, results: Mapping[str, Any], picture: bytes | None) -> None:
        """The figures."""
        if picture is not None:
            store.write_bytes(self._picture, picture)
        store.write_json(self.results, {**results, "finished": True, "identity": self._identity})

    def _decide(self, overwrite: bool) -> None:
        there = [path for path in (self.rows, self.results, self._picture) if path.exists()]
        if not there or self._known():
            return
        if not overwrite:
            raise OutputError(
                str(there[0]), got=self._other(), need="no predictions, or those of this command",
                hint="--output DIR writes elsewhere; overwrite_output_dir=true moves them aside",
            )  # fmt: skip
        self.moved = [store.move_aside(path) for path in there]

    def _known(self) -> bool:
        return self._read().get("identity") == self._identity

    def _read(self) -> dict[str, Any]:
        """The result file; empty where it is none."""
        try:
            found = json.loads(self.results.read_text(encoding="utf8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _other(self) -> str:
        before = self._read().get("identity")
        if not isinstance(before, dict):
            return "predictions that Tunesmith has not made"
        asked, known = self._identity["settings"], before.get("settings", {})
        keys = [key for key, value in self._identity.items() if before.get(key) != value]
        said = [f"other {key}" for key in keys if key != "settings"]
        said += [f"{k} {known.get(k)}" for k, value in asked.items() if known.get(k) != value]
        return f"predictions with {', '.join(said)}"


def _row(line: bytes) -> Predicted | None:
    """A line of the file; `None` where it is none of ours."""
    try:
        return Predicted.of(line)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def predict(
    asking: Callable[[], Asking],
    questions: Questions,
    files: Files,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Predicted], int]:
    """Answer all rows that are not answered yet.

    Args:
        asking: brings the model; not called where all rows are answered.
        questions: what is asked.
        files: where answers go.
        progress: told (rows done, all) after each.

    Returns:
        All rows in order, and how many of them are new.

    Raises:
        StoreError: a row cannot be written; those before it are whole.
        OutputError: see `Files.there`.
    """
    files.begin()
    rows = files.there(questions)
    before = len(rows)
    tell = progress or (lambda done, of: None)
    if before < len(questions):
        for row in asking().answers(questions, start=before):
            try:
                files.add(row)
            except Error as error:
                done = f"{len(rows):,} of {len(questions):,} rows are whole"
                error.need = f"{error.need}; {done}" if error.need else done
                raise
            rows.append(row)
            tell(len(rows), len(questions))
    return rows, len(rows) - before
