"""Measures a training process from within: put this folder on PYTHONPATH, name a file in
TRAINING_PROBE.

Whatever is built on transformers' Trainer is measured at the same two places: where a step begins
and where training ends; Tunesmith where its loop asks for the next step. The file holds JSON:
seconds of clock and of processor at each of them, tokens that each micro-batch held (with padding,
without, trained), losses as logged, and the fullest moment of the process. The clock of a step is
read before its batch is looked at; looking costs some microseconds.
"""

import importlib.abc
import importlib.util
import json
import os
import sys
import time

RESULT = os.environ.get("TRAINING_PROBE")


def now():
    return {"clock": time.time(), "cpu": time.process_time()}


def finish(record):
    import torch

    with open("/proc/self/status", encoding="ascii") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    record |= {"end": now(), "peak_mib": peak / 1024, "threads": torch.get_num_threads()}
    with open(RESULT, "w", encoding="utf8") as file:
        json.dump(record, file)


def trainer(module):
    """transformers.trainer: LLaMA-Factory, TRL and Trainer itself."""
    record = {"steps": [], "losses": []}
    step, train = module.Trainer.training_step, module.Trainer.train

    def looked_at(self, model, inputs, *args, **kwargs):
        record["steps"].append(now() | counted(inputs))
        return step(self, model, inputs, *args, **kwargs)

    def timed(self, *args, **kwargs):
        try:
            return train(self, *args, **kwargs)
        finally:
            logged = self.state.log_history
            record["losses"] = [entry["loss"] for entry in logged if "loss" in entry]
            finish(record)

    module.Trainer.training_step, module.Trainer.train = looked_at, timed


def counted(inputs):
    ids, labels, mask = (inputs.get(key) for key in ("input_ids", "labels", "attention_mask"))
    flat = mask is not None and mask.dim() == 2
    return {
        "tokens": ids.numel(),
        "real": int((mask != 0).sum()) if flat else ids.numel(),
        "trained": 0 if labels is None else int((labels[..., 1:] != -100).sum()),
    }


def loop(module):
    """tunesmith.training.loop."""
    steps = module.steps

    def timed(*args, **kwargs):
        record = {"steps": [now()], "losses": []}
        for done in steps(*args, **kwargs):
            record["steps"][-1] |= {
                "tokens": done.tokens,
                "real": done.tokens,
                "trained": done.weight,
            }
            record["losses"].append(done.loss)
            yield done
            record["steps"].append(now())
        record["steps"].pop()
        finish(record)

    module.steps = timed


PATCHES = {"transformers.trainer": trainer, "tunesmith.training.loop": loop}


class Finder(importlib.abc.MetaPathFinder):
    """Patches a module right after it has been imported."""

    looking = False

    def find_spec(self, name, path=None, target=None):
        if name not in PATCHES or self.looking:
            return None
        Finder.looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            Finder.looking = False
        if spec is not None:
            execute = spec.loader.exec_module

            def patched(module):
                execute(module)
                PATCHES[name](module)

            spec.loader.exec_module = patched
        return spec


if RESULT:
    sys.meta_path.insert(0, Finder())
