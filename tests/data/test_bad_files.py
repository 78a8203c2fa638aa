"""Hand-made bad files: each refused with one error at its place, or read with its ledger closed.

The cases are tables in `bad_files/`; what only a file system can do is at the end.
"""

import json
import os
import re
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from bad_files import packed, registries, rows, tables, talks, texts
from data_files import pack
from tiny_tokenizer import load_tiny
from tunesmith import store
from tunesmith.data import cache
from tunesmith.data.prepare import prepare
from tunesmith.errors import DataError
from tunesmith.templates.choose import choose

TOKENIZER = load_tiny()
CHATML = choose("chatml", TOKENIZER)
GOOD = rows.GOOD["alpaca"]
COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output",
               "history": "history", "system": "system", "tools": "tools"},
    "sharegpt": {"messages": "conversations", "system": "system", "tools": "tools"},
    "openai": {"messages": "messages", "tools": "tools"},
    "text": {"prompt": "text", "response": "text"},
}  # fmt: skip
BETWEEN = [
    *[("alpaca", name, *case) for name, case in rows.SYNTAX.items()],
    *[("alpaca", name, *case) for name, case in rows.ALPACA.items()],
    *[("sharegpt", name, *case) for name, case in talks.SHAREGPT.items()],
    *[("openai", name, *case) for name, case in talks.OPENAI.items()],
]
ROWS = {**texts.ROWS, **tables.ROWS, **packed.ROWS}
FILES = {**texts.FILES, **tables.FILES, **packed.FILES}
named = {"ids": lambda value: value if isinstance(value, str) and len(value) < 30 else ""}


@pytest.fixture(autouse=True)
def kept(tmp_path_factory, monkeypatch):
    """A cache of its own; what it keeps."""
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TUNESMITH_CACHE", str(root))
    return lambda: list(root.glob("data/*/*"))


def entry_of(name, raw):
    layout = "sharegpt" if raw.startswith(b"conversations") else "alpaca"
    layout = "text" if name.endswith(".txt") else layout
    formatting = "alpaca" if layout == "text" else layout
    explicit = {"columns": COLUMNS[layout]} if layout != "alpaca" or name.endswith(".jsonl") else {}
    return {"file_name": name, "formatting": formatting, **explicit}


def make(directory, name, content, **entry):
    raw = content if isinstance(content, bytes) else content.replace("§", GOOD).encode()
    (directory / name).write_bytes(raw)
    info = {"d": {**entry_of(name, raw), **entry}}
    (directory / "dataset_info.json").write_text(json.dumps(info))


def run(directory, dataset="d", **options):
    return prepare(
        dataset=[dataset],
        dataset_dir=directory,
        renderer=CHATML,
        tokenizer=TOKENIZER,
        cutoff_len=2048,
        **options,
    )


def refused(directory, dataset="d", **options):
    """The one error of a data set; nothing is written beside it."""
    before = sorted(directory.rglob("*"))
    with pytest.raises(DataError) as error:
        run(directory, dataset, **options)
    assert error.value.need
    assert len(str(error.value).splitlines()) < 30
    assert sorted(directory.rglob("*")) == before
    return error.value


def reads_but(directory, reason, used):
    """`on_bad_row: skip` leaves out the one bad row, twice alike: from its file, and as kept."""
    for _ in range(2):
        prepared = run(directory, on_bad_row="skip")
        (account,) = prepared.ledger.files.values()
        assert {reason: s.count for reason, s in prepared.ledger.skips().items()} == {reason: 1}
        assert (account.read, account.used, len(prepared.train)) == (used + 1, used, used)


@pytest.mark.parametrize(("layout", "name", "bad", "reason", "place", "words"), BETWEEN, **named)
def test_a_bad_row_is_told_with_its_line_and_field_and_can_be_left_out(
    tmp_path, kept, layout, name, bad, reason, place, words
):
    good = rows.GOOD[layout]
    shapes = {
        "a.jsonl": (f"{good}\n{bad}\n{good}", 2),
        "a.json": (f"[{good},\n\n{bad}\n,{good}]", 3),
    }
    for file, (content, line) in shapes.items():
        make(tmp_path, file, content, formatting=layout, columns=COLUMNS[layout])
        error = refused(tmp_path)
        assert error.where == f"{tmp_path / file}:{line}" + (f":{place}" if place else "")
        assert words in str(error)
        assert kept() == []
        (tmp_path / file).unlink()
    make(tmp_path, "a.jsonl", shapes["a.jsonl"][0], formatting=layout, columns=COLUMNS[layout])
    reads_but(tmp_path, reason, 2)


