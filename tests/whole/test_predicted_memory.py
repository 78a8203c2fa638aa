"""What the plan says of memory is what a real run holds, tensor by tensor.

Counted are the storages that live while steps run, not the memory of the process: that one has an
allocator and other programs in it.
"""

import weakref
from importlib.util import find_spec

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tiny_run import WORDS, tiny_run, train
from tunesmith.compute.quantized import Quantized
from tunesmith.training import forecast, loop, planning

NOT_TENSORS = ("process", "kernels", "fragmentation")
MODEL = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 6}
ROWS = [
    {"instruction": f"Say {i}.", "output": " ".join(WORDS[(i * 5 + k) % 11] for k in range(40 + i))}
    for i in range(8)
]
PROMPT = " ".join(WORDS[k * k % 11] for k in range(60))
ALIKE = [{**row, "instruction": f"{PROMPT} {row['instruction']}"} for row in ROWS]
FULL = {"finetuning_type": "full", "lora_rank": None}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
EXPERTS = {
    **MODEL, "head_dim": 16, "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
}  # fmt: skip
RUNS = {
    "lora fp32": {},
    "lora bf16": {"bf16": True},
    "lora, 3 layers again": {"recompute": 3},
    "lora, all layers again": {"recompute": 6},
    "lora, two micro-batches": {"tokens": 300},
    "dora": {"use_dora": True},
    "full": FULL,
    "full, two micro-batches": {**FULL, "tokens": 300},
    "full, all layers again": {**FULL, "recompute": 6},
    "full, one short row": {
        **FULL, "rows": [{"instruction": "Go.", "output": "red"}] * 2,
        "model": {"num_hidden_layers": 1}, "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
    },
    "freeze": {**FULL, "finetuning_type": "freeze", "freeze_trainable_layers": 2},
    "packs": {"packing": True, "per_device_train_batch_size": 1},
    "prefixes shared": {"rows": ALIKE, "prefix_sharing": True},
    "qlora": {"quantization_bit": 4, "bf16": True},
    "dora over 4 bits": {"quantization_bit": 4, "bf16": True, "use_dora": True},
    "state": {
        "kind": "mamba", "model": {"hidden_size": 64, "state_size": 8, "num_hidden_layers": 2},
        "lora_target": ["in_proj", "out_proj"],
    },
    "experts fp32": {"kind": "qwen3_moe", "model": EXPERTS, "lora_target": ATTENTION},
    "experts bf16": {
        "kind": "qwen3_moe", "model": EXPERTS, "lora_target": ATTENTION, "bf16": True,
    },
    "experts, full": {**FULL, "kind": "qwen3_moe", "model": EXPERTS},
}  # fmt: skip


class Alive(TorchDispatchMode):
    """Bytes of the storages that live, each once."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._bytes = {}

    def add(self, tensor):
        if isinstance(tensor, Quantized):  # its own storage is none: the codes are
            for part in tensor.parts.values():
                self.add(part)
            return
        storage = tensor.untyped_storage()
        if (key := storage._cdata) in self._bytes:
            return
        self._bytes[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key):
        self.live -= self._bytes.pop(key)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                self.add(tensor)
        return made


@pytest.fixture
def alive(monkeypatch):
    """What lives while the steps of a run are made."""
    counter, original = Alive(), loop.steps

    def counted(model, *arguments, **keys):
        with counter:
            for tensor in (*model.parameters(), *model.buffers()):
                counter.add(tensor)
            yield from original(model, *arguments, **keys)

    monkeypatch.setattr(loop, "steps", counted)
    return counter


@pytest.mark.parametrize("name", RUNS)
def test_the_tensors_of_a_run_take_what_its_plan_predicts(tmp_path, alive, monkeypatch, name):
    keys = dict(RUNS[name])
    if "quantization_bit" in keys and not find_spec("bitsandbytes"):
        pytest.skip("needs bitsandbytes")
    again, tokens = keys.pop("recompute", 0), keys.pop("tokens", None)
    solved = planning.layout_for

    def as_asked(*arguments, **others):
        layout = solved(*arguments, **others)
        return layout._replace(recompute=again, tokens=tokens or layout.tokens)

    monkeypatch.setattr(planning, "layout_for", as_asked)
    monkeypatch.setattr(forecast, "measure", lambda *arguments, **others: None)
    usual = {"rows": ROWS, "model": MODEL, "cutoff_len": 256, "num_train_epochs": 2}
    path = tiny_run(tmp_path, **{**usual, "save_strategy": "no", **keys})
    plan = train(path).plan
    parts = plan.memory_components
    predicted = sum(size for part, size in parts.items() if part not in NOT_TENSORS)
    assert predicted == pytest.approx(alive.peak, rel=0.05), (plan.memory_moment, parts)
