"""How the next token is chosen: the settings, where each came from, and the choice itself.

V vocabulary.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.models import files

if TYPE_CHECKING:
    from torch import Generator, Tensor

DEFAULTS: dict[str, Any] = {
    "do_sample": True,
    "temperature": 0.95,
    "top_p": 0.7,
    "top_k": 50,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "max_new_tokens": 1024,
    "seed": 42,
}
"""LLaMA-Factory's, for whatever neither the run file nor the model says."""

_LIMITS: dict[str, tuple[float, float, str]] = {
    "temperature": (0, math.inf, "0 (greedy) or more"),
    "top_p": (0, 1, "above 0, at most 1"),
    "top_k": (0, math.inf, "0 (no limit) or more"),
    "min_p": (0, 1, "0 to 1"),
    "repetition_penalty": (0, math.inf, "above 0"),
    "presence_penalty": (-2, 2, "-2 to 2"),
    "frequency_penalty": (-2, 2, "-2 to 2"),
    "max_new_tokens": (1, math.inf, "1 or more"),
    "seed": (-math.inf, math.inf, "a whole number"),
}
_WHOLE = ("top_k", "max_new_tokens", "seed")
_ABOVE_ZERO = ("top_p", "repetition_penalty")
_BY_ZERO = "temperature 0"
"""How the source of `do_sample: false` begins where the temperature made it so."""


class Sampling(NamedTuple):
    """Settings of one answer, resolved; `sources` says where each came from."""

    do_sample: bool = True
    """`False`: always the most probable token."""
    temperature: float = 0.95
    """Logits are divided by it before sampling."""
    top_p: float = 0.7
    """The smallest set of tokens with at least this probability is kept."""
    top_k: int = 50
    """At most so many tokens are kept; 0: all."""
    min_p: float = 0.0
    """Tokens below this share of the best one's probability are dropped."""
    repetition_penalty: float = 1.0
    """Divides (or multiplies, if negative) the logits of tokens seen before; 1: none."""
    presence_penalty: float = 0.0
    """Taken from the logit of every token that the answer holds already."""
    frequency_penalty: float = 0.0
    """Taken from it once for each time that the answer holds the token."""
    max_new_tokens: int = 1024
    seed: int = 42
    """Of the draw; the same prompt, settings and seed give the same answer."""
    sources: Mapping[str, str] = {}
    logit_bias: Mapping[int, float] = {}
    """Added to the logits of these tokens before anything else; -100 or less bans one."""

    def lines(self) -> list[str]:
        """One line per setting with its source, for the plan of a chat."""
        used = ["do_sample", "max_new_tokens", "repetition_penalty"]
        if self.do_sample:
            used += ["temperature", "top_p", "top_k", "min_p", "seed"]
        used += [k for k in ("presence_penalty", "frequency_penalty") if getattr(self, k)]
        return [f"{k}: {getattr(self, k)} ({self.sources.get(k, 'default')})" for k in used]


GREEDY = Sampling(do_sample=False, sources={"do_sample": "asked for"})
"""The most probable token each time: the same answer whenever it is asked for."""


def resolve(
    asked: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
    *,
    places: Mapping[str, str] | None = None,
) -> Sampling:
    """Settle every setting: what was asked, else the model's own, else the defaults.

    Args:
        asked: keys as the user gave them; keys that are no sampling setting are passed
            over (a run file holds many others), `None` counts as not given.
        model: the model's generation_config.json; see `read_generation_config`.
        places: where each key of `asked` stands.

    Raises:
        ConfigError: a value of the wrong type or out of its bounds.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, default in DEFAULTS.items():
        place_asked = (places or {}).get(name, "run file")
        for place, mapping in ((place_asked, asked), ("generation_config.json", model or {})):
            if mapping.get(name) is not None:
                values[name], sources[name] = _checked(name, mapping[name], place), place
                break
        else:
            values[name], sources[name] = default, "default"
    if values["do_sample"] and values["temperature"] == 0:
        values["do_sample"] = False
        sources["do_sample"] = f"{_BY_ZERO}, {sources['temperature']}"
    return Sampling(**values, sources=sources)


def read_generation_config(directory: Path) -> dict[str, Any]:
    """The model's generation_config.json as a mapping; empty if it has none.

    Raises:
        ModelError: the file is there but is not one of a model.
    """
    return files.read_json_if_there(directory / "generation_config.json")


def pick(
    logits_V: Tensor,
    seen: Sequence[int],
    sampling: Sampling,
    generator: Generator | None,
    *,
    made: Sequence[int] = (),
) -> int:
    """Choose the next token.

    The order: logit_bias, repetition penalty, presence and frequency penalties (OpenAI's, over
    the answer alone); then, as in transformers, temperature, top_k, top_p, min_p. The draw
    inverts the cumulative distribution at one number of a generator on the CPU, so that a seed
    means the same on every device.

    Args:
        logits_V: of the last position, (V,) any float dtype; not changed.
        seen: ids of prompt and answer so far.
        sampling: the settings.
        generator: on the CPU; needed only with `do_sample`.
        made: ids of the answer so far.

    Returns:
        A token id from 0 to V - 1.
    """
    import torch

    logits_V = biased(logits_V.float(), sampling.logit_bias)
    logits_V = penalised(logits_V, seen, sampling.repetition_penalty)
    logits_V = lowered(logits_V, made, sampling.presence_penalty, sampling.frequency_penalty)
    if not sampling.do_sample:
        return int(logits_V.argmax())
    kept, ids = narrowed(logits_V, sampling)
    total = kept.double().softmax(0).cumsum(0)
    drawn = torch.rand((), generator=generator, dtype=torch.float64).to(total.device)
    place = int(torch.searchsorted(total, drawn * total[-1], right=True))
    return int(ids[min(place, len(ids) - 1)])


def penalised(logits_V: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Make tokens seen before less probable (arXiv:1909.05858, section 4.1)."""
    if penalty == 1.0 or not seen:
        return logits_V
    import torch

    index = torch.tensor(sorted(set(seen)), device=logits_V.device)
    old = logits_V[index]
    return logits_V.index_copy(0, index, torch.where(old < 0, old * penalty, old / penalty))


