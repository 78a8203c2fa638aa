"""Rows of parquet and arrow files, as plain Python, a batch at a time.

These files give every row every column, and every struct every field. What a row does not have
is null in them, so null means "not there": null columns and null fields of structs are left
out at every depth; null elements of lists stay. Text stays text, JSON in it too.

There are no lines: the line of a row is its number. Parquet is read by row groups, arrow by
record batches; memory is bounded by the largest of them.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tunesmith.data.ledger import Skip
from tunesmith.data.sources.raw import unpacked
from tunesmith.data.sources.source import Row, Source
from tunesmith.errors import DataError
from tunesmith.types import Origin

_BATCH = 1024  # rows
_BATCH_OF_MEDIA = 16
_MARK = b"\xff\xff\xff\xff"
_ENDS = (_MARK + b"\0\0\0\0", b"\0\0\0\0")  # of a stream, today and before arrow 0.15


_Read = Callable[[Any], Any]


class _Foreign(ValueError):
    """A value that JSON does not have."""

    def __init__(
        self,
        got: str,
        reason: str = "not a value of JSON",
        need: str = "text, numbers, true or false, lists or structs of them",
    ) -> None:
        super().__init__(reason)
        self.reason, self.got, self.need = reason, got, need


def rows(
    source: Source,
    dataset: str,
    columns: Collection[str] | None = None,
    *,
    media: Collection[str] = (),
    only: Sequence[int] | None = None,
) -> Iterator[Row | Skip]:
    """Rows in order.

    Args:
        source: the file.
        dataset: its name in the registry.
        columns: those in which a value that JSON does not have makes the row a `Skip`; `None`:
            in all.
        media: those in which bytes are what they are.
        only: numbers of rows that are wanted, from 1, ascending; `None`: all.

    Raises:
        DataError: damaged, cut off, not of the type that its name says, two columns of one name,
            or pyarrow is not installed.
    """
    arrow, end = _pyarrow(source), 0
    with unpacked(source.path, source.packing) as file:
        for batch in _batches(arrow, file, source, media):
            begin, end = end, end + batch.num_rows
            numbers: Sequence[int] = range(begin + 1, end + 1)
            if only is not None:
                numbers = only[bisect_left(only, begin + 1) : bisect_left(only, end + 1)]
                batch = batch.take(arrow.array(numbers, arrow.int64()) - (begin + 1))
            for number, values in zip(numbers, _values(arrow, batch, columns, media), strict=True):
                origin = Origin(dataset, source.file, number, number)
                if isinstance(values, dict):
                    yield Row(values, origin)
                else:
                    column, fault, found = values
                    place = f"{source.file}:{number}: {column}"
                    text = json.dumps(found, ensure_ascii=False, default=str)
                    yield Skip(fault.reason, origin, place, fault.got, fault.need, text=text)


def count(source: Source) -> int:
    """Rows of a file: parquet says it in its metadata, arrow with each batch.

    Raises:
        DataError: as `rows`.
    """
    arrow = _pyarrow(source)
    with unpacked(source.path, source.packing) as file:
        if source.layout == "arrow":
            return sum(batch.num_rows for batch in _batches(arrow, file, source, ()))
        with _telling_damage(arrow, source):
            return arrow.parquet.ParquetFile(file).metadata.num_rows


def write(source: Source, numbers: Sequence[int], path: Path) -> None:
    """Some rows of a file as a file of the same kind, every value as it was.

    Args:
        source: the file.
        numbers: of the rows, from 1, ascending.
        path: of the new file; it is not packed.

    Raises:
        DataError: as `rows`.
    """
    arrow, wanted = _pyarrow(source), iter(numbers)
    number, begin = next(wanted, None), 0
    with unpacked(source.path, source.packing) as file, ExitStack() as opened:
        writer = None
        for batch in _batches(arrow, file, source, ()):
            if writer is None:
                writer = opened.enter_context(_writer(arrow, source, path, batch.schema))
            end, chosen = begin + batch.num_rows, []
            while number is not None and number <= end:
                chosen.append(batch.slice(number - begin - 1, 1))
                number = next(wanted, None)
            if chosen:
                writer.write_table(arrow.Table.from_batches(chosen).combine_chunks())
            begin = end


def _writer(arrow: Any, source: Source, path: Path, schema: Any) -> Any:
    if source.layout == "parquet":
        return arrow.parquet.ParquetWriter(path, schema)
    return arrow.ipc.new_stream(str(path), schema)


def _pyarrow(source: Source) -> Any:
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        raise DataError(
            source.file,
            got=f"a file of type {source.layout}, which needs pyarrow",
            need="the pyarrow library",
            hint="pip install 'tunesmith[parquet]'",
        ) from None


def _batches(arrow: Any, file: BinaryIO, source: Source, media: Collection[str]) -> Iterator[Any]:
    """Record batches, each of them judged whole: a damaged one could crash whoever reads it."""
    with _telling_damage(arrow, source):
        opened = _parquet if source.layout == "parquet" else _ipc
        schema, batches = opened(arrow, file)
        size = _BATCH_OF_MEDIA if set(schema.names) & set(media) else _BATCH
        if not schema.names:
            raise DataError(source.file, got="no columns", need="columns of rows")
        for name in schema.names:
            if schema.names.count(name) > 1:
                got, need = f"two columns {name!r}", "names that come once"
                raise DataError(source.file, got=got, need=need)
        for kind in schema.types:
            _reading(arrow, kind)  # names of fields that are damaged are found here, and told
        for batch in batches:
            batch.validate(full=True)
            yield from (batch.slice(at, size) for at in range(0, batch.num_rows, size))


@contextmanager
def _telling_damage(arrow: Any, source: Source) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (arrow.ArrowException, OSError, EOFError, ValueError, MemoryError) as error:
        raise DataError(
            source.file,
            got=str(error).split("\n")[0] or type(error).__name__,
            need=f"a whole {source.layout} file; this one is damaged or cut off, or is none",
        ) from None


def _parquet(arrow: Any, file: BinaryIO) -> tuple[Any, Iterable[Any]]:
    reader = arrow.parquet.ParquetFile(file)
    return reader.schema_arrow, reader.iter_batches(batch_size=_BATCH)


def _ipc(arrow: Any, file: BinaryIO) -> tuple[Any, Iterable[Any]]:
    began = file.read(6)
    if began == b"ARROW1":
        reader = arrow.ipc.open_file(file)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        return reader.schema, batches
    end = _ENDS[0 if began.startswith(_MARK) else 1]
    file.seek(-min(len(end), file.seek(0, 2)), 2)
    if file.read() != end:  # the library takes any end between two batches for the end
        raise ValueError("no mark of the end of the stream")
    file.seek(0)
    reader = arrow.ipc.open_stream(file)
    return reader.schema, reader


def _values(
    arrow: Any, batch: Any, columns: Collection[str] | None, media: Collection[str]
) -> Iterator[dict[str, Any] | tuple[str, _Foreign, dict[str, Any]]]:
    """Each row of a batch, or the column and the fault that make it none, and its values."""
    names = batch.schema.names
    judged = [columns is None or name in columns for name in names]
    found = [
        _column(arrow, column, media=name in media)
        for name, column in zip(names, batch.columns, strict=True)
    ]
    readers = [read for _, read in found]
    for items in zip(*(items for items, _ in found), strict=True):
        values: dict[str, Any] = {}
        fault = None
        for name, item, read, judge in zip(names, items, readers, judged, strict=True):
            if item is None:
                continue
            try:
                values[name] = read(item) if read else item
            except _Foreign as error:
                values[name] = item
                fault = (name, error) if judge and not fault else fault
        yield (*fault, values) if fault else values


def _column(arrow: Any, column: Any, *, media: bool) -> tuple[list[Any], _Read | None]:
    """Values of a column as Python has them, and what makes them values of JSON."""
    read = _reading(arrow, column.type, media=media)
    failing = (arrow.ArrowException, ValueError, ArithmeticError, TypeError, KeyError, ImportError)
    try:
        return column.to_pylist(), read
    except failing:  # such as a date in the year 10000; which rows have it?
        items = []
    for value in column:
        try:
            items.append(value.as_py())
        except failing as fault:
            items.append(_Foreign(str(fault)))

    def checked(item: Any) -> Any:
        if isinstance(item, _Foreign):
            raise item
        return read(item) if read else item

    return items, checked


def _reading(arrow: Any, kind: Any, *, media: bool = False) -> _Read | None:
    """How values of a type become those of JSON; `None`: they are already."""
    types = arrow.types
    if isinstance(kind, arrow.BaseExtensionType):
        return _reading(arrow, kind.storage_type, media=media)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _reading(arrow, kind.value_type, media=media)
    if types.is_struct(kind):
        fields = [kind.field(number) for number in range(kind.num_fields)]
        return partial(
            _struct, {field.name: _reading(arrow, field.type, media=media) for field in fields}
        )
    if types.is_map(kind):
        return partial(_map, _reading(arrow, kind.item_type))
    if _is(kind, types, "list", "large_list", "fixed_size_list", "list_view", "large_list_view"):
        within = _reading(arrow, kind.value_type, media=media)
        return partial(_list, within) if within else None
    if types.is_floating(kind):
        return _float
    if _is(kind, types, "string", "large_string", "string_view", "boolean", "integer", "null"):
        return None
    if media and _is(kind, types, "binary", "large_binary", "binary_view", "fixed_size_binary"):
        return None
    return partial(_refuse, str(kind))


def _is(kind: Any, types: Any, *names: str) -> bool:
    return any(getattr(types, f"is_{name}")(kind) for name in names)


def _struct(readers: dict[str, _Read | None], item: dict[str, Any]) -> dict[str, Any]:
    return {
        key: read(value) if (read := readers[key]) else value
        for key, value in item.items()
        if value is not None
    }


def _map(read: _Read | None, item: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = {key: read(value) if read and value is not None else value for key, value in item}
    if len(found) != len(item):
        raise _Foreign("a map with a key that comes twice")
    if not all(isinstance(key, str) for key in found):
        raise _Foreign(f"a map with the key {next(iter(found))!r}")
    return found


def _list(read: _Read, item: list[Any]) -> list[Any]:
    return [value if value is None else read(value) for value in item]


def _float(item: float) -> float:
    if not math.isfinite(item):
        raise _Foreign(repr(item), "NaN or Infinity", "a finite number or null")
    return item


def _refuse(kind: str, item: Any) -> NoReturn:
    shown = f"{len(item)} bytes" if isinstance(item, bytes) else str(item)
    raise _Foreign(f"{shown} ({kind})")
