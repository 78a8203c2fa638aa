"""Bad tables and packed files, made by functions.

FILES: name of the file: (its bytes, the place after its name, words of the error)
ROWS: name of the file: (its bytes, reason, place, words of the error, rows used beside it)
"""

import datetime
import gzip
import io
import zlib

import pyarrow as pa
import pyarrow.parquet

from bad_files.rows import GOOD
from data_files import pack

LINES = ((GOOD["alpaca"] + "\n") * 3).encode()
ROW = {"instruction": "I", "output": "O"}


def table(*rows):
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def parquet(*said, rows=None):
    sink = io.BytesIO()
    pa.parquet.write_table(table(*said).slice(0, rows), sink)
    return sink.getvalue()


def stream(*said, rows=None):
    made = table(*said).slice(0, rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made, max_chunksize=1)
    return sink.getvalue()


def filed(*rows):
    made = table(*rows)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, made.schema) as writer:
        writer.write_table(made)
    return sink.getvalue()


def twice(write):
    sink = io.BytesIO()
    made = pa.table([pa.array(["I"]), pa.array(["O"])], names=["output", "output"])
    if write == "parquet":
        pa.parquet.write_table(made, sink)
    else:
        with pa.ipc.new_stream(sink, made.schema) as writer:
            writer.write_table(made)
    return sink.getvalue()


def cut(raw, share):
    return raw[: int(len(raw) * share)]


def flipped(raw, at):
    at %= len(raw)
    return raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :]


def swapped(raw, old, new):
    assert old in raw
    return raw.replace(old, new)


