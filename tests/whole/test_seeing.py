"""A model that sees, from training to answers: what it has learned from pictures, it says."""

import json

import pytest

from seeing_run import seeing_run
from tiny_vlm import picture, tiny_vlm
from tunesmith.cli.main import main

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


def coloured(folder):
    """Rows whose answers can only be had from the pictures."""
    from PIL import Image

    rows = []
    for number in range(18):
        name, colour = list(COLOURS.items())[number % 3]
        shade = tuple(max(0, value - 3 * number) for value in colour)
        Image.new("RGB", (30 + number, 28), shade).save(folder / f"c{number}.png")
        asked = {"role": "user", "content": "<image>Which colour?"}
        said = {"role": "assistant", "content": name}
        rows.append({"messages": [asked, said], "images": [f"c{number}.png"]})
    return rows


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run file of a model that has learned three colours."""
    folder = tmp_path_factory.mktemp("seeing")
    path = seeing_run(
        folder, data=coloured(folder), finetuning_type="full", num_train_epochs=30, val_size=6,
        freeze_multi_modal_projector=False, learning_rate=3e-3, per_device_train_batch_size=6,
    )  # fmt: skip
    assert main(["train", str(path)]) == 0
    return path


def test_predictions_are_what_the_pictures_show(tuned, capsys):
    assert main(["predict", str(tuned), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predict_exact_match"] == pytest.approx(100.0) or found["predict_exact_match"] == 1
    assert main(["eval", str(tuned), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_accuracy"] == 1


def test_a_chat_about_pictures(tuned, tmp_path, monkeypatch, capsys):
    import io

    from PIL import Image

    lines = []
    for name, colour in COLOURS.items():
        Image.new("RGB", (50, 40), colour).save(tmp_path / f"{name}.png")
        lines += [f"/image {tmp_path / name}.png", "Which colour?", "clear"]
    lines[-1:] = [f"/save {tmp_path / 'said.jsonl'}"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert main(["chat", str(tuned), "do_sample=false"]) == 0
    out = capsys.readouterr().out
    assert [word for word in out.split() if word in COLOURS] == list(COLOURS)
    row = json.loads((tmp_path / "said.jsonl").read_text())
    assert row["images"] == [str(tmp_path / "blue.png")]
    assert row["messages"][0]["content"] == "<image>Which colour?"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/image nowhere.png", "no such file"),
        ("/image {broken}", "no picture"),
        ("what is <image>?", "/image FILE"),
    ],
)
def test_what_cannot_be_shown_is_refused(tuned, tmp_path, monkeypatch, capsys, line, said):
    import io

    (tmp_path / "broken.png").write_bytes(b"no picture")
    text = line.format(broken=tmp_path / "broken.png")
    monkeypatch.setattr("sys.stdin", io.StringIO(text + "\n"))
    main(["chat", str(tuned)])
    told = capsys.readouterr()
    assert said in told.err + told.out


def test_a_model_that_reads_is_shown_nothing(tmp_path, monkeypatch, capsys):
    import io

    from tiny_model import tiny_model

    shown = picture(tmp_path / "a.png")
    directory = tiny_model(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"/image {shown}\n"))
    main(["chat", str(directory), "template=chatml"])
    told = capsys.readouterr()
    assert "a vision-language model, for pictures" in told.err + told.out


def test_a_server_is_shown_pictures(tuned):
    import base64
    import io

    from fastapi.testclient import TestClient
    from PIL import Image

    from tunesmith.cli import answering, voices
    from tunesmith.config.load import load
    from tunesmith.serve.app import build
    from tunesmith.training.report import Silent

    run = load(tuned, ())
    served = voices.served_for(
        run, answering.find(run, Silent()), {}, Silent(), name="mine", slots=4
    )
    app, _ = build(served, token=None, places=4)
    http, said = TestClient(app), []

    def asked(data):
        url = "data:image/png;base64," + base64.b64encode(data).decode()
        parts = [{"type": "image_url", "image_url": {"url": url}},
                 {"type": "text", "text": "Which colour?"}]  # fmt: skip
        body = {"messages": [{"role": "user", "content": parts}], "temperature": 0}
        return http.post("/v1/chat/completions", json=body)

    for colour in COLOURS.values():
        out = io.BytesIO()
        Image.new("RGB", (50, 40), colour).save(out, "PNG")
        said.append(asked(out.getvalue()).json()["choices"][0]["message"]["content"])
    assert said == list(COLOURS)
    broken = asked(b"no picture")
    assert broken.status_code == 400
    assert "no picture" in broken.json()["error"]["message"]
    served.engine.close()


def test_an_export_sees_what_the_run_saw(tuned, tmp_path, capsys):
    out = tmp_path / "export"
    assert main(["export", str(tuned), f"export_dir={out}", "--json"]) == 0
    doors = {d["name"]: d for d in json.loads(capsys.readouterr().out)["proof"]["doors"]}
    assert doors["picture prompts"]["numbers"] == {"conversations": 3}
    assert all(door["equal"] for door in doors.values())
    for other in (tuned, tuned.parent / "out"):
        assert main(["parity", str(other), str(out), "--json"]) == 0
        found = {door["name"]: door for door in json.loads(capsys.readouterr().out)["doors"]}
        assert found["picture answers"]["equal"] is True
    path = out / "processor_config.json"
    said = json.loads(path.read_text())
    said["image_processor"]["image_mean"] = [0.9, 0.1, 0.5]
    path.write_text(json.dumps(said))
    assert main(["parity", str(tuned), str(out), "--json"]) == 1
    found = {door["name"]: door for door in json.loads(capsys.readouterr().out)["doors"]}
    assert found["logits"]["equal"] is True
    assert found["picture logits"]["equal"] is False


def test_pictures_that_are_exchanged_are_counted_anew(tmp_path, capsys):
    from PIL import Image

    path = seeing_run(tmp_path, model=tiny_vlm(tmp_path, "llava_next"), num_train_epochs=1)
    assert main(["train", str(path)]) == 0
    tokens = json.loads((tmp_path / "out" / "plan.json").read_text())["tokens_per_epoch"]
    Image.new("RGB", (300, 60)).save(tmp_path / "0.png")
    capsys.readouterr()
    assert main(["train", str(path), f"output_dir={tmp_path / 'again'}"]) == 0
    again = json.loads((tmp_path / "again" / "plan.json").read_text())["tokens_per_epoch"]
    assert again != tokens
