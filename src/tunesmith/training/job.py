"""A run at work: model, optimizer and log in memory, checkpoints on disk.

Built fresh or from the newest verified checkpoint, it computes the same from there on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from tunesmith import store
from tunesmith.compute import chance, sharing
from tunesmith.compute.attention import isolation
from tunesmith.compute.fused import blocks
from tunesmith.compute.placed import placed
from tunesmith.config.run import Run
from tunesmith.data.batches import lay_out
from tunesmith.data.media.feed import Feed
from tunesmith.errors import OutputError, StoreError
from tunesmith.models import acting, adapters, load
from tunesmith.models import tokenizer as tokenizers
from tunesmith.models.adapter_spec import token_modules
from tunesmith.models.card import card
from tunesmith.stages import sft
from tunesmith.training import (
    accuracy,
    balancing,
    beside,
    checkpoint,
    features,
    loop,
    numerics,
    outputs,
)
from tunesmith.training.feed import ahead
from tunesmith.training.journal import FILE, Journal
from tunesmith.training.material import Material, make_trainable
from tunesmith.training.memory import machine, worst
from tunesmith.training.optim import optimizer_for
from tunesmith.training.optimizer_state import optimizer_tensors, restore_optimizer
from tunesmith.training.plan import Plan
from tunesmith.training.report import Report
from tunesmith.training.schedule import schedule
from tunesmith.training.units import Units
from tunesmith.training.watch import Watch, Watched
from tunesmith.types import Batch, Loss, Step


class Job:
    """The run in memory.

    Args:
        run: what was asked.
        plan: what will happen.
        material: what was found.
        output_dir: where it writes; locked by the caller.
        report: what the user sees.
        fresh_process: starts the program again, for a process that computes otherwise.

    Raises:
        OutputError: `resume_from_checkpoint` names a checkpoint of another plan.
        StoreError: it names one that does not verify.
    """

    def __init__(
        self,
        run: Run,
        plan: Plan,
        material: Material,
        output_dir: Path,
        *,
        report: Report,
        fresh_process: numerics.FreshProcess | None = None,
    ) -> None:
        self.run, self.plan, self.material, self.output_dir = run, plan, material, output_dir
        self.report, self._fresh_process = report, fresh_process
        self.notes: list[str] = []
        self.units = Units(material.data.train.lengths, run, plan.unit)
        self.fingerprint = fingerprint(plan)
        found = self._checkpoint()
        self.state = found[1] if found else None
        if self.state and self.state.step > plan.steps:
            raise OutputError(
                str(output_dir), got=f"a checkpoint of step {self.state.step}",
                need=f"no more than the {plan.steps} steps that are asked for",
                hint=f"max_steps={self.state.step}, or resume_from_checkpoint=false to start over",
            )  # fmt: skip
        self._verify_best()
        self.journal = Journal(
            output_dir / FILE,
            lines=self.state.log_lines if self.state else 0,
            length=self.state.log_bytes if self.state else 0,
        )
        self.notes += self.journal.notes
        self.model = self._model(found[0] if found else None)
        self.parameters = adapters.trainable(self.model)
        self.optimizer = optimizer_for(
            run.train.optimizer,
            self.parameters,
            learning_rate=run.train.learning_rate,
            weight_decay=run.train.weight_decay,
            betas=(run.train.adam_beta1, run.train.adam_beta2),
            epsilon=run.train.adam_epsilon,
            loraplus_lr_ratio=getattr(run.method, "loraplus_lr_ratio", None),
            args=run.train.optim_args,
            by_token=[f"{name}.weight" for name in token_modules(self.model)],
        )
        self.loss_scale = loop.LossScale() if plan.precision.startswith("fp16") else None
        self.watched = self._restore(found)
        self._written = beside.written(run, plan, material, self.model)
        accuracy.tell(
            report, run, plan, self.model, material.data.train, self._loss_of(), see=self._see
        )
        self._peak_before = machine.reset_peak(self.material.precision.device.type)

    def try_largest(self) -> None:
        """Before the first step of a run, the largest micro-batch of all; see `memory.worst`."""
        if self.watched.progress.step:
            return
        batch = worst.to_try(self.plan, self.units, self.material.data.train)
        if batch is not None:
            chance.seek(seed=self.run.train.seed, step=1)
            batch = placed(self._see(batch), self.material.precision.device)
            self._loss_of()(self.model.train(), batch).minimised.backward()
            self.optimizer.zero_grad(set_to_none=True)

    def memory(self) -> dict[str, int]:
        """The most memory that the steps took, beside what was predicted; bytes."""
        measured = machine.peak_bytes(self.material.precision.device.type)
        predicted = self.plan.memory_needed
        self.report.say(machine.compared(predicted, measured))
        return {
            "peak_memory_bytes": max(measured, self._peak_before),
            "predicted_memory_bytes": predicted,
            "measured_memory_bytes": measured,
        }

    def steps(self, watch: Watch) -> Iterator[Step]:
        """The optimizer steps that are left."""
        rate = schedule(
            self.run.train.lr_scheduler_type,
            learning_rate=self.run.train.learning_rate,
            warmup_steps=self.plan.warmup_steps,
            steps=self.plan.steps,
            options=self.run.train.lr_scheduler_kwargs,
        )
        self.model.train()
        return loop.steps(
            self.model,
            self.optimizer,
            ahead(self._work()),
            self._loss_of(),
            learning_rate=lambda number: rate(number, watch.metrics_so_far),
            clip=self.run.train.max_grad_norm,
            before_step=lambda number: chance.seek(seed=self.run.train.seed, step=number),
            origin_of=lambda row: str(self.material.data.train[row].origin),
            loss_scale=self.loss_scale,
            late=self.material.precision.device.type == "cuda"
            and self.loss_scale is None
            and loop.reads_late(self.optimizer),
        )

    def _loss_of(self) -> loop.LossOf:
        """The stage's loss, in the precision of the run."""
        stage = sft.loss_of(balance=balancing.coefficient(self.run, self.model))
        context = self.material.precision.context(self.model)

        def loss_of(model: Any, batch: Batch) -> Loss:
            with context:
                return stage(model, batch)

        return loss_of

    def evaluate(self, evaluate: Callable[..., Mapping[str, float]]) -> Mapping[str, float]:
        """Metrics on the held-out examples."""
        self.model.eval()
        with self.material.precision.context(self.model):
            found = evaluate(
                self.model,
                self.material.data.eval,
                max_tokens=self._see.room(self.plan.micro_batch_tokens),
                share=self._share,
                see=self._see,
                want_accuracy=self.run.eval.compute_accuracy,
                progress=lambda done, total: self.report.work("evaluating", done, total),
                each_dataset=self.run.eval.eval_on_each_dataset,
            )
        self.model.train()
        return found

    def save(self, seen: Watched) -> None:
        """Write a checkpoint of the state after the last step; remove those beyond the limit."""
        numerics.require_finite(self.parameters, step=seen.progress.step)
        lines, length = self.journal.mark()
        state = checkpoint.TrainState(
            step=seen.progress.step,
            fingerprint=self.fingerprint,
            log_lines=lines,
            log_bytes=length,
            best_metric=seen.best[1] if seen.best else None,
            best_step=seen.best[0] if seen.best else None,
            identity=self.plan.identity,
            probe=self.probe,
            versions=numerics.versions(),
            progress={
                "watched": seen.as_dict(),
                "loss_scale": vars(self.loss_scale) if self.loss_scale else None,
            },
        )
        path = self.output_dir / checkpoint.name_of(state.step)
        optimizer_state = (
            None
            if self.run.output.save_only_model
            else optimizer_tensors(self.optimizer, self.parameters)
        )
        checkpoint.save(
            path,
            write=lambda directory: outputs.write_model(self.model, directory, self._written),
            state=state,
            optimizer_state=optimizer_state,
        )
        best = self.run.eval.load_best_model_at_end and seen.best
        protect = [self.output_dir / checkpoint.name_of(best[0])] if best else []
        named = self.run.train.resume_from_checkpoint
        if isinstance(named, str | Path) and Path(named).resolve().parent == path.parent.resolve():
            protect.append(Path(named))  # the same command must find it again
        checkpoint.rotate(
            self.output_dir, keep=self.run.output.save_total_limit, newest=path, protect=protect
        )

    def load_best(self, best: tuple[int, float]) -> None:
        """Put the weights of the best checkpoint into the model.

        Raises:
            StoreError: that checkpoint is gone or damaged.
        """
        path = self.output_dir / checkpoint.name_of(best[0])
        store.verify(path)
        outputs.read_weights(self.model, path)

    def write_result(self, step: int) -> None:
        """The tuned model, as it stands after a step, into the output directory.

        Raises:
            TrainError: a weight is not finite.
        """
        stored = self.material.facts.stored_dtype
        dtype = {"BF16": torch.bfloat16, "F16": torch.float16}.get(stored or "")
        whole = not adapters.attached(self.model)
        numerics.require_finite(self.parameters, step=step, dtype=dtype if whole else None)
        with store.install(self.output_dir) as directory:
            outputs.write_model(self.model, directory, self._written, dtype=dtype)
        wrong = tokenizers.check_stock(self.output_dir)
        if wrong:
            self.notes.append(
                f"stock AutoTokenizer gets other ids from {self.output_dir} "
                f"({wrong[0].loader}, for {wrong[0].text[:40]!r}); "
                f"{tokenizers.RIGHT_LOADER} is right"
            )

    def write_card(self, metrics: Mapping[str, Any]) -> None:
        """The model card."""
        facts = outputs.card_facts(self._written, self.material.data, metrics)
        store.write_text(self.output_dir / "README.md", card(facts))

    def _work(self) -> Iterator[tuple[int, list[Batch]]]:
        device = self.material.precision.device
        first = self.watched.progress.step + 1
        for number in range(first, self.plan.steps + 1):
            rows = self.units.examples(number)
            batches = lay_out(
                self.material.data.train, rows, share=self._share,
                max_tokens=self._see.room(self.plan.micro_batch_tokens),
            )  # fmt: skip
            yield number, [placed(self._see(batch), device) for batch in batches]

    def _checkpoint(self) -> tuple[Path, checkpoint.TrainState] | None:
        named = self.run.train.resume_from_checkpoint
        if isinstance(named, str | Path):
            state = checkpoint.resumable(Path(named))
            if state.fingerprint != self.fingerprint:
                raise OutputError(
                    str(named), got="a checkpoint of another plan", need="one of this plan",
                    hint="adapter_name_or_path to start from its weights only",
                )  # fmt: skip
            newest = self._newest()
            later = newest is not None and newest[1].step > state.step
            if newest is None or not later or newest[1].fingerprint != self.fingerprint:
                return Path(named), state
            self.report.say(f"going on from {newest[0]}, which came after {named}")
            return newest
        latest = self._newest()
        if latest is None:
            return None
        path, state = latest
        if state.fingerprint != self.fingerprint:
            raise OutputError(
                str(path), got="a checkpoint of another plan", need="one of this plan",
                hint="resume_from_checkpoint: false to start over",
            )  # fmt: skip
        self.report.say(f"going on from {path}")
        return latest

    def _newest(self) -> tuple[Path, checkpoint.TrainState] | None:
        """The newest whole checkpoint in the output directory."""
        latest = checkpoint.find_latest(self.output_dir)
        for line in latest.stepped_back:
            self.report.say(f"note: {line}")
        if latest.path is None or latest.state is None:
            return None
        return latest.path, latest.state

    def _verify_best(self) -> None:
        """What is to be delivered must be whole now, not only be missed after the last step."""
        if not (self.run.eval.load_best_model_at_end and self.state and self.state.best_step):
            return
        best = self.output_dir / checkpoint.name_of(self.state.best_step)
        try:
            store.verify(best)
        except StoreError as error:
            error.hint = "resume_from_checkpoint=false to start over: the best weights are lost"
            raise

    def _model(self, path: Path | None) -> Any:
        precision = self.material.precision
        model: Any = load.load_model(
            self.material.directory,
            dtype=precision.dtype,
            device=precision.device,
            trust_remote_code=self.run.model.trust_remote_code,
            quantization=self.run.model.quantization,
            kernel=self.run.model.flash_attn,
        )
        self.probe, note = numerics.check(
            model,
            f"{self.material.model_fingerprint} {self.run.model.quantization or ''}".rstrip(),
            precision,
            versions=numerics.versions(),
            before=self.state.probe if self.state else None,
            fresh_process=self._fresh_process,
        )
        self._tell(note)
        make_trainable(self.run, model, self.material.adapters, self.material.words)
        with precision.context(model), self.run.placing():
            acting.check(model, f"{self.material.directory}/config.json")
        model.config.use_cache = False
        self._tell(blocks.fuse(model).note)  # before a checkpoint is read: always the same
        family = self.material.family
        with precision.context(model):
            self._see = Feed(family, alone=family is not None and isolation(model) != "varlen")
        self._share = self.plan.share and family is None and self._shares(model)
        self.model = model
        if path is not None:
            outputs.read_weights(self.model, path)
        self._see.recall = features.recall(
            self.run, self.material, model,
            rows=features.rows_of(self.units, self.plan), report=self.report, tell=self._tell,
        )  # fmt: skip
        if self.plan.recompute:
            chance.enable_checkpointing(model, self.plan.recompute)
        return model

    def _shares(self, model: Any) -> bool:
        """Whether the model gets for rows that share what it gets for each alone.

        Raises:
            ModelError: it does not, and the run file wants it.
        """
        if sharing.shares(model):
            return True
        if self.run.train.prefix_sharing is True:
            raise sharing.refusal(model)
        self._tell("prefix sharing is off: this model gets something else for rows that share")
        return False

    def _tell(self, note: str | None) -> None:
        if note and note not in self.plan.notes:
            self.notes.append(note)
            self.report.say(f"note: {note}")

    def _restore(self, found: tuple[Path, checkpoint.TrainState] | None) -> Watched:
        if found is None:
            return Watched()
        path, state = found
        restore_optimizer(self.optimizer, self.parameters, checkpoint.load_optimizer(path))
        if self.loss_scale and state.progress["loss_scale"]:
            vars(self.loss_scale).update(state.progress["loss_scale"])
        return Watched.of(state.progress["watched"])


def fingerprint(plan: Plan) -> str:
    """Hash of what changes what is learned."""
    text = json.dumps(plan.identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
