"""How many tokens a micro-batch holds, and how many layers are computed again, so that it fits.

The need of a layout is the fullest of four moments: the forward pass of some layer, the head, the
backward pass of some layer, the optimizer's step. Fewer tokens cost nothing as long as a
micro-batch keeps the processor busy; a layer that is computed again costs a third of its time. So
micro-batches shrink first, to a size that still pays; then as few layers as possible are computed
again, the first ones first (theirs are held longest); only then they shrink further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from tunesmith.training.memory.rehearse import Costs, Measured, Profile

MICRO_BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Beyond this a larger micro-batch gains no speed; it only takes memory."""
ENOUGH_TOKENS = {"cpu": 1024, "cuda": 4096}
"""Below this a smaller micro-batch costs speed."""
HEADROOM = 0.85
"""Share of the free memory that is planned for; the rest is other programs', and error."""
SURELY = 1.1
"""A need is an estimate, within ten percent: one that exceeds what is there by more is refused."""
LONG = 640
"""Tokens of a document up to which its attention leaves no kernels behind."""
_KERNEL, _KERNELS_KEPT = 0.62 * (1 << 20), 1024
"""Bytes of the kernel that oneDNN writes for a product in bf16 of a new shape (measured over
widths and lengths: 0.60 to 0.63 MiB on AVX512-BF16), and how many it keeps."""
_OF_LONG = 8
"""Kernels that attention takes for a long document of another length; measured."""
_PROBED = 2
"""As many numbers of tokens have run before the first step, in probes. Counted: 60 kernels, where
a step has 33."""
_TRIED = 3
"""As many more in the trial for the pace (`training.trial`), where this process made it. Counted:
87 kernels beyond those of the probes."""
FRAGMENTED = {"cpu": 0.25, "cuda": 0.06}
"""What an allocator holds beyond what is in use, as a share of what comes and goes; measured."""


class Fixed(NamedTuple):
    """Bytes that no layout changes."""

    process: int
    """Of the interpreter and its libraries, or of the GPU's context."""
    weights: int
    """That are not trained, as they are in memory."""
    trained: int
    """fp32 weights of what is trained."""
    gradients: int
    optimizer: int
    """What the optimizer keeps."""
    step: int = 0
    """What it holds for a moment more in its step."""
    spelled: int = 0
    """The largest weight that is held in few bits, as its product needs it."""
    media: int = 0
    """Pictures, videos and sounds as they are read, of the present step and of the next."""


class Need(NamedTuple):
    """What a layout takes."""

    total: int
    """Bytes at the fullest moment."""
    components: dict[str, int]
    """Their parts by name, in the order of a table."""
    moment: str
    """The fullest one."""

    def fullest(self) -> str:
        """Name of the largest component."""
        return max(self.components, key=lambda name: self.components[name])


class Layout(NamedTuple):
    """What fits, or the least that could be tried."""

    tokens: int
    """Most tokens that a micro-batch holds; a longer example gets one of its own."""
    recompute: int
    """Number of layers, from the first, that are computed again in the backward pass."""
    needed: int = 0
    """Bytes at the fullest moment."""
    free: int = 0
    """Bytes that the run could have in all."""
    components: Mapping[str, int] = {}
    """What is needed, by name."""
    moment: str = ""
    """The fullest one."""
    share: bool = False
    """Whether what rows begin with in common stands once; see `sharing`."""
    compiled: bool = False
    """Whether kernels are compiled; see `compiling`."""

    @classmethod
    def of(cls, record: Mapping[str, Any], *, layers: int) -> Layout:
        """As `run.json` holds it; earlier ones say of recomputation only whether.

        Args:
            record: what was written.
            layers: of the model.
        """
        kept = {name: value for name, value in record.items() if name in cls._fields}
        again = kept["recompute"]
        count = (layers if again else 0) if isinstance(again, bool) else int(again)
        return cls(**{**kept, "recompute": min(count, layers)})


class Use(NamedTuple):
    """What the micro-batches of a run are like, beside the tokens of the fullest."""

    several: bool = True
    """Whether a step has more than one: the gradients of the first are there in the next."""
    sizes: int = 0
    """Of how many different numbers of tokens they are."""
    long_documents: int = 0
    """Of how many different lengths documents are, among those of more than `LONG` tokens."""
    tried: bool = False
    """Whether the process that trains made the trial for the pace, whose kernels it keeps then."""


USUAL = Use()
_NOTHING = Costs(0.0, 0.0, 0.0)


