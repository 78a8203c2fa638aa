"""TRL's SFTTrainer + peft on one job: `trl_job.py JOB.json`. See `../sides.py`."""

import json
import sys

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

with open(sys.argv[1], encoding="utf8") as file:
    job = json.load(file)
lora = LoraConfig(
    r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
)
dtype = {"bf16": "bfloat16", "fp32": "float32"}[job["dtype"]]
SFTTrainer(
    model=job["model"],
    args=SFTConfig(model_init_kwargs={"dtype": dtype}, **job["arguments"]),
    train_dataset=load_dataset("json", data_files=job["messages"], split="train"),
    peft_config=lora if job["method"] == "lora" else None,
    processing_class=AutoTokenizer.from_pretrained(job["model"]),
).train()
