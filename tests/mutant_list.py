"""The silent bugs of `docs/silent-bugs.md`, each as the change of our source that brings it in.

Ids name the groups: A loss, gradients, precision; C packing; D adapters, embeddings, merging; M
what no batch order, split, layout, stop or precision may change. `old` stands once in its file.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One bug, put back."""

    id: str
    bug: str
    file: str
    """Below src/tunesmith."""
    old: str
    new: str
    tests: tuple[str, ...]
    """Of which one at least must fail; below tests."""


LOOP = ("training/test_loop.py",)
ORACLE_LORA = "whole/test_oracle.py::test_adapters_learn_as_the_oracle_says[True-llama]"
ORACLE_FULL = "whole/test_oracle.py::test_all_weights_learn_as_the_oracle_says[True-llama]"
ORACLE_SOME = "whole/test_oracle.py::test_some_layers_learn_as_the_oracle_says[llama]"
ORACLE_KINDS = "whole/test_oracle.py::test_every_kind_of_adapter_learns_as_the_oracle_says"
ORACLE_RUN = (
    "whole/test_oracle.py"
    "::test_every_step_of_a_run_is_the_oracles_also_the_short_last_one[rows-split0]"
)
RESUMED = (
    "training/test_run.py::test_a_run_stopped_at_any_step_and_gone_on_with_is_the_straight_run[0.3]"
)
ADAPTERS = ("models/test_adapters.py",)
PEFT = "whole/test_peft.py"
EVERYWHERE = "whole/test_resume_everywhere.py"