def need(
    fixed: Fixed,
    profile: Profile,
    *,
    tokens: int,
    recompute: int,
    device: str = "cpu",
    use: Use = USUAL,
    beside: Costs = _NOTHING,
) -> Need:
    """Bytes of a run whose fullest micro-batch holds `tokens`.

    Args:
        fixed: what no layout changes.
        profile: of one micro-batch.
        tokens: of the fullest micro-batch.
        recompute: layers that are computed again.
        device: "cpu" or "cuda".
        use: of the run.
        beside: of the micro-batch's media, in towers and projectors.
    """
    measured = profile.at(tokens)
    moment, kept, held, learned = _fullest(
        measured, recompute, gradients=fixed.gradients if use.several else None, beside=beside
    )
    if fixed.step + fixed.gradients > kept + held + learned:
        moment, kept, held, learned = "optimizer step", 0.0, fixed.step, fixed.gradients
    head = held if moment == "head" else 0.0
    work = held - head + fixed.spelled
    parts = {
        "process": fixed.process,
        "weights": fixed.weights,
        "trained weights": fixed.trained,
        "gradients": learned,
        "optimizer": fixed.optimizer,
        "media": fixed.media,
        "activations": kept,
        "head": head,
        "workspace": work,
        "kernels": _kernels(measured, use) if device == "cpu" else 0,
        "fragmentation": FRAGMENTED[device] * (kept + head + work),
    }
    components = {name: int(size) for name, size in parts.items()}
    return Need(sum(components.values()), components, moment)


def choose_layout(
    needs: Callable[[int, int], Need],
    *,
    device: str,
    layers: int,
    longest: int,
    step_tokens: int,
    may_recompute: bool,
    free: int,
) -> Layout:
    """The largest useful micro-batch, with as few layers computed again as memory allows.

    Args:
        needs: what (tokens, layers computed again) take.
        device: "cpu" or "cuda".
        layers: of the model.
        longest: tokens of the longest example; a micro-batch cannot be smaller.
        step_tokens: tokens of the fullest step; a larger micro-batch is of no use.
        may_recompute: false where `disable_gradient_checkpointing` says so.
        free: bytes that the run could have in all.
    """
    limit = free * HEADROOM
    wanted = max(longest, min(MICRO_BATCH_TOKENS[device], step_tokens))
    floor = max(longest, min(wanted, ENOUGH_TOKENS[device]))
    most = layers if may_recompute else 0

    def fits(tokens: int, recompute: int) -> bool:
        return needs(tokens, recompute).total <= limit

    if fits(floor, most):
        recompute = _first(0, most, lambda count: fits(floor, count))
        tokens = wanted - _first(0, wanted - floor, lambda less: fits(wanted - less, recompute))
    elif fits(longest, most):
        recompute = most
        tokens = floor - _first(0, floor - longest, lambda less: fits(floor - less, recompute))
    else:
        recompute, tokens = most, longest
    found = needs(tokens, recompute)
    return Layout(tokens, recompute, found.total, free, found.components, found.moment)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number for which something holds that holds for `high` and stays true."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _kernels(measured: Measured, use: Use) -> float:
    """Code that a processor writes for products in 16 bits, one for each shape, and keeps."""
    before = _PROBED + (_TRIED if use.tried else 0)
    shapes = measured.products * (use.sizes + before) if use.sizes else 0
    if measured.products:
        shapes += _OF_LONG * use.long_documents
    return _KERNEL * min(shapes, _KERNELS_KEPT)


def _fullest(
    measured: Measured, recompute: int, *, gradients: float | None, beside: Costs
) -> tuple[str, float, float, float]:
    """(the moment, what the layers have left behind then, what lives beyond that, gradients).

    Args:
        measured: of one micro-batch.
        recompute: layers that are computed again.
        gradients: those that are there all the time; `None`: they come with the backward pass.
        beside: of towers and projectors.
    """
    costs = [*measured.again[:recompute], *measured.plain[recompute:]]
    left = list(accumulate((cost.kept for cost in costs), initial=measured.below + beside.kept))
    above = [0.0, *accumulate(cost.gradients for cost in reversed(costs))]
    come = [gradients if gradients is not None else part for part in reversed(above)]
    moments = [("head", left[-1], measured.head, gradients or 0.0)]
    moments.append(("towers", 0.0, beside.forward, gradients or 0.0))
    for number, cost in enumerate(costs):
        moments.append(
            (f"forward of layer {number + 1}", left[number], cost.forward, gradients or 0.0)
        )
        # where gradients are there already, its own are added to them one weight at a time
        own = cost.gradients if gradients is not None else 0.0
        back = measured.carried + cost.backward - own
        name = f"backward of layer {number + 1}"
        moments.append((name, left[number + 1], back, come[number + 1]))
    moments.append(("embedding", left[0], measured.carried + measured.bottom, come[0]))
    own = beside.gradients if gradients is not None else 0.0
    back = measured.carried + beside.backward - own
    moments.append(("backward of towers", beside.kept, back, come[0]))
    return max(moments, key=lambda moment: sum(moment[1:]))
