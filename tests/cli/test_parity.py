"""`tunesmith parity A B`: a run and its export are equal, a run and its base are not."""

import json

from loopback import Handler, Loopback
from tiny_run import tiny_run
from tunesmith.cli.main import main


class Echo(Loopback):
    """Says what it is told to say."""

    def __init__(self, texts, counts):
        said = iter(zip(texts, counts, strict=True))

        class Answers(Handler):
            def do_GET(self):
                self.send(200, b'{"data": [{"id": "m"}]}')

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                text, count = next(said)
                answer = {
                    "choices": [{"message": {"content": text}}],
                    "usage": {"prompt_tokens": count},
                }
                self.send(200, json.dumps(answer).encode())

        super().__init__(Answers)


def _said(capsys, *words):
    code = main(["parity", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_its_exports_its_base_and_a_server(tmp_path, capsys):
    path = tiny_run(tmp_path, learning_rate=1e-2, val_size=3)
    assert main(["train", str(path)]) == 0
    assert main(["export", str(path), "export_format=merged,gguf-f32"]) == 0
    capsys.readouterr()
    merged, gguf = (tmp_path / "out" / "export" / name for name in ("merged", "gguf-f32"))
    for other in (merged, gguf):
        code, found = _said(capsys, path, other)
        assert code == 0, found
        assert [door["equal"] for door in found["doors"]] == [True] * 5
    code, found = _said(capsys, path, tmp_path / "model")
    assert code == 1
    assert "logits" in [door["name"] for door in found["doors"] if door["equal"] is False]
    assert main(["parity", str(merged), str(tmp_path / "model")]) == 1
    assert "DIFFERENT" in capsys.readouterr().out
    with Echo(["nonsense"] * 3, [1, 2, 3]) as server:
        code, found = _said(capsys, path, server.url)
    doors = {door["name"]: door for door in found["doors"]}
    assert code == 1
    assert doors["greedy answers"]["equal"] is False
    assert doors["prompt ids"]["equal"] is False
    assert "not compared" in doors["logits"]["said"]


def test_a_run_without_a_result_and_a_missing_path_are_refused(tmp_path, capsys):
    path = tiny_run(tmp_path)
    assert main(["parity", str(path), str(tmp_path / "model")]) == 2
    assert "without a result" in capsys.readouterr().err
    assert main(["parity", str(tmp_path / "none"), str(tmp_path / "model")]) == 2