@pytest.mark.parametrize("name", rows.BROKEN)
def test_broken_syntax_costs_a_line_its_row_and_an_array_its_file(tmp_path, kept, name):
    bad, column, words = rows.BROKEN[name]
    make(tmp_path, "a.jsonl", f"§\n{bad}\n§")
    error = refused(tmp_path)
    assert error.where == f"{tmp_path}/a.jsonl:2:{column}"
    assert words in str(error)
    reads_but(tmp_path, "not JSON", 2)
    make(tmp_path, "a.json", f"[§,\n{bad},\n§]")
    for on_bad_row in ("error", "skip"):
        error = refused(tmp_path, on_bad_row=on_bad_row)
        assert error.where.startswith(f"{tmp_path}/a.json:2:") or name == "comma after the row"
    assert len(kept()) == 1


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_of_a_file_is_told_and_can_be_left_out(tmp_path, kept, name):
    content, reason, place, words, used = ROWS[name]
    make(tmp_path, name, content)
    error = refused(tmp_path)
    assert error.where == f"{tmp_path / name}{place}"
    assert words in str(error)
    assert kept() == []
    reads_but(tmp_path, reason, used)


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused_whole(tmp_path, kept, name):
    content, place, words = FILES[name]
    make(tmp_path, name, content)
    error = refused(tmp_path)
    assert error.where == f"{tmp_path / name}{place}"
    assert words in str(error)
    assert kept() == []
    assert refused(tmp_path, on_bad_row="skip").where == error.where


@pytest.mark.parametrize("name", texts.SOUND)
def test_an_odd_file_is_read_whole(tmp_path, name):
    content, count = texts.SOUND[name]
    make(tmp_path, name, content)
    prepared = run(tmp_path)
    assert len(prepared.train) == count
    assert prepared.ledger.skips() == {}


@pytest.mark.parametrize("name", [*registries.TEXTS, *registries.ENTRIES])
def test_a_bad_registry_is_refused_at_its_line_and_key(tmp_path, kept, name):
    make(tmp_path, "a.jsonl", "§")
    file = tmp_path / "dataset_info.json"
    if name in registries.TEXTS:
        text, place, words = registries.TEXTS[name]
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    else:
        entry, key, words = registries.ENTRIES[name]
        place = f":1: d{key}"
        file.write_text(json.dumps({"d": entry}))
    error = refused(tmp_path)
    assert error.where == f"{file}{place}"
    assert words in str(error)
    assert str(error).count("\n") <= 3
    assert kept() == []


def loop(path):
    path.symlink_to(path.name)


def full(path):
    path.mkdir()
    (path / "b.jsonl").write_text(GOOD)


ODD = {  # what a name stands for: (maker, words of the error)
    "a link to itself": (loop, "Too many levels of symbolic links"),
    "a link to nothing": (
        lambda path: path.symlink_to("gone"),
        "a link that leads nowhere|No such file",
    ),
    "a pipe": (os.mkfifo, "a pipe"),
    "a link to a pipe": (
        lambda path: (os.mkfifo(f"{path.parent}/.p"), path.symlink_to(".p")),
        "a pipe",
    ),
    "zeros without end": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "nothing": (lambda path: path.symlink_to("/dev/null"), "a device"),
    "random bytes": (lambda path: path.symlink_to("/dev/urandom"), "a device"),
    "an empty folder": (Path.mkdir, "a folder without data files"),
    "a memory": (lambda path: path.symlink_to("/proc/self/mem"), "Input/output error"),
}


