"""Writes rows to a data file as others write them, as the end of its name says, and registries."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from tunesmith.data import registry
from tunesmith.errors import DataError

ALPACA = [
    {"instruction": "Say, with commas", "input": "", "output": 'He said "hi",\nthen left.'},
    {"instruction": "Grüße\u2028世界", "input": "x", "output": "1"},
    {"instruction": "tab\there", "input": "a\r\nb", "output": "😀 \u0085 end"},
]
TALKS = [
    {"conversations": [{"from": "human", "value": "a\nb"}, {"from": "gpt", "value": '"c"'}]},
    {"conversations": [{"from": "human", "value": "1"}, {"from": "gpt", "value": "世界"}]},
]
TALKS = [{**talk, "tools": '[{"name": "f", "parameters": {}}]', "system": "s"} for talk in TALKS]


def write(path: Path, rows, **options) -> Path:
    """Write rows as the name of the file says; `options` go to what writes them."""
    packing = path.suffix if path.suffix in (".gz", ".zst") else ""
    kind = path.name.removesuffix(packing).rsplit(".", 1)[1]
    raw = {
        "json": lambda: json.dumps(rows, ensure_ascii=False, indent=2).encode(),
        "jsonl": lambda: "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "csv": lambda: _delimited(rows, ","),
        "tsv": lambda: _delimited(rows, "\t"),
        "txt": lambda: "".join(row["text"] + "\n" for row in rows).encode(),
        "parquet": lambda: _parquet(rows, **options),
        "arrow": lambda: _arrow(rows, **options),
    }[kind]()
    path.write_bytes(pack(raw, packing))
    return path


def enter(directory: Path, entry, name="mine") -> None:
    """A registry of one entry, a key on each line, and the file that it may name."""
    (directory / "a.json").write_text("[]")
    text = json.dumps({"other": {"file_name": "b.json"}, name: entry}, indent=1)
    (directory / "dataset_info.json").write_text(text)


def refusal(directory: Path, entry, name="mine") -> DataError:
    """Why a registry with this entry under `mine` is refused by who asks for `name`."""
    enter(directory, entry)
    with pytest.raises(DataError) as error:
        registry.load(directory, [name])
    return error.value


def pack(raw: bytes, packing: str) -> bytes:
    """Bytes as `gzip` or `zstd` pack them."""
    if packing == ".gz":
        return gzip.compress(raw, mtime=0)
    return zstandard.ZstdCompressor(write_checksum=True).compress(raw) if packing else raw


def _delimited(rows, separator) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    for row in rows:
        cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
        writer.writerow(cells)
    return text.getvalue().encode()


def _table(rows) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _parquet(rows, **options) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(_table(rows), sink, **options)
    return sink.getvalue()


def _arrow(rows, form="stream", batch=2) -> bytes:
    table = _table(rows)
    sink = io.BytesIO()
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return sink.getvalue()
