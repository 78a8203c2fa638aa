"""LLaMA-Factory on the rows of another benchmark: seconds of rendering and tokenising.

    python peer_llamafactory.py TOKENIZER_DIR TEMPLATE ROWS.json

Run by `templates.py --peer PYTHON` with the Python that has LLaMA-Factory; prints one line of
JSON: wall and CPU seconds, and how many tokens came out.
"""

import json
import os
import sys
import time

os.environ["DISABLE_VERSION_CHECK"] = "1"

from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
from llamafactory.data.template import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from transformers import AutoTokenizer

directory, name, rows = sys.argv[1:]
with open(rows, encoding="utf8") as file:
    said = json.load(file)
tokenizer = AutoTokenizer.from_pretrained(directory)
asked = DataArguments(template=name, cutoff_len=1 << 20)
template = get_template_and_fix_tokenizer(tokenizer, asked)
processor = SupervisedDatasetProcessor(template, tokenizer, None, asked)
nothing = [None] * len(said)
examples = {
    "_prompt": [row["messages"][:-1] for row in said],
    "_response": [row["messages"][-1:] for row in said],
    "_system": [row["system"] or "" for row in said],
    "_tools": [""] * len(said),
    "_images": nothing,
    "_videos": nothing,
    "_audios": nothing,
}
wall, cpu = time.perf_counter(), time.process_time()
made = processor.preprocess_dataset(examples)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"wall": wall, "cpu": cpu, "tokens": sum(map(len, made["input_ids"]))}))
