"""Data files that were good: damaged bytes, damaged values, damaged registries; seeded."""

import copy
import json
import random
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from data_files import pack, write

KINDS = ["json", "jsonl", "csv", "tsv", "txt", "parquet", "stream.arrow", "file.arrow"]
PACKINGS = ["", ".gz", ".zst"]
CALL = '[{"name": "f", "arguments": {"x": 1.50, "y": [true, null]}}]'
TOOLS = '[{"name": "f", "parameters": {"type": "object", "properties": {"x": {"enum": [1.5]}}}}]'
GOOD = {
    "alpaca": [
        {"instruction": f"Ask {i}", "input": "a, \"b\"\n世界 😀", "output": f"Say {i}\u2028.",
         "system": "s", "history": [["q", "a"], ["r", "b"]], "tools": TOOLS}
        for i in range(4)
    ],
    "sharegpt": [
        {"conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": f"q{i}\tüé"},
            {"from": "function_call", "value": CALL},
            {"from": "observation", "value": "{}"},
            {"from": "gpt", "value": "a"},
        ], "tools": TOOLS}
        for i in range(4)
    ],
    "openai": [
        {"messages": [
            {"role": "user", "content": f"q{i}"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "r", "tool_call_id": "1"},
            {"role": "assistant", "content": "a", "reasoning_content": "t", "weight": 1},
        ], "tools": json.loads(TOOLS)}
        for i in range(4)
    ],
    "pairs": [
        {"conversations": [{"from": "human", "value": f"q{i}"}],
         "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}
        for i in range(4)
    ],
    "labelled": [{"instruction": f"q{i}", "output": "a", "label": i < 2} for i in range(4)],
    "pictures": [
        {"conversations": [
            {"from": "human", "value": "<image> what, and <image>?"}, {"from": "gpt", "value": "a"}
        ], "images": ["made.png", "made.png"]}
        for i in range(4)
    ],
    "text": [{"text": f"line {i} of \u2028 text 世界"} for i in range(4)],
}  # fmt: skip
_HISTORY = {"query": "input", "system": "system", "history": "history", "tools": "tools"}
_ALPACA = {"prompt": "instruction", "response": "output"}
_PAIR = {"chosen": "chosen", "rejected": "rejected"}
ENTRIES = {
    "alpaca": {"columns": {**_ALPACA, **_HISTORY}},
    "sharegpt": {"formatting": "sharegpt",
                 "columns": {"messages": "conversations", "tools": "tools"}},
    "openai": {"formatting": "openai", "columns": {"messages": "messages", "tools": "tools"}},
    "pairs": {"formatting": "sharegpt", "ranking": True,
              "columns": {"messages": "conversations", **_PAIR}},
    "labelled": {"columns": {**_ALPACA, "kto_tag": "label"}},
    "pictures": {"formatting": "sharegpt",
                 "columns": {"messages": "conversations", "images": "images"}},
    "text": {"columns": {"prompt": "text", "response": "text"}},
}  # fmt: skip
LAYOUTS = [name for name in GOOD if name != "text"]
NASTY_BYTES = [
    b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\r",
    b"\n", b"\r\n", b'"', b"'", b"\\", b"\\u", b"\\ud83d", b"{", b"}", b"[", b"]", b",", b":",
    b"\t", b"\x1b[31m", b"NaN", b"-0", b"1e999", b"\xe2\x80\xa8", b"\xf0\x9f", b"null", b"#",
    b"\x1f\x8b", b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"9" * 5000, b"[" * 300, b'{"a":' * 300,
    b" " * 3000, b"\xc0\x80",
]  # fmt: skip
NASTY_VALUES = [
    None, True, False, 0, -1, 1.5, 10**400, "", " ", "\0", "\ud83d", "\u2028", "<|im_end|>",
    "x" * 30_000, [], {}, [[]], [{}], [None], {"": None}, "null", "[]", "{}", "NaN", "[{'a': 1}]",
    '{"name": "f"}', float("nan"), float("inf"), "system", "human", "gpt", "user", "tool", 2**70,
]  # fmt: skip


class Made(NamedTuple):
    """A damaged data set on disk."""

    dataset: list
    path: Path
    """The file that holds its rows."""
    said: str
    """What was done."""
    unfit: bool
    """Whether it was one that is only looked at: `sft` does not learn from it."""


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def places(value, path=()):
    """Paths of all values within one."""
    yield path
    listed = value if isinstance(value, list) else ()
    inside = value.items() if isinstance(value, dict) else enumerate(listed)
    for key, item in inside:
        yield from places(item, (*path, key))