def biased(logits_V: Tensor, bias: Mapping[int, float]) -> Tensor:
    """Make tokens more or less probable by request; -100 and below means never."""
    if not bias:
        return logits_V
    import torch

    index = torch.tensor(list(bias), device=logits_V.device)
    more = torch.tensor(
        [b if b > -100 else -math.inf for b in bias.values()], device=logits_V.device
    )
    return logits_V.index_add(0, index, more.to(logits_V.dtype))


def lowered(logits_V: Tensor, made: Sequence[int], presence: float, frequency: float) -> Tensor:
    """Make tokens of the answer less probable, by whether and how often they are there."""
    if not made or not (presence or frequency):
        return logits_V
    import torch

    ids, counts = torch.tensor(made, device=logits_V.device).unique(return_counts=True)
    return logits_V.index_add(0, ids, -(presence + frequency * counts).to(logits_V.dtype))


def narrowed(logits_V: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Logits that stay in the draw, best first, and their token ids.

    At least one token always stays.
    """
    logits_V = logits_V / sampling.temperature
    count = min(sampling.top_k or len(logits_V), len(logits_V))
    kept, ids = logits_V.topk(count)
    if sampling.top_p < 1.0:
        probability = kept.softmax(0)
        # a token stays while the better ones together do not reach top_p
        stay = probability.cumsum(0) - probability < sampling.top_p
        stay[0] = True
        kept, ids = kept[stay], ids[stay]
    if sampling.min_p > 0:
        probability = kept.softmax(0)
        stay = probability >= sampling.min_p * probability[0]
        kept, ids = kept[stay], ids[stay]
    return kept, ids


def _checked(name: str, value: Any, place: str) -> Any:
    if name == "do_sample":
        if not isinstance(value, bool):
            raise ConfigError(f"{place}: do_sample", got=value, need="true or false")
        return value
    low, high, need = _LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place}: {name}", got=value, need=f"a number, {need}")
    if name in _WHOLE and value != int(value):
        raise ConfigError(f"{place}: {name}", got=value, need=f"a whole number, {need}")
    if not low <= value <= high or (name in _ABOVE_ZERO and value == 0):
        raise ConfigError(f"{place}: {name}", got=value, need=need)
    return int(value) if name in _WHOLE else float(value)


def changed(sampling: Sampling, name: str, text: str, *, place: str) -> Sampling:
    """The settings with one of them as it was typed, within the bounds of a run file.

    A temperature above 0 draws again where a temperature of 0 had made answers greedy.

    Raises:
        ConfigError: no setting of that name, or a value of the wrong type or out of its bounds.
    """
    if name not in DEFAULTS:
        near = difflib.get_close_matches(name, DEFAULTS, n=1)
        hint = f"{place} {near[0]} {text}".rstrip() if near else ""
        raise ConfigError(place, got=name, need=f"one of {', '.join(DEFAULTS)}", hint=hint)
    try:
        value = json.loads(text.lower())
    except ValueError:
        value = text
    sources = {**sampling.sources, name: place}
    made = sampling._replace(**{name: _checked(name, value, place)}, sources=sources)
    if name == "do_sample" and made.do_sample and made.temperature == 0:
        need = "a temperature above 0 first"
        raise ConfigError(f"{place}: do_sample", got="temperature 0", need=need)
    if name == "temperature":
        by_zero = sampling.sources.get("do_sample", "").startswith(_BY_ZERO)
        if made.temperature == 0 and made.do_sample:
            sources["do_sample"] = f"{_BY_ZERO}, {place}"
            return made._replace(do_sample=False)
        if made.temperature and by_zero:
            sources["do_sample"] = place
            return made._replace(do_sample=True)
    return made