GZ, ZST = pack(LINES, ".gz"), pack(LINES, ".zst")
TABLE = parquet(ROW, ROW)
STREAM, FILED = stream(ROW, ROW, ROW), filed(ROW, ROW)
DAMAGED = "this one is damaged or cut off"
FILES = {
    "empty.parquet": (b"", "", "an empty file"),
    "empty.arrow": (b"", "", "an empty file"),
    "magic.parquet": (b"PAR1", "", "smaller"),
    "two_magics.parquet": (b"PAR1PAR1", "", DAMAGED),
    "text.parquet": (LINES, "", "magic bytes not found"),
    "arrow.parquet": (STREAM, "", "magic bytes not found"),
    "half.parquet": (cut(TABLE, 0.5), "", "magic bytes not found"),
    "most.parquet": (TABLE[:-1], "", "magic bytes not found"),
    "no_footer.parquet": (TABLE[:-8] + b"\0\0\0\0PAR1", "", DAMAGED),
    "lying_footer.parquet": (TABLE[:-8] + b"\xff\xff\xff\x7fPAR1", "", DAMAGED),
    "broken_footer.parquet": (flipped(TABLE, -8 - int.from_bytes(TABLE[-8:-4], "little")), "", "thrift"),
    "encrypted.parquet": (swapped(TABLE, b"PAR1", b"PARE"), "", DAMAGED),
    "first_half_missing.parquet": (TABLE[100:], "", DAMAGED),
    "zeros.parquet": (bytes(1000), "", "magic bytes not found"),
    "no_rows.parquet": (parquet(ROW, rows=0), "", "no rows"),
    "no_rows.arrow": (stream(ROW, rows=0), "", "no rows"),
    "twice.parquet": (twice("parquet"), "", "two columns 'output'"),
    "twice.arrow": (twice("arrow"), "", "two columns 'output'"),
    "text.arrow": (LINES, "", "no mark of the end"),
    "parquet.arrow": (TABLE, "", "no mark of the end"),
    "magic.arrow": (b"ARROW1\0\0", "", DAMAGED),
    "half_stream.arrow": (cut(STREAM, 0.5), "", "no mark of the end"),
    "between_batches.arrow": (STREAM[:-8], "", "no mark of the end"),
    "half_file.arrow": (cut(FILED, 0.5), "", DAMAGED),
    "no_footer.arrow": (FILED[:-10], "", DAMAGED),
    "ends_early.arrow": (STREAM[:40] + STREAM[-8:], "", DAMAGED),
    "only_end.arrow": (STREAM[-8:], "", DAMAGED),
    "huge_message.arrow": (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + STREAM[8:], "", DAMAGED),
    "negative_message.arrow": (b"\xff\xff\xff\xff\xfe\xff\xff\xff" + STREAM[8:], "", DAMAGED),
    "zeros.arrow": (bytes(1000), "", DAMAGED),
    "no_such_column.parquet": (parquet({"a": "I"}), ":1: instruction", "only a"),
    "half.parquet.gz": (pack(cut(TABLE, 0.5), ".gz"), "", "magic bytes not found"),
    "half.arrow.zst": (pack(cut(STREAM, 0.5), ".zst"), "", "no mark of the end"),
    "empty.jsonl.gz": (pack(b"", ".gz"), "", "an empty file"),
    "empty.jsonl.zst": (pack(b"", ".zst"), "", "an empty file"),
    "nothing.jsonl.gz": (b"", "", "an empty file"),
    "plain.jsonl.gz": (LINES, ": byte 1", "incorrect header check"),
    "plain.jsonl.zst": (LINES, ": byte 0", "a sound zstandard file"),
    "zst.jsonl.gz": (ZST, ": byte 1", "a sound gzip file"),
    "gz.jsonl.zst": (GZ, ": byte 0", "a sound zstandard file"),
    "zlib.jsonl.gz": (zlib.compress(LINES), ": byte 1", "incorrect header check"),
    "half.jsonl.gz": (cut(GZ, 0.5), f": byte {len(GZ) // 2}", "it is cut off"),
    "half.jsonl.zst": (cut(ZST, 0.5), f": byte {len(ZST) // 2}", "it is cut off"),
    "header.jsonl.gz": (GZ[:10], ": byte 10", "it is cut off"),
    "header.jsonl.zst": (ZST[:4], ": byte 4", "it is cut off"),
    "no_sum.jsonl.gz": (GZ[:-8], f": byte {len(GZ) - 8}", "it is cut off"),
    "no_sum.jsonl.zst": (ZST[:-4], f": byte {len(ZST) - 4}", "it is cut off"),
    "lying_sum.jsonl.gz": (flipped(GZ, -5), f": byte {len(GZ) - 5}", "incorrect data check"),
    "lying_length.jsonl.gz": (flipped(GZ, -1), f": byte {len(GZ) - 1}", "incorrect length check"),
    "lying_sum.jsonl.zst": (flipped(ZST, -1), f": byte {len(ZST) - 1}", "checksum"),
    "damaged.csv.gz": (flipped(gzip.compress(b"a,b\n" * 99, mtime=0), 14), ": byte 24", "a sound gzip"),
    "second_cut.jsonl.gz": (GZ + GZ[:-3], f": byte {2 * len(GZ) - 3}", "it is cut off"),
    "words_after.jsonl.gz": (GZ + b"end", f": byte {len(GZ) + 1}", "incorrect header check"),
    "words_after.jsonl.zst": (ZST + b"end!", f": byte {len(ZST)}", "a sound zstandard file"),
    "latin1.json.gz": (pack('[{"a": "é"}]'.encode("latin-1"), ".gz"), ":1: byte 8", "e9"),
    "packed_twice.jsonl.gz": (pack(GZ, ".gz"), ":1: byte 1", "8b"),
    "cut_json.json.zst": (pack(b'[{"a": 1}', ".zst"), ":1:10", "the end of the file"),
    "text_column.parquet": (parquet({"instruction": 1, "output": 2}), ":1: instruction", "1"),
    "dates.parquet": (parquet({**ROW, "output": datetime.date(2020, 1, 2)}), ":1: output", "date32"),
    "bytes.arrow": (stream({**ROW, "output": b"O"}), ":1: output", "1 bytes (binary)"),
}  # fmt: skip
ROWS = {
    "null.parquet": (parquet(ROW, {"instruction": "I"}, ROW), "missing column", ":2: output", "only instruction", 2),
    "empty.arrow": (stream(ROW, {**ROW, "output": ""}), "empty answer", ":2: output", "an answer", 1),
    "nan.parquet": (parquet({"instruction": "I", "output": "O", "input": None}, {**ROW, "input": float("nan")}), "NaN or Infinity", ":2: input", "nan", 1),
    "infinity.arrow": (stream(ROW, {**ROW, "input": -float("inf")}), "NaN or Infinity", ":2: input", "-inf", 1),
    "printed.parquet": (parquet({**ROW, "input": "x"}, {**ROW, "instruction": None, "input": None}), "missing column", ":2: instruction", "only output", 1),
    "members.jsonl.gz": (GZ + pack(b"{}\n", ".gz"), "missing column", ":4: instruction", "only nothing", 3),
    "frames.jsonl.zst": (ZST + pack(b"[]\n" + LINES, ".zst"), "not an object", ":4", "an object", 6),
}  # fmt: skip