@contextmanager
def in_time(seconds=60):
    """A test that waits for something that never comes fails."""

    def late(*_):
        raise AssertionError("it waits and waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("file", ["a.json", "a.jsonl.gz", "a.csv", "a.parquet", "folder", "path"])
def test_what_is_no_file_is_one_error_and_is_not_waited_for(tmp_path, kept, name, file):
    maker, words = ODD[name]
    path = tmp_path / ("a.jsonl" if file in ("folder", "path") else file)
    if file == "folder":
        tmp_path = tmp_path / "in"
        full(tmp_path)
        path = tmp_path / "a.jsonl"
    maker(path)
    dataset = str(path if file == "path" else tmp_path)
    if file not in ("folder", "path"):
        dataset = "d"
        info = {"d": {"file_name": file}}
        (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    with in_time():
        if file == "folder" and maker is Path.mkdir:  # as one of pictures would be
            assert len(run(tmp_path, dataset).train) == 1
            return
        error = refused(tmp_path, dataset)
    assert re.search(words, str(error))
    assert str(path) in str(error)
    assert kept() == []


CHAT = rows.GOOD["openai"]


@pytest.mark.parametrize("name", ODD)
def test_a_registry_that_is_no_file_is_one_error_and_is_not_waited_for(tmp_path, kept, name):
    maker, words = ODD[name]
    maker(tmp_path / "dataset_info.json")
    with in_time():
        error = refused(tmp_path)
    assert error.where == str(tmp_path / "dataset_info.json")
    words = "Is a directory" if maker is Path.mkdir else words
    assert re.search(words, str(error))
    assert kept() == []


FOLDERS = {  # files of a folder: (name -> content, place within it, words of the error)
    "empty": ({}, "", "without data files"),
    "other files": ({"README.md": "#", "a.png": "x"}, "", "it has README.md, a.png"),
    "hidden": ({".a.jsonl": "§"}, "", "without data files"),
    "empty shard": ({"a.jsonl": "§", "b.jsonl": ""}, "/b.jsonl", "an empty file"),
    "cut shard": ({"a.json": "[§]", "b.json": "[§"}, "/b.json:1:37", "the end of the file"),
    "damaged shard": ({"a.jsonl": "§", "b.jsonl.gz": "§"}, "/b.jsonl.gz: byte 1", "header check"),
    "no parquet": ({"a.parquet": "§"}, "/a.parquet", "magic bytes"),
    "other layout": ({"a.jsonl": "§", "b.jsonl": CHAT}, "/b.jsonl:1: instruction", "messages"),
    "other columns": ({"a.jsonl": "§", "b.csv": "q\na"}, "/b.csv:2: instruction", "only q"),
    "other encoding": ({"a.txt": "§", "b.jsonl": b"\xff"}, "/b.jsonl:1: byte 0", "not utf-8"),
    "folder within": ({"a.jsonl": "§", "x/b.jsonl": "§"}, "/x", "a folder within the folder"),
    "archive": ({"a.jsonl": "§", "b.zip": "PK"}, "/b.zip", "of a type that is not read"),
    "half a download": ({"a.jsonl": "§", "b.jsonl.part": ""}, "/b.jsonl.part", "not read"),
    "sheet": ({"a.jsonl": "§", "b.xlsx": "x"}, "/b.xlsx", "not read"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_folder_is_refused_at_the_file_that_is_bad(tmp_path, kept, name):
    files, place, words = FOLDERS[name]
    folder = tmp_path / "rows"
    folder.mkdir()
    for file, content in files.items():
        (folder / file).parent.mkdir(exist_ok=True)
        raw = content if isinstance(content, bytes) else content.replace("§", GOOD).encode()
        (folder / file).write_bytes(raw)
    (tmp_path / "dataset_info.json").write_text('{"d": {"file_name": "rows"}}')
    error = refused(tmp_path)
    assert error.where == f"{folder}{place}"
    assert words in str(error)
    assert kept() == []


def test_links_between_folders_that_loop_end(tmp_path):
    folder = tmp_path / "rows"
    full(folder)
    (folder / "up").symlink_to(tmp_path)
    with in_time():
        error = refused(tmp_path, str(folder))
    assert error.where == str(folder / "up")


@contextmanager
def nobody():
    """Another user than root, who may open anything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("shut", ["file", "folder", "registry", "a file of the folder"])
def test_what_may_not_be_read_is_one_error(monkeypatch, shut):
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        monkeypatch.setenv("TUNESMITH_CACHE", str(root / "cache"))
        full(root / "rows")
        make(root, "a.jsonl", "§", file_name="rows" if "folder" in shut else "a.jsonl")
        names = {"file": "a.jsonl", "folder": "rows", "registry": "dataset_info.json"}
        path = root / names.get(shut, "rows/b.jsonl")
        path.chmod(0)
        with nobody():
            error = refused(root)
        path.chmod(0o755)
    assert error.where == str(path)
    assert error.got == "Permission denied"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
def test_a_file_that_goes_away_meanwhile_is_one_error(tmp_path, monkeypatch, kept, name):
    content = "instruction,output\nI,O" if name == "a.csv" else "[§]" if name == "a.json" else "§"
    raw = content.replace("§", GOOD).encode()
    make(tmp_path, name, pack(raw, ".gz") if name.endswith(".gz") else raw)
    real = cache.kept

    def meanwhile(key, fill, **options):
        (tmp_path / name).unlink(missing_ok=True)
        return real(key, fill, **options)

    monkeypatch.setattr(cache, "kept", meanwhile)
    with pytest.raises(DataError) as error:
        run(tmp_path)
    assert error.value.where == str(tmp_path / name)
    assert "No such file" in str(error.value)
    assert kept() == []
    assert store.cache_root().exists()


def test_there_are_more_than_five_hundred_of_them():
    listed = [BETWEEN, rows.BROKEN, ROWS, FILES, registries.TEXTS, registries.ENTRIES, FOLDERS]
    assert sum(map(len, listed)) + 6 * len(ODD) > 500
