"""`tunesmith chat` in a pipe, before and after training, from the same run file."""

import fcntl
import io
import json
import os
import pty
import select
import struct
import sys
import termios

from tiny_run import tiny_run
from tunesmith.cli.main import main

ROWS = [{"instruction": f"Say {word}.", "output": word} for word in ("one", "two", "red", "blue")]


def chat(monkeypatch, capsys, path, lines, *more, code=0):
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["chat", str(path), "do_sample=false", "max_new_tokens=8", *more]) == code
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
    assert talk.out == "one\ntwo\n"  # the answers alone: what a script wants
    assert "a new conversation" in talk.err
    both = chat(monkeypatch, capsys, path, "Say one.\n/image cat.png\n", "--compare", code=2)
    base, tuned = both.out.splitlines()[0], both.out.splitlines()[-1]
    assert base.startswith("Base: ")
    assert tuned == "Tuned: one"
    assert "refused: /image cat.png" in both.err
    said = chat(monkeypatch, capsys, path, "Say one.\n", "--compare", "--json").out
    record = json.loads(said)
    assert record["answer"] == "one"
    assert record["base"]["answer"] != "one"
    assert "with the adapter off" in both.err


def test_a_model_directory_is_enough(tmp_path, monkeypatch, capsys):
    tiny_run(tmp_path)
    found = chat(monkeypatch, capsys, tmp_path / "model", "hello\n", "template=chatml")
    assert found.out.endswith("\n")
    run_file = tmp_path / "only.yaml"
    run_file.write_text(f"model_name_or_path: {tmp_path / 'model'}\n")
    again = chat(monkeypatch, capsys, run_file, "hello\n", "template=chatml")
    assert again.out == found.out


def test_a_model_is_not_compared_with_itself(tmp_path, capsys):
    path = tiny_run(tmp_path)
    assert main(["chat", str(path), "--compare"]) == 2
    assert "--compare" in capsys.readouterr().err


def test_thoughts_can_be_left_out_of_answers_for_programs(tmp_path, monkeypatch, capsys):
    rows = [{"instruction": "Say red.", "output": "<think>\none\n</think>\n\nred"}]
    keys = {"template": "qwen3", "num_train_epochs": 80, "learning_rate": 2e-2, "lora_rank": 8}
    path = tiny_run(tmp_path, rows=rows, per_device_train_batch_size=1, **keys)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    found = []
    for more in ([], ["--hide-thinking"], ["--hide-thinking", "--json"]):
        said = chat(monkeypatch, capsys, path, "Say red.\n", "max_new_tokens=40", *more)
        found.append(said.out)
    assert found[:2] == ["<think>\none\n</think>\n\nred\n", "red\n"]
    assert json.loads(found[2])["answer"] == "red"


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
        assert select.select([fd], [], [], 120)[0], seen
        seen += os.read(fd, 4096)
    return seen


def _opened(*words):
    """A chat under a pseudo-terminal of 100 columns."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "tunesmith", "chat", *map(str, words)])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    return pid, fd


def _left(pid, fd, again=b""):
    """What is shown until the end, and the exit code.

    `again` is typed every two seconds: a signal that comes between the prompt and the first wait
    for a key is seen by Python at the next one only, where a user presses a second time.
    """
    seen = b""
    try:
        while True:
            if again and not select.select([fd], [], [], 2)[0]:
                os.write(fd, again)
                continue
            data = os.read(fd, 4096)
            if not data:
                break
            seen += data
    except OSError:  # the other end is closed
        pass
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_line_is_edited_recalled_and_goes_on_behind_a_backslash(tmp_path):
    path = tiny_run(tmp_path)
    pid, fd = _opened(path, "max_new_tokens=4")
    _until(fd, b"User: ")
    os.write(fd, b"Sx red.\x01\x1b[C\x1b[3~a\x05\\\r")  # Home, right, delete, a, End
    _until(fd, b"  ... ")
    os.write(fd, b"blue\r")
    _until(fd, b"User: ")
    os.write(fd, b"/undo\r")
    seen = _until(fd, b"User: ", _until(fd, b"forgotten: "))
    assert b"(forgotten: Sa red. blue)" in seen
    os.write(fd, b"\x1b[A\x1b[A\x1b[A")  # three lines up: the first one again
    _until(fd, b"Sa red.")
    os.write(fd, b"\x15\x04")  # nothing on the line, and Ctrl-D
    _, code = _left(pid, fd)
    assert code == 0


def test_two_columns_on_a_wide_terminal(tmp_path, capsys):
    path = tiny_run(tmp_path, rows=ROWS, num_train_epochs=60, learning_rate=2e-2, lora_rank=8)
    assert main(["train", str(path)]) == 0
    pid, fd = _opened(path, "do_sample=false", "max_new_tokens=4", "--compare")
    _until(fd, b"User: ")
    os.write(fd, b"Say red.\r")
    seen = _until(fd, b"User: ", _until(fd, b"Tuned"))
    os.write(fd, b"exit\r")
    _, code = _left(pid, fd)
    heads = next(line for line in seen.decode().splitlines() if "Tuned" in line)
    assert heads.index("Base") < heads.index("Tuned")
    assert any(line.rstrip().endswith("red") for line in seen.decode().splitlines())
    assert code == 0


def test_ctrl_c_ends_an_answer_and_at_the_prompt_it_leaves(tmp_path):
    """Under a pseudo-terminal, with an answer that goes on until the context is full."""
    path = tiny_run(tmp_path, model={"config": {"max_position_embeddings": 100_000}})
    pid, fd = _opened(path, "max_new_tokens=90000")
    seen = _until(fd, b"User: ")
    os.write(fd, b"hello\n")
    seen = _until(fd, b"Assistant: ")
    seen += os.read(fd, 100)
    os.write(fd, b"\x03")
    seen = _until(fd, b"User: ", b"")
    assert b"(stopped" in seen
    os.write(fd, b"\x03")
    rest, code = _left(pid, fd, again=b"\x03")
    assert code == 0
    assert b"save" not in seen + rest
