"""What is learned from: data sets, template, lengths, and what happens to unusable rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from tunesmith.config.kinds import (
    ENTRY_SOURCES,
    Count,
    Datasets,
    Flag,
    Folder,
    Says,
    Section,
    Share,
    Text,
    Weights,
    Whole,
)


class Dataset(Section):
    """The rows of a run and how they become tokens."""

    dataset: Datasets = ()
    """Data sets to train on: names in `dataset_info.json`, paths of files or folders (with a
    slash or a data file's ending; the layout is that of the rows), or entries with the keys of
    `dataset_info.json`, such as `{file_name: a.json, formatting: sharegpt}`."""
    eval_dataset: Datasets = ()
    """Data sets to evaluate on, given in the same ways."""
    dataset_dir: Folder = Path("data")
    """Directory that holds `dataset_info.json` and the files it names. Paths and entries in
    `dataset` begin at the current directory instead."""
    media_dir: Folder | None = None
    """Directory that paths of pictures, videos and sounds in the rows begin at. Not set: that of
    `dataset_info.json`; of a data set given as a path or an entry, that of its file."""
    template: Text | None = None
    """Chat template by name, or the path of a `.yaml` or `.jinja` file. Not set: the model's own
    Jinja template."""
    template_mismatch: Literal["report", "refuse"] = "report"
    """A named template that writes another text than the model's own: told in the plan, or an
    error. `tunesmith template check` shows where they differ."""
    cutoff_len: Annotated[Whole, Ge(2)] = 2048
    """Longest example, in tokens; `truncation` says what happens beyond it."""
    max_samples: Count | None = None
    """Use at most this many rows of each data set (for trials). Not set: all."""
    val_size: Share = 0.0
    """Rows of `dataset` held out for evaluation: a share below 1, or a number of rows. Which ones
    is drawn with `seed`."""
    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = (
        "concat"
    )
    """How several data sets of `dataset` become one. `concat`: every row once. Interleaved, they
    take turns (or as `interleave_probs` says) until one has given its last row
    (`interleave_under`, which leaves rows out), until each has (`interleave_over`, which repeats
    rows), or each row has come once (`interleave_once`). Held-out rows are set aside before."""
    interleave_probs: Weights = ()
    """Chance of each data set of `dataset` to give the next row. Not set: they take turns."""
    streaming: Flag = False
    """Written by run files of the field, with `max_steps`. Accepted, not needed: rows are prepared
    in flat memory, kept and counted, so that steps and epochs are exact."""
    buffer_size: Count = 16384
    """Rows that `streaming` shuffles among. Accepted, not needed: all rows of an epoch are."""
    overwrite_cache: Flag = False
    """Prepare the data anew, though the same files, template and options were prepared before."""
    preprocessing_num_workers: Count | None = None
    """Processes that prepare the data. Accepted, not needed: all cores tokenise at once."""
    train_on_prompt: Flag = False
    """Learn the users' turns too, not the answers only."""
    mask_history: Flag = False
    """Learn the last answer of each conversation only."""
    split_special_tokens: Flag = True
    """The string of a control token (`<|im_end|>`) in a row's words stays words. `false`: it
    becomes the token, in training and in answers, so a row's words can end turns and open new
    ones; such rows are counted in the plan."""
    default_system: str | None = None
    """System message of rows that have none. Not set: the template's own; "": none (of a
    template by name or in a `.yaml` file)."""
    tool_format: Text | None = None
    """How tools are described and called, in place of the template's own way; calls then end
    with eos, whatever the template lets follow them. Not set: the template's. Only for templates
    by name or in a `.yaml` file."""
    enable_thinking: Annotated[Flag | None, Says("true, false or null")] = True
    """Of a template that marks thoughts. `true`: an answer without a thought learns to think
    nothing. `null`: its prompt says so, and it is not learned, while an answer with a thought is
    learned under the prompt of `true`; so a model learns both, and `enable_thinking` of serving
    chooses. `false`: thoughts are taken out of the answers, and every prompt says so."""
    preserve_thinking: Flag = False
    """Earlier answers keep their thoughts, whatever the template does with them."""
    packing: Flag | None = None
    """Make a pack of `cutoff_len` tokens, not an example, the unit of the batch size.
    Documents stay isolated from each other. Not set: no for `sft`."""
    neat_packing: Flag = False
    """The same as `packing: true`; packs are always neat here."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be used stops the run before the model is loaded (`error`), or is
    counted with its reason and left out (`skip`)."""
    disable_shuffling: Flag = False
    """Take the rows in the order of the files, in every epoch."""
    truncation: Literal["drop", "keep_end", "keep_start", "error"] = "keep_end"
    """Conversations beyond `cutoff_len`: left out (`drop`), without their first turns
    (`keep_end`), without their last (`keep_start`), or an error; always counted."""


def names_of(datasets: tuple[str | dict[str, Any], ...]) -> tuple[str, ...]:
    """What data sets are called where people read it; an entry by its file, hub id or script."""
    return tuple(
        item
        if isinstance(item, str)
        else str(next((item[k] for k in ENTRY_SOURCES if item.get(k)), "inline"))
        for item in datasets
    )
