"""transformers.Trainer + peft on one job: `trainer_job.py JOB.json`. See `../sides.py`."""

import json
import sys

import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

with open(sys.argv[1], encoding="utf8") as file:
    job = json.load(file)
tokenizer = AutoTokenizer.from_pretrained(job["model"])


def encode(row):
    asked = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    ids = tokenizer(whole, add_special_tokens=False).input_ids
    count = len(tokenizer(asked, add_special_tokens=False).input_ids)
    end = len(ids) - ids[::-1].index(tokenizer.eos_token_id)  # what follows it is the template's
    labels = [-100] * count + ids[count:end] + [-100] * (len(ids) - end)
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


data = load_dataset("json", data_files=job["messages"], split="train")
data = data.map(encode, remove_columns=data.column_names)
dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[job["dtype"]]
model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
if job["method"] == "lora":
    lora = LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, lora)
    if job["arguments"].get("gradient_checkpointing"):
        model.enable_input_require_grads()
arguments = TrainingArguments(**job["arguments"])
collate = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
Trainer(model=model, args=arguments, train_dataset=data, data_collator=collate).train()
