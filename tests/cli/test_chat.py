"""`tunesmith chat` in a pipe, before and after training, from the same run file."""

import io
import json
import os
import pty
import sys

from tiny_run import tiny_run
from tunesmith.cli.main import main

ROWS = [{"instruction": f"Say {word}.", "output": word} for word in ("one", "two", "red", "blue")]


def chat(monkeypatch, capsys, path, lines, *more):
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["chat", str(path), "do_sample=false", "max_new_tokens=8", *more]) == 0
    return capsys.readouterr()


def test_a_model_that_learned_its_rows_by_heart_says_them_and_stops_by_itself(
    tmp_path, monkeypatch, capsys
):
    path = tiny_run(tmp_path, rows=ROWS, num_train_epochs=60, learning_rate=2e-2, lora_rank=8)
    before = chat(monkeypatch, capsys, path, "Say red.\n")
    assert f"the model {tmp_path}" in before.err
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    for row in ROWS:
        said = chat(monkeypatch, capsys, path, row["instruction"] + "\n", "--json")
        record = json.loads(said.out)
        assert record["answer"] == row["output"]
        assert record["finish_reason"] == "stop"
    talk = chat(monkeypatch, capsys, path, "Say one.\nclear\nSay two.\nexit\n")
    assert "the adapter in" in talk.err
    assert "User: Say one.\nAssistant: one\n" in talk.out  # nobody typed it: it is shown
    assert "Assistant: two\n" in talk.out


def test_a_model_directory_is_enough(tmp_path, monkeypatch, capsys):
    tiny_run(tmp_path)
    found = chat(monkeypatch, capsys, tmp_path / "model", "hello\n", "template=chatml")
    assert "Assistant: " in found.out


def test_tools_come_from_a_file(tmp_path, monkeypatch, capsys):
    path, tools = tiny_run(tmp_path), tmp_path / "tools.json"
    tools.write_text(json.dumps([{"name": "weather", "description": "of a city"}]))
    found = chat(monkeypatch, capsys, path, "hello\n", "--json", "--tools", str(tools))
    assert json.loads(found.out)["calls"] == []
    tools.write_text("[{]")
    assert main(["chat", str(path), "--tools", str(tools)]) == 2
    assert "need  a JSON list of tool definitions" in capsys.readouterr().err
    assert main(["chat", str(path), "--tools", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def _until(fd, word, seen=b""):
    while word not in seen:
        seen += os.read(fd, 4096)
    return seen


def test_ctrl_c_ends_an_answer_and_at_the_prompt_it_leaves(tmp_path):
    """Under a pseudo-terminal, with an answer that goes on until the context is full."""
    path = tiny_run(tmp_path, model={"config": {"max_position_embeddings": 100_000}})
    command = [sys.executable, "-m", "tunesmith", "chat", str(path), "max_new_tokens=90000"]
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)
    seen = _until(fd, b"User: ")
    os.write(fd, b"hello\n")
    seen = _until(fd, b"Assistant: ")
    seen += os.read(fd, 100)
    os.write(fd, b"\x03")
    seen = _until(fd, b"User: ", b"")
    assert b"(stopped" in seen
    os.write(fd, b"\x03")
    try:
        while data := os.read(fd, 4096):
            seen += data
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"save" not in seen
