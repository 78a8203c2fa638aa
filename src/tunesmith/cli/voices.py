"""The models that `serve` offers: the run's own, its base, and further adapters over that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli import answering, engines
from tunesmith.cli.target import Served as Weights
from tunesmith.errors import ConfigError
from tunesmith.infer.batching import Batching
from tunesmith.infer.embeddings import embed
from tunesmith.infer.grammar import Grammars
from tunesmith.infer.hf import split_stops
from tunesmith.models.adapter_switch import load_aside
from tunesmith.models.classes import sees_or_hears
from tunesmith.models.load import read_config
from tunesmith.serve.served import Served, Voice

if TYPE_CHECKING:
    from tunesmith.cli.answering import Found
    from tunesmith.config.run import Run
    from tunesmith.serve.reading import Style


def find_beside(
    asked: Run, found: Found, given: Sequence[str], report: Any, *, name: str | None
) -> dict[str, Found]:
    """Further adapters over the base of a run, by name.

    Each is spoken to in the template that it was trained in.

    Args:
        asked: what was asked; what its command line says of templates holds for all.
        found: its own model.
        given: NAME=DIR, or the name of a repository in place of DIR.
        report: what the user sees while they are fetched.
        name: what the user calls the model of the run.

    Raises:
        ConfigError: no name or no adapter in one of them, a name for two models, no base that
            they could share, an adapter that reads text as other tokens.
        Error: an adapter or a template that cannot be used.
    """
    beside: dict[str, Found] = {}
    if given and len(found.adapters) > 1:
        raise ConfigError(
            "command line: --adapter", got=f"a run with {len(found.adapters)} adapters",
            need="a run with one adapter or none, whose base they share",
            hint="export the run first, and serve what was exported",
        )  # fmt: skip
    taken, own = set(_names(asked, found, name)), (*found.adapters, found.directory)
    for said in given:
        place = f"command line: --adapter {said}"
        key, _, source = said.partition("=")
        if not key or not source:
            raise ConfigError(place, need="NAME=DIR", hint="--adapter law=outputs/law")
        if key in taken:
            raise ConfigError(
                place, got=f"{key}, which another model is called", need="a name of its own",
                hint="--name NAME names the model of the run",
            )  # fmt: skip
        taken.add(key)
        weights = Weights(found.served.model, (source,), f"the adapter {source}")
        beside[key] = answering.find(asked, report, meant=weights)
        if beside[key].tokenizer.backend.to_str() != found.tokenizer.backend.to_str():
            raise ConfigError(
                place, got=f"another tokenizer than that of {own[0]}",
                need="adapters that read text as the same tokens",
                hint="serve it by a command of its own, on another port",
            )  # fmt: skip
    return beside


def served_for(
    asked: Run,
    found: Found,
    beside: Mapping[str, Found],
    report: Any,
    *,
    name: str | None,
    slots: int,
) -> Served:
    """The model loaded, an engine over it, and what the routes need.

    Args:
        asked: what was asked.
        found: its own model.
        beside: see `find_beside`.
        report: what the user sees while an engine starts.
        name: what the user calls the model of the run.
        slots: answers at once.

    Raises:
        Error: weights that cannot be used.
    """
    if engines.uses_vllm(asked):
        return _by_vllm(asked, found, beside, report, name=name)
    base, own = _names(asked, found, name)
    trust = asked.model.trust_remote_code
    sees = sees_or_hears(read_config(found.directory, trust_remote_code=trust))
    # several adapters are merged one by one: without the last one the model would not be the base
    shared = len(found.adapters) < 2
    model = answering.load(asked, found, base_only=shared)
    models = {own: _voice(found, None, sees=sees)}
    weights: dict[str, Path] = {}
    if shared and found.adapters:
        weights[own] = found.adapters[0]
        models = {
            own: _voice(found, own, sees=sees),
            base: _voice(found, None, sees=sees),
        }
    for key, each in beside.items():
        weights[key] = each.adapters[0]
        models[key] = _voice(each, key, sees=sees)
    asides = {key: load_aside(model, path, dtype=model.dtype) for key, path in weights.items()}
    answering.settle(model)
    backend = found.tokenizer.backend
    batching = Batching(
        model,
        backend,
        stop_ids=models[own].stop_ids,
        slots=slots,
        adapters={key: aside.at_work for key, aside in asides.items()},
    )
    return Served(
        engine=batching,
        backend=backend,
        models=models,
        sampling=answering.sampling(asked, found),
        embed=lambda ids, key: batching.between(lambda: embed(model, ids), key).result(),
    )


def _by_vllm(
    asked: Run, found: Found, beside: Mapping[str, Found], report: Any, *, name: str | None
) -> Served:
    """The same models by vLLM, which merges no adapter into another."""
    if len(found.adapters) > 1:
        raise ConfigError(
            asked.where("adapter_name_or_path"), got=f"{len(found.adapters)} adapters, and vllm",
            need="one adapter at most", hint="tunesmith export merges them",
        )  # fmt: skip
    base, own = _names(asked, found, name)
    weights: dict[str | None, Path | None] = {None: None}
    models = {own: _voice(found, None)}
    if found.adapters:
        weights[own] = found.adapters[0]
        models = {own: _voice(found, own), base: _voice(found, None)}
    for key, each in beside.items():
        weights[key] = each.adapters[0]
        models[key] = _voice(each, key)
    engine = engines.over_vllm(asked, found, weights, report)
    sampling = answering.sampling(asked, found)
    return Served(engine, found.tokenizer.backend, models=models, sampling=sampling)


def _voice(found: Found, adapter: str | None, *, sees: bool = False) -> Voice:
    backend, renderer = found.tokenizer.backend, found.renderer
    stop_ids, stop_texts = split_stops(found.tokenizer, renderer.stop_words)
    return Voice(
        adapter,
        found.spoken,
        _remembered(found),
        stop_ids,
        stop_texts,
        constraining=cache(lambda: Grammars(backend, stop_ids=stop_ids)),
        call_forms=found.call_forms,
        see=found.see if sees else None,
    )


def _remembered(found: Found) -> Callable[[str | None], Style]:
    """`found.style`, which asks the template, once for each set of tools."""
    known: dict[str | None, Style] = {}

    def style(tools: str | None) -> Style:
        if tools not in known:
            if len(known) > 256:
                known.clear()
            known[tools] = found.style(tools)
        return known[tools]

    return style


def _names(asked: Run, found: Found, name: str | None) -> tuple[str, str]:
    """What the base and the model of the run are called."""
    base = Path(str(found.served.model)).name
    weights = found.adapters[-1] if found.adapters else found.directory
    own = name or asked.output.run_name or (weights.name if found.adapters else base)
    return (f"{base}-base" if base == own else base), own