def change(draw: random.Random, whole):
    """One value, somewhere, is another, or away, or twice, or called otherwise."""
    whole = copy.deepcopy(whole)
    path = draw.choice([path for path in places(whole) if path])
    around = whole
    for key in path[:-1]:
        around = around[key]
    key, way = path[-1], draw.randrange(6)
    if way == 0:
        del around[key]
    elif way == 1 and isinstance(around, list):
        around.insert(key, copy.deepcopy(around[key]))
    elif way == 1:
        around[draw.choice(["", "Input", "role", "from", "ａ", "\n", key + " "])] = around.pop(key)
    elif way == 2:
        around[key] = [around[key]]
    elif way == 3:
        around[key] = {"value": around[key]}
    elif way == 4:
        around[key] = deep(draw.choice([60, 63, 70, 150]))
    else:
        around[key] = draw.choice(NASTY_VALUES)
    return whole, f"{way} at {path}"


def damage(draw: random.Random, raw: bytes) -> tuple[bytes, str]:
    """Some bytes are cut, changed, doubled, moved or put in."""
    at, way = draw.randrange(len(raw) + 1), draw.randrange(9)
    end = min(len(raw), at + draw.choice([1, 2, 3, 8, 40, len(raw)]))
    if way == 0:
        raw = raw[:at]
    elif way == 1:
        raw = raw[:at] + raw[end:]
    elif way == 2 and at < len(raw):
        raw = raw[:at] + bytes([raw[at] ^ 1 << draw.randrange(8)]) + raw[at + 1 :]
    elif way == 3:
        raw = raw[:end] + raw[at:end] + raw[end:]
    elif way == 4:
        raw = raw[:at] + bytes(end - at) + raw[end:]
    elif way == 5:
        raw = raw[:at] + draw.randbytes(draw.choice([1, 4, 50])) + raw[at:]
    elif way == 6:
        raw = draw.choice(NASTY_BYTES) + raw
    elif way == 7:
        raw = raw + draw.choice(NASTY_BYTES)
    else:
        raw = raw[:at] + draw.choice(NASTY_BYTES) + raw[at:]
    return raw, f"bytes {way} at {at}"


def recoded(draw: random.Random, raw: bytes) -> tuple[bytes, str]:
    """The text in another encoding."""
    name = draw.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32", "gb18030"])
    return raw.decode(errors="replace").encode(name, errors="replace"), name


def bytes_of(folder: Path, kind: str, rows) -> bytes | None:
    """A file of rows; `None` where the type cannot hold them."""
    form, _, end = kind.rpartition(".")
    path = folder / f"made.{end}"
    try:
        if kind == "txt":
            rows = [
                {"text": str(row.get("text")) if isinstance(row, dict) else "?"} for row in rows
            ]
        options = {"form": form} if end == "arrow" else {}
        if end in ("csv", "tsv") and not (rows and all(isinstance(row, dict) for row in rows)):
            return None
        return write(path, rows, **options).read_bytes()
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError, KeyError):
        return None
    finally:
        path.unlink(missing_ok=True)


def made(seed: int, folder: Path, aside: Path) -> Made:
    """One damaged data set; every type, layout and packing in turn, the damage drawn.

    Args:
        seed: decides all of it.
        folder: where it is put.
        aside: for files in between.
    """
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    packing = PACKINGS[seed // len(KINDS) % len(PACKINGS)]
    layout = LAYOUTS[seed // len(KINDS) // len(PACKINGS) % len(LAYOUTS)]
    layout = "text" if kind == "txt" else layout
    rows, said = GOOD[layout], [kind + packing, layout]
    for _ in range(draw.choice([0, 0, 1, 1, 2])):
        changed, what = change(draw, rows)
        if changed and bytes_of(aside, kind, changed) is not None:
            rows = changed
            said.append(what)
    raw = bytes_of(aside, kind, rows)
    assert raw is not None
    if draw.random() < 0.15 and kind in ("json", "jsonl", "csv", "tsv", "txt"):
        raw, what = recoded(draw, raw)
        said.append(what)
    inside, outside = draw.choice([(1, 0), (0, 1), (2, 0), (1, 1), (0, 0)])
    for _ in range(inside):
        raw, what = damage(draw, raw)
        said.append(what)
    raw = pack(raw, packing)
    for _ in range(outside if packing else 0):
        raw, what = damage(draw, raw)
        said.append(f"packed {what}")
    path = folder / f"a.{kind.rpartition('.')[2]}{packing}"
    path.write_bytes(raw)
    (folder / "made.png").touch()
    entry = {"file_name": path.name, **ENTRIES[layout]}
    registry = {"d": entry}
    if draw.random() < 0.1:
        registry, what = change(draw, registry)
        said.append(f"registry {what}")
    listed = json.dumps(registry).encode()
    if draw.random() < 0.05:
        listed, what = damage(draw, listed)
        said.append(f"registry {what}")
    (folder / "dataset_info.json").write_bytes(listed)
    item = draw.choice(["d", "d", "d", str(path), {**entry, "file_name": str(path)}])
    return Made([item], path, "; ".join(said), layout in ("pairs", "labelled", "pictures"))