MUTANTS = (
    # A: loss, gradients, precision
    Mutant(
        "A1", "each micro-batch is averaged by itself", "stages/sft.py",
        "Loss(-logprob_P.sum(), weight, metrics)",
        "Loss(-logprob_P.mean(), torch.ones_like(weight), metrics)",
        ("stages/test_sft.py", *LOOP, ORACLE_LORA),
    ),
    Mutant(
        "A2a", "two places divide by the tokens", "stages/sft.py",
        "Loss(-logprob_P.sum(), weight, metrics)",
        "Loss(-logprob_P.sum() / weight.clamp(min=1), weight, metrics)",
        ("stages/test_sft.py", ORACLE_LORA),
    ),
    Mutant(
        "A2b", "no place divides by the tokens", "training/loop.py",
        "torch._foreach_div_(gradients, divisor)", "pass",
        (ORACLE_RUN,),
    ),
    Mutant(
        "A2c", "the logged loss is another one than that of the gradient", "training/loop.py",
        "loss.total.detach(), weight +", "loss.total.detach() * scale / len(batches), weight +",
        LOOP,
    ),
    Mutant(
        "A4a", "the last step of an epoch is left out", "data/order.py",
        "return -(-rows // global_batch)", "return max(1, rows // global_batch)",
        ("data/test_order.py",),
    ),
    Mutant(
        "A4b", "the last step of an epoch is filled up with rows of its beginning", "data/order.py",
        "return _of_epoch(rows, seed=seed, epoch=epoch)[first:last]",
        "return np.resize(_of_epoch(rows, seed=seed, epoch=epoch)[first:], global_batch)",
        ("data/test_order.py",),
    ),
    Mutant(
        "A4c", "gradients of a step leak into the next", "training/loop.py",
        "        step = read(done)\n        optimizer.step()\n"
        "        optimizer.zero_grad(set_to_none=True)",
        "        step = read(done)\n        optimizer.step()",
        (*LOOP, ORACLE_RUN),
    ),
    Mutant(
        "A5a", "the schedule advances per micro-batch", "training/loop.py",
        "rate=learning_rate(number)", "rate=learning_rate(number * len(batches))",
        LOOP,
    ),
    Mutant(
        "A5b", "the first step has the rate of the second", "training/schedule.py",
        "learning_rate * usual(number - 1,", "learning_rate * usual(number,",
        ("training/test_schedule.py"
         "::test_the_usual_schedules_are_those_of_transformers_to_the_last_bit",),
    ),
    Mutant(
        "A6a", "held-out loss weighs batches, not tokens", "eval/held_out.py",
        "total -= float(found.logprob_P.double().sum())",
        "total -= float(found.logprob_P.double().mean()) * max(1, len(batch.labels_P)) ** 0.5",
        ("eval/test_held_out.py::test_tokens_are_weighed_not_rows",),
    ),
    Mutant(
        "A6b", "tokens that are not trained count in the held-out loss", "eval/held_out.py",
        "tokens += len(batch.labels_P)", "tokens += len(batch.ids_T)",
        (
            "eval/test_held_out.py"
            "::test_the_loss_is_the_oracles_and_does_not_depend_on_the_batches",
        ),
    ),
    Mutant(
        "A7a", "the fused head gives all positions the first one's upstream gradient",
        "compute/score.py",
        "(toward_PW * grad_P[:, None])", "(toward_PW * grad_P[:1, None])",
        ("compute/test_score.py",),
    ),
    Mutant(
        "A7b", "the gradient of a trained head forgets the upstream gradient", "compute/score.py",
        "slope).mul_(grad_P[part, None])", "slope)",
        ("compute/test_score.py::test_any_weighting_of_positions_has_the_gradient_of_full_logits",
         "compute/test_score.py::test_a_bias_of_the_head_counts_and_learns"),
    ),
    Mutant(
        "A7c", "a cap or a scale on the logits is left out of the gradient", "compute/score.py",
        "and slope == 1.0 else pull.mul_(slope)", "and slope == 1.0 else pull",
        ("compute/test_score.py",),
    ),
    Mutant(
        "A7d", "only the last chunk's share of the head's gradient is kept", "compute/score.py",
        "grad_weight.addmm_(product_CV.T, states[chunk])",
        "grad_weight.copy_(product_CV.T @ states[chunk])",
        ("compute/test_score.py",),
    ),
    Mutant(
        "A7e", "the fused norm forgets that its length depends on the input",
        "compute/fused/norm.py",
        "pull.sub_(unit.mul_(share)).mul_(rate_T1)", "pull.mul_(rate_T1)",
        ("compute/fused/test_norm.py",),
    ),
    Mutant(
        "A7f", "the fused gate forgets its activation on the way back", "compute/fused/gated.py",
        "    pull_TI.mul_(active)\n", "",
        ("compute/fused/test_gated.py",),
    ),
    Mutant(
        "A7m", "what was changed in place is made again as it was before", "compute/remake.py",
        "found is not None and found.version == x._version", "found is not None",
        ("compute/test_remake.py::test_what_was_changed_in_place_is_kept_as_it_is",),
    ),
    Mutant(
        "A7g", "gradients are turned forward again by the fused rotation",
        "compute/fused/rotary.py",
        "sin2, sin1.neg()), None, None", "sin1.neg(), sin2), None, None",
        ("compute/fused/test_rotary.py",),
    ),
    Mutant(
        "A7k", "a run that was compiled goes on uncompiled, and ends in other bits",
        "training/plan.py", "            self.compiled,\n", "",
        ("training/test_compiling.py",),
    ),
    Mutant(
        "A7h", "layers computed together give the input the gradient of the last one only",
        "compute/fused/linears.py",
        "grad_TO @ base if toward is None else toward.addmm_(grad_TO, base)", "grad_TO @ base",
        ("compute/fused/test_linears.py",),
    ),
    Mutant(
        "A7i", "a module is fused that computes something else", "compute/fused/blocks.py",
        "proved[like] = None if pretended(module) else _differs(module, kind)",
        "proved[like] = None",
        ("compute/fused/test_blocks.py",),
    ),
    Mutant(
        "A7j", "a head that does something more is taken for a matrix", "compute/score.py",
        "    if not pretended(model):\n        _compare(model, head)\n", "",
        ("compute/test_score.py", "whole/test_bad_model.py"),
    ),
    Mutant(
        "A8a", "a loss that is not finite goes on", "training/loop.py",
        "if math.isfinite(step.loss) and math.isfinite(step.grad_norm):",
        "if not math.isfinite(step.loss) or True:",
        ("training/test_loop.py"
         "::test_a_loss_that_is_not_finite_stops_before_the_update_and_names_its_rows",),
    ),
    Mutant(
        "A8b", "a number that is not finite is smoothed in the log", "training/journal.py",
        'return "NaN" if math.isnan(value) else', "return 0.0 if math.isnan(value) else",
        ("training/test_journal.py",),
    ),
    Mutant(
        "A8c", "weights that have overflowed are saved", "training/numerics.py",
        "    if bad:\n        raise TrainError", "    if bad and False:\n        raise TrainError",
        ("training/test_numerics.py",),
    ),
    Mutant(
        "A9a", "what learns in full stays in bf16", "models/freeze.py",
        "parameter.data = parameter.data.float()", "parameter.data = parameter.data",
        ("models/test_freeze.py",),
    ),
    Mutant(
        "A9b", "adapters learn in the dtype of their base", "compute/lora.py",
        "torch.zeros(base.out_features, rank, device=device)",
        "torch.zeros(base.out_features, rank, device=device, dtype=base.weight.dtype)",
        ("compute/test_lora.py",),
    ),
    Mutant(
        "A9c", "a cast of the weights outlives their update", "compute/precision.py",
        "cache_enabled=False", "cache_enabled=True",
        (
            "compute/test_precision.py"
            "::test_an_update_within_the_context_is_seen_by_the_next_forward_pass",
        ),
    ),
    Mutant(
        "A9d", "modules trained in full beside an adapter stay in bf16", "models/adapters.py",
        "parameter.data = parameter.data.float()", "parameter.data = parameter.data",
        (ADAPTERS[0] + "::test_a_merge_rounds_once_to_the_dtype_of_the_base",
         "training/test_run.py::test_a_small_rate_moves_weights_that_bf16_would_round_back"),
    ),
    Mutant(
        "A10a", "each position predicts its own token", "data/batches.py",
        "predict_P=torch.from_numpy(labelled_P - 1)", "predict_P=torch.from_numpy(labelled_P)",
        ("data/test_batches.py", ORACLE_RUN),
    ),
    Mutant(
        "A10b", "the first trained token of an answer is not learned", "data/batches.py",
        "labelled_P = np.flatnonzero(learned_T)",
        "labelled_P = np.flatnonzero(learned_T & np.roll(learned_T, 1))",
        ("data/test_batches.py", ORACLE_RUN),
    ),
    Mutant(
        "A11a", "the cap of attention scores is dropped", "compute/attention.py",
        "rule = Rule(scaling, sliding_window, softcap, s_aux)",
        "rule = Rule(scaling, sliding_window, None, s_aux)",
        ("compute/test_attention.py",),
    ),
    Mutant(
        "A11b", "the window is one token too wide", "compute/attention.py",
        "mask.triu_(1 - window)", "mask.triu_(-window)",
        ("compute/test_attention.py",),
    ),
    Mutant(
        "A11c", "the model's own scale of scores is ignored", "compute/flash_cpu.py",
        "True, scale=scaling)", "True, scale=None)",
        ("compute/test_flash_cpu.py",),
    ),
    Mutant(
        "A11d", "the backward pass of attention ignores the scale", "compute/flash_cpu.py",
        "True, scale=ctx.scaling)", "True, scale=None)",
        ("compute/test_flash_cpu.py",),
    ),
    Mutant(
        "A11e", "sinks of attention heads are left out", "compute/attention.py",
        "weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)[..., : key.shape[2]]",
        "weights = scores[..., : key.shape[2]].softmax(-1, dtype=torch.float32).to(query.dtype)",
        ("compute/test_attention.py",),
    ),
    Mutant(
        "A12a", "positions go on from one request to the next in a pass", "infer/forward.py",
        "range(kept.length, kept.length + len(added))", "range(len(added))",
        ("infer/test_forward.py",),
    ),
    Mutant(
        "A12b", "a chunk of a prompt sees tokens after it", "compute/cached_attention.py",
        "tril_(length - count)", "tril_(length)",
        ("compute/test_cached_attention.py", "infer/test_forward.py"),
    ),
    Mutant(
        "A13", "recomputing a frozen layer cuts the gradient above it", "compute/chance.py",
        "partial(checkpoint, use_reentrant=False, context_fn=recompute_contexts)",
        "partial(checkpoint, use_reentrant=True)",
        (ORACLE_LORA, ORACLE_SOME),
    ),
    Mutant(
        "A14a", "a model's own dropout trains along", "compute/chance.py",
        "        if found:\n            kind", "        if found and False:\n            kind",
        ("compute/test_chance.py::test_a_models_own_dropout_is_refused",),
    ),
    Mutant(
        "A14d", "noise of a model's router trains along", "compute/chance.py",
        '"jitter" in key]', '"no such key" in key]',
        ("compute/test_chance.py::test_a_models_own_dropout_is_refused",),
    ),
    Mutant(
        "A14e", "a model draws in training what its config does not tell", "models/acting.py",
        "        if drawn:\n", "        if drawn and False:\n",
        ("models/test_acting.py",),
    ),
    Mutant(
        "A14b", "dropout stays on in evaluation", "eval/held_out.py",
        "    model.eval()\n", "",
        ("eval/test_held_out.py::test_dropout_is_off_while_measuring",),
    ),
    Mutant(
        "A14c", "an adapter drops inputs in evaluation too", "compute/lora.py",
        "if self.training and self.dropout > 0 else None", "if self.dropout > 0 else None",
        ("compute/test_lora.py",),
    ),
    # C: packing
    Mutant(
        "C1a", "documents of a batch attend to each other", "compute/attention.py",
        "offsets = tuple(attention_mask.flatten().tolist())", "offsets = (0, query.shape[2])",
        ("compute/test_attention.py",),
    ),
    Mutant(
        "C1b", "the borders between documents are off by one", "compute/attention.py",
        "torch.tensor(offsets, dtype=torch.int32)",
        "torch.tensor((0, *(o - 1 for o in offsets[1:-1]), offsets[-1]), dtype=torch.int32)",
        ("compute/test_attention.py::test_another_first_document_leaves_the_second_bit_equal",),
    ),
    Mutant(
        "C2", "positions run on from one document to the next", "data/batches.py",
        "[np.arange(length, dtype=np.int64) for length in lengths]",
        "[np.arange(offsets[-1], dtype=np.int64)]",
        ("data/test_batches.py",),
    ),
    Mutant(
        "C3", "an attention is trusted that nobody has tried", "compute/attention.py",
        '_probe(model) if _ours(name) else "per_document_forward"', '"varlen"',
        ("compute/test_attention.py"
         "::test_attention_that_is_not_ours_gets_one_pass_for_each_document",),
    ),
    Mutant(
        "C4a", "rows longer than a micro-batch are dropped", "data/batches.py",
        "[chosen[i] for i in items.tolist()]) for items in bins]",
        "[chosen[i] for i in items.tolist()]) for items in bins\n"
        "            if sum(lengths[i] for i in items) <= max_tokens]",
        ("data/test_batches.py",),
    ),
    Mutant(
        "C4b", "a pack loses its last document", "data/packing.py",
        "        return self.items[self.ends[number - 1] if number else 0 : self.ends[number]]",
        "        return self.items[self.ends[number - 1] if number else 0 : self.ends[number]"
        " - (number == 1)]",
        ("data/test_packing.py", "data/test_batches.py"),
    ),
    Mutant(
        "C5", "a document's first token is predicted from its neighbour's last", "data/batches.py",
        "learned_T[offsets[:-1]] = False", "learned_T[0] = False",
        ("data/test_batches.py",),
    ),
    Mutant(
        "C6", "layers that carry a state are taken for attention", "compute/attention.py",
        "equal = (packed - alone).norm() <= near * alone.norm() and (",
        "equal = True or (packed - alone).norm() <= near * alone.norm() and (",
        ("compute/test_attention.py"
         "::test_a_layer_that_mixes_neighbours_is_noticed_whatever_it_says_of_itself",),
    ),
    Mutant(
        "C7a", "rows that share a beginning see each other's ends", "compute/tree_attention.py",
        "(slice(end, until), slice(start, end))",
        "(slice(end, tree.offsets[-1]), slice(start, end))",
        ("compute/test_tree_attention.py",),
    ),
    Mutant(
        "C7b", "two stretches of keys are averaged without their weights",
        "compute/tree_attention.py",
        "share = (norm - both).exp_()", "share = norm.new_full(norm.shape, 0.5)",
        ("compute/test_tree_attention.py",),
    ),
    Mutant(
        "C7c", "rows that begin another one are not learned", "data/prefixes.py",
        "for row in (*chain.beginnings, chain.row):", "for row in (chain.row,):",
        ("data/test_prefixes.py",),
    ),
    Mutant(
        "C7d", "positions begin anew where a row leaves the others", "data/prefixes.py",
        "positions.append(own)", "positions.append(own - chain.shared)",
        ("data/test_prefixes.py",),
    ),
    Mutant(
        "C7e", "a model is trusted to keep siblings apart", "compute/sharing.py",
        'isolation(model) == "varlen" and _probe(model)', 'isolation(model) == "varlen"',
        ("compute/test_sharing.py::test_layers_that_are_not_told_of_the_tree_are_found_out",),
    ),
    Mutant(
        "C7f", "what follows a branching is predicted from the row before",
        "data/prefixes.py",
        'side="right") - 1', 'side="left") - 1',
        ("data/test_prefixes.py",),
    ),
    Mutant(
        "C8", "documents of one length are folded in another order", "compute/flash_cpu.py",
        "unflatten(1, run).transpose(0, 1)",
        "unflatten(1, run[::-1]).transpose(1, 2).transpose(0, 1)",
        ("compute/test_flash_cpu.py",),
    ),
    # D: adapters, embeddings, merging, export
    Mutant(
        "D1a", "`all` misses most layers", "models/adapter_spec.py",
        "found = [n for n in free if n != head]",
        'found = [n for n in free if "attn" in n]',
        (ADAPTERS[0] + "::test_all_means_every_linear_layer_but_the_head",),
    ),
    Mutant(
        "D1b", "experts are left out without a word", "models/adapter_spec.py",
        "        if deep:\n", "        if deep and False:\n",
        ("models/test_adapter_spec.py",),
    ),
    Mutant(
        "D1c", "a target that matches nothing is passed over", "models/adapter_spec.py",
        "        if not hits:\n", "        if not hits and False:\n",
        ("models/test_adapter_spec.py",),
    ),
    Mutant(
        "D1d", "an adapter is put on a weight that the model takes past it", "models/acting.py",
        "    if not past:\n", "    if not past or past:\n",
        ("models/test_acting.py",),
    ),
    Mutant(
        "D1f", "a plan does not see that a weight is taken past its adapter", "models/acting.py",
        "    past = [layer.weight for layer in adapted.values() if layer not in called]\n",
        "    past = []\n",
        ("training/test_material.py",),
    ),
    Mutant(
        "D1e", "a linear layer with code of its own is computed as a plain one",
        "models/adapter_spec.py",
        "        if not _is_plain(layer):\n", "        if not _is_plain(layer) and False:\n",
        ("models/test_adapter_spec.py",),
    ),
    Mutant(
        "D2a", "the adapter is not put on where answers are made", "cli/answering.py",
        "        adapters.load_adapter(model, path, trainable=False)", "        pass",
        ("cli/test_answering.py::test_adapters_are_stacked_in_their_order",),
    ),
    Mutant(
        "D2b", "an adapter works in training only", "compute/lora.py",
        "if not self.enabled:", "if not self.enabled or not self.training:",
        ("compute/test_lora.py",),
    ),
    Mutant(
        "D3a", "tensors of a file that no layer takes are skipped", "models/adapter_files.py",
        "    if missing or foreign:", "    if missing:",
        ("models/test_adapter_files.py", *ADAPTERS),
    ),
    Mutant(
        "D3b", "what a layer holds in the file is not put into it", "models/adapter_layers.py",
        "    layer.lora_B.copy_(b)\n", "",
        ("models/test_adapter_layers.py",),
    ),
    Mutant(
        "D4", "a part of the adapter is not saved", "models/adapters.py",
        "in adapter_tensors(model).items()}\n    told",
        'in adapter_tensors(model).items() if "lora_B" not in key}\n    told',
        (ADAPTERS[0] + "::test_what_is_saved_is_loaded_bit_equal",),
    ),
    Mutant(
        "D5a", "merging into a tied head changes the embedding", "models/adapters.py",
        "    _untie_adapted_head(model)\n", "",
        (ADAPTERS[0] + "::test_merging_an_adapter_on_a_tied_head_leaves_the_embedding_alone",),
    ),
    Mutant(
        "D5b", "of two tied modules one is trained and saved", "models/adapters.py",
        "    return [*extra, *(name for name in also if not within(name, extra))]",
        "    return [*extra]",
        (ADAPTERS[0] + "::test_what_is_tied_is_trained_and_saved_under_both_names",),
    ),
    Mutant(
        "D5c", "weights that a file has untied are loaded as one", "models/adapters.py",
        "    check_tied(model, extra, tensors, directory / WEIGHTS)\n", "",
        (ADAPTERS[0] + "::test_a_file_of_pefts_that_unties_what_is_tied_is_refused",),
    ),
    Mutant(
        "D6a", "rows of new tokens do not learn", "models/adapter_rows.py",
        "    if not spec.token_ids:\n        return\n", "    if True:\n        return\n",
        ("models/test_adapter_rows.py",),
    ),
    Mutant(
        "D6b", "rows of new tokens are not saved", "models/adapters.py",
        "    for name in adapter_rows.own(model):\n", "    for name in ():\n",
        ("models/test_adapter_rows.py",),
    ),
    Mutant(
        "D6c", "learned rows are left out of the merge", "models/adapter_rows.py",
        "            write_back(module)\n", "",
        ("models/test_adapter_rows.py",),
    ),
    Mutant(
        "D7", "what is merged into a few bits is lost without a word", "compute/quantized.py",
        "told.alias_info is not None and told.alias_info.is_write", "False",
        ("compute/test_quantized.py::test_writing_to_it_is_refused",),
    ),
    Mutant(
        "D8a", "a merge is computed in the dtype of the base", "models/adapters.py",
        "(layer.weight.float() + layer.delta()).to(layer.weight.dtype)",
        "layer.weight + layer.delta().to(layer.weight.dtype)",
        (ADAPTERS[0] + "::test_a_merge_rounds_once_to_the_dtype_of_the_base",),
    ),
    Mutant(
        "D8b", "an export is stored in another dtype than its base", "export/merge.py",
        "stored = dtype or proofs.stored_dtype(model_dir)", "stored = dtype or torch.float32",
        ("export/test_merge.py::test_the_bases_own_type_is_kept_when_none_is_asked_for",),
    ),
    Mutant(
        "D9", "merging forgets the adapter", "models/adapters.py",
        "            layer.weight.copy_(merged)\n", "",
        (ADAPTERS[0] + "::test_merged_is_what_the_adapter_computed",),
    ),
    Mutant(
        "D10a", "rsLoRA is scaled as LoRA", "models/adapter_spec.py",
        "(math.sqrt(self.rank) if self.rslora else self.rank)", "self.rank",
        (ADAPTERS[0] + "::test_scaling_is_alpha_by_rank_or_by_its_root",),
    ),
    Mutant(
        "D10b", "a loaded adapter forgets that it is rsLoRA", "models/adapter_spec.py",
        'rslora=bool(config.get("use_rslora"))', "rslora=False",
        (ADAPTERS[0] + "::test_what_is_saved_is_loaded_bit_equal",),
    ),
    Mutant(
        "D10c", "a loaded adapter forgets that it is DoRA", "models/adapter_spec.py",
        'dora=bool(config.get("use_dora"))', "dora=False",
        (ADAPTERS[0] + "::test_what_is_saved_is_loaded_bit_equal",),
    ),
    Mutant(
        "D10d", "the scale is left out of the merge", "compute/lora.py",
        "return (b @ a) * self.scaling", "return b @ a",
        ("compute/test_lora.py",),
    ),
    Mutant(
        "D10e", "DoRA is merged by the norm of the bare base", "compute/dora.py",
        "self.lora_magnitude_vector.detach().float() / self.norm()",
        "self.lora_magnitude_vector.detach().float() / weight.norm(dim=1)",
        ("compute/test_dora.py",),
    ),
    Mutant(
        "D10f", "the file of PiSSA adds what it should take away", "models/adapter_layers.py",
        "torch.cat([layer.lora_A, -layer.first_A])", "torch.cat([layer.lora_A, layer.first_A])",
        ("models/test_adapter_layers.py",),
    ),
    Mutant(
        "D10g", "the file of PiSSA has the scale of half its rank", "models/adapter_spec.py",
        "2 * rank * spec.scaling, False", "rank * spec.scaling, False",
        (ADAPTERS[0] + "::test_what_is_saved_is_loaded_bit_equal",),
    ),
    Mutant(
        "D10h", "an adapter made for a changed base is put on the base", "models/adapter_spec.py",
        '    "init_lora_weights": (True,', '    "init_lora_weights_": (True,',
        ("models/test_adapter_spec.py",),
    ),
    Mutant(
        "D11a", "the last weights are delivered in place of the best", "training/run.py",
        "        job.load_best(watch.seen.best)\n", "",
        ("training/test_run.py::test_the_best_checkpoint_becomes_the_result",),
    ),
    Mutant(
        "D11b", "the worst evaluation is taken for the best", "training/watch.py",
        "value > self.seen.best[1] if self._greater else value < self.seen.best[1]",
        "value < self.seen.best[1] if self._greater else value > self.seen.best[1]",
        (
            "training/test_watch.py",
            "training/test_run.py::test_the_best_checkpoint_becomes_the_result",
        ),
    ),
    Mutant(
        "D12", "the optimizer starts anew when a run goes on", "training/job.py",
        "        restore_optimizer(self.optimizer, self.parameters, "
        "checkpoint.load_optimizer(path))\n",
        "",
        ("training/test_job.py::test_weights_optimizer_and_counters_come_back_bit_by_bit",),
    ),
    Mutant(
        "D13", "the trained ends are not in the exported files", "export/job.py",
        "every = (*self.stop_words, tokenizer.eos,", "every = (tokenizer.eos,",
        ("export/test_merge.py::test_every_stop_token_is_in_every_file_that_engines_read",),
    ),
    Mutant(
        "D13b", "rotary pairs are not turned for llama.cpp", "models/gguf_families.py",
        "if kind.rotated_pairs and \".k_proj.\" in name:", "if False:",
        ("models/test_gguf.py", "export/test_gguf_weights.py"),
    ),
    Mutant(
        "D14a", "the base learns along", "models/adapters.py",
        "    model.requires_grad_(False)\n    for name in names:", "    for name in names:",
        (ADAPTERS[0] + "::test_a_step_changes_the_adapter_and_nothing_else",),
    ),
    Mutant(
        "D14b", "an adapter that is gone on with is frozen", "models/adapters.py",
        "    if not trainable:\n", "    if True:\n",
        (ADAPTERS[0] + "::test_what_is_saved_is_loaded_bit_equal",),
    ),
    Mutant(
        "D14c", "an adapter that is gone on with is merged as well", "models/adapters.py",
        "merged = directories if create_new else directories[:-1]",
        "merged = directories",
        (ADAPTERS[0] + "::test_earlier_adapters_are_merged_and_the_last_goes_on",),
    ),
    # M: what must not change anything
    Mutant(
        "M1", "dropout depends on where a row stands in its batch", "compute/chance.py",
        "rows = batch.rows or range(len(sizes))", "rows = range(len(sizes))",
        ("compute/test_chance.py",
         "whole/test_oracle.py::test_checkpointing_does_not_change_what_dropout_drops"),
    ),
    Mutant(
        "M15", "layers computed together share one mask of dropout", "compute/fused/linears.py",
        "[[n] for n in range(len(places))] if dropping else [list(range(len(places)))]",
        "[list(range(len(places)))]",
        ("compute/fused/test_linears.py",),
    ),
    Mutant(
        "M16", "dropout begins anew when a run goes on", "training/job.py",
        "before_step=lambda number: chance.seek(seed=self.run.train.seed, step=number)",
        "before_step=lambda number, done=self.watched.progress.step: chance.seek(\n"
        "    seed=self.run.train.seed, step=number - done)",
        (EVERYWHERE,),
    ),
    Mutant(
        "M17", "the learning rate begins anew when a run goes on", "training/job.py",
        "learning_rate=lambda number: rate(number,",
        "learning_rate=lambda number, done=self.watched.progress.step: rate(number - done,",
        (EVERYWHERE,),
    ),
    Mutant(
        "M18", "what the optimizer remembers is rounded when it is saved",
        "training/optimizer_state.py",
        "return key, value.detach().contiguous()",
        "return key, value.detach().bfloat16().to(value.dtype).contiguous()",
        (EVERYWHERE,),
    ),
    Mutant(
        "M19", "a step of many micro-batches is a smaller one", "training/loop.py",
        "_divide_and_clip(trained, weight * scale, clip)",
        "_divide_and_clip(trained, weight * scale * len(batches), clip)",
        ("whole/test_same_curve.py",),
    ),
    Mutant(
        "M2", "every layer drops the same", "compute/chance.py",
        'number("dropout", draw.seed, draw.step, layer)', 'number("dropout", draw.seed, draw.step)',
        ("compute/test_chance.py",),
    ),
    Mutant(
        "M3", "every step drops the same", "compute/chance.py",
        'number("dropout", draw.seed, draw.step, layer)', 'number("dropout", draw.seed, layer)',
        ("compute/test_chance.py",),
    ),
    Mutant(
        "M4", "recomputed layers drop anew", "compute/chance.py",
        "    before, _Now.draw = _Now.draw, draw\n",
        "    before, _Now.draw = _Now.draw, draw and draw._replace(seed=draw.seed + 1)\n",
        ("whole/test_oracle.py::test_checkpointing_does_not_change_what_dropout_drops",),
    ),
    Mutant(
        "M5", "the mask of the backward pass is not that of the forward pass", "compute/lora.py",
        "grad_x += _dropped(grad_low_TR @ a.to(how.dtype), how)",
        "grad_x += grad_low_TR @ a.to(how.dtype)",
        ("compute/test_lora.py",),
    ),
    Mutant(
        "M6", "every epoch has the order of the first", "data/order.py",
        'f"tunesmith order {seed} {epoch}"', 'f"tunesmith order {seed}"',
        ("data/test_order.py",),
    ),
    Mutant(
        "M7", "a run that goes on takes a step again", "training/job.py",
        "first = self.watched.progress.step + 1", "first = max(1, self.watched.progress.step)",
        ("training/test_job.py", RESUMED),
    ),
    Mutant(
        "M8", "a run that goes on has the weights that it began with", "training/job.py",
        "        if path is not None:\n            outputs.read_weights(self.model, path)\n", "",
        ("training/test_job.py::test_weights_optimizer_and_counters_come_back_bit_by_bit",),
    ),
    Mutant(
        "M9", "where PiSSA started is lost when a run goes on", "models/adapter_layers.py",
        "        layer.first_B.copy_(first_b)\n", "",
        ("models/test_adapter_layers.py",),
    ),
    Mutant(
        "M10", "LoRA+ speeds up A in place of B", "training/optim.py",
        'key.endswith(".lora_B")', 'key.endswith(".lora_A")',
        ("training/test_optim.py",),
    ),
    Mutant(
        "M11", "norms and biases decay", "training/optim.py",
        "decays = parameter.ndim >= 2", "decays = True",
        ("training/test_optim.py",),
    ),
    Mutant(
        "M12", "the scale is left out of B's gradient", "compute/lora.py",
        "(low_TR.T @ grad_TO).T.to(b.dtype).mul_(how.scaling)",
        "(low_TR.T @ grad_TO).T.to(b.dtype)",
        ("compute/test_lora.py",),
    ),
    Mutant(
        "M13", "a gain near 1 is rounded to bf16",
        "compute/dora.py",
        "more_O = (magnitude / norm_O - 1).to(how.dtype)",
        "more_O = (magnitude / norm_O).to(torch.bfloat16).to(how.dtype) - 1",
        ("compute/test_dora.py",),
    ),
    Mutant(
        "M14", "the head's chunks give another loss than the whole", "compute/score.py",
        "norm_P[part] = top + total.log()", "norm_P[part] = total.log()",
        ("compute/test_score.py",),
    ),
    Mutant(
        "D15a", "adapters fall on a tower that is frozen", "models/adapter_spec.py",
        "    free = [n for n in linear if of(n) not in aside]\n", "    free = linear\n",
        ("models/test_parts.py",),
    ),
    Mutant(
        "D15b", "parts that are frozen learn", "models/freeze.py",
        " if of(name) not in frozen]", "]",
        ("models/test_parts.py",),
    ),
    Mutant(
        "E1", "routers are heard again where layers are computed again", "compute/routing.py",
        "        for handle in handles:\n            handle.remove()\n", "        pass\n",
        ("compute/test_routing.py",),
    ),
    Mutant(
        "E2", "the imbalance is that of the batch, not of each document", "compute/routing.py",
        "aux = (imbalance(choices, batch.offsets) * trained_D).sum()",
        "aux = (imbalance(choices, (0, batch.offsets[-1])) * trained_D.sum()).sum()",
        ("compute/test_routing.py",),
    ),
    Mutant(
        "E3", "the imbalance reaches no router", "compute/routing.py",
        "p_DE = torch.segment_reduce(logits.float()",
        "p_DE = torch.segment_reduce(logits.detach().float()",
        ("compute/test_routing.py",),
    ),
    Mutant(
        "E4", "experts beside a shared one are not halved", "models/upcycle.py",
        "down * 0.5 if halved else down", "down", ("models/test_upcycle.py",),
    ),
    Mutant(
        "E5", "routers begin at zero, and the same experts win every tie", "models/upcycle.py",
        ".normal_(std=_SPREAD)", ".zero_()", ("models/test_upcycle.py",),
    ),
    Mutant(
        "E6", "what is not named learns too", "models/freeze.py",
        "learned = [name for name in learned if any(_within(asked, name) for asked in only)]",
        "pass", ("models/test_freeze.py",),
    ),
    Mutant(
        "W1", "an export of a model that sees has no processor", "export/merged.py",
        "processor.files_of(job.model_dir).items()", "{}.items()", ("whole/test_seeing.py",),
    ),
    Mutant(
        "W2", "frozen weights stored in fp32 are written as bf16 rounded them",
        "training/outputs.py", "return {name: stored[name] for name in frozen if name in stored}",
        "return {}", ("whole/test_vlm_examples.py",),
    ),
    Mutant(
        "W3", "what is answered about pictures is not compared", "export/gate.py",
        "if a.seen_steps is None and b.seen_steps is None:", "if True:", ("export/test_gate.py",),
    ),
    Mutant(
        "W4", "the line end of LLaVA's first stage ends answers of the second",
        "models/end_tokens.py", "[token for token in ends if token in control] or ends", "ends",
        ("models/test_end_tokens.py",),
    ),
    Mutant(
        "W5", "names that a processor asks its tokenizer for are lost", "models/tokenizer.py",
        "    config |= _for_processor(tokenizer, before)\n", "", ("models/test_tokenizer.py",),
    ),
)  # fmt: skip

NOT_HERE = {
    "A3": "one process: there are no ranks yet whose tokens could be weighed apart",
    "A15": "noise on embeddings is not offered",
}
"""Entries of the groups that nothing here could bring in."""
