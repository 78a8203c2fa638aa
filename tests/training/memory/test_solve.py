"""The layout fits what is there, and computes again only what it must."""

import pytest

from tunesmith.training.memory.rehearse import Costs, Measured, Profile
from tunesmith.training.memory.solve import Fixed, Layout, Use, choose_layout, need

MIB, GIB = 1 << 20, 1 << 30
LAYERS = 10
FIXED = Fixed(300 * MIB, 500 * MIB, 10 * MIB, 10 * MIB, 20 * MIB)


def profile():
    """A layer keeps 40 KiB a token, 2 if it is computed again; the head takes 100 MiB."""

    def at(tokens):
        plain = Costs(tokens * 40960, tokens * 45000, tokens * 20000)
        again = Costs(tokens * 2048, tokens * 45000, tokens * 61000)
        return Measured((plain,) * LAYERS, (again,) * LAYERS, 0, 0, 100 * MIB, tokens * 2048)

    return Profile((512, 1024), (at(512), at(1024)))


def needs(tokens, recompute):
    return need(FIXED, profile(), tokens=tokens, recompute=recompute)


def layout(free, **changes):
    given = {
        "device": "cpu", "layers": LAYERS, "longest": 512, "step_tokens": 100_000,
        "may_recompute": True, "free": free,
    }  # fmt: skip
    return choose_layout(needs, **{**given, **changes})


def test_with_room_nothing_is_computed_again():
    roomy = layout(64 * GIB)
    assert (roomy.recompute, roomy.tokens) == (0, 4096)


def test_less_memory_means_smaller_micro_batches_then_more_layers_then_smaller_ones_again():
    found = [layout(n * GIB // 64) for n in range(320, 64, -1)]
    counts = [f.recompute for f in found]
    assert counts == sorted(counts)
    assert len(set(counts)) == LAYERS + 1  # every number of layers is the answer to some memory
    assert all(f.needed <= 0.85 * f.free for f in found if f.tokens > 512)
    plain = [f.tokens for f in found if not f.recompute]
    assert plain == sorted(plain, reverse=True)
    assert min(plain) >= 1024
    assert all(f.tokens >= 1024 for f in found if 0 < f.recompute < LAYERS)


def test_it_is_the_smallest_number_of_layers_that_fits():
    for sixteenths in range(22, 40):
        found = layout(sixteenths * GIB // 16)
        if found.recompute:
            assert needs(1024, found.recompute - 1).total > 0.85 * found.free


def test_a_step_is_never_cut_into_more_pieces_than_needed():
    assert layout(64 * GIB, step_tokens=700).tokens == 700
    assert layout(64 * GIB, step_tokens=700, longest=5000).tokens == 5000


def test_forbidden_recomputation_stays_forbidden():
    assert layout(GIB // 8, may_recompute=False).recompute == 0
    assert layout(GIB // 8).recompute == LAYERS


@pytest.mark.parametrize("recompute", [0, 4, LAYERS])
def test_the_parts_are_the_whole(recompute):
    found = needs(1024, recompute)
    assert found.total == sum(found.components.values())
    assert found.components["weights"] == FIXED.weights


def test_the_first_layers_are_the_ones_to_compute_again():
    """What they leave behind is there at every moment that could be the fullest."""
    one, two = needs(1024, 3), needs(1024, 4)
    assert one.total - two.total == pytest.approx(1024 * (40960 - 2048) * 1.25, rel=0.01)


def test_an_optimizers_step_can_be_the_fullest_moment():
    large = FIXED._replace(step=GIB)
    found = need(large, profile(), tokens=128, recompute=LAYERS)
    assert found.moment == "optimizer step"
    assert found.components["activations"] == 0
    assert need(large, profile(), tokens=8192, recompute=0).moment != "optimizer step"


def test_a_record_of_an_earlier_version_says_all_or_nothing():
    assert Layout.of({"tokens": 9, "recompute": True}, layers=30).recompute == 30
    assert Layout.of({"tokens": 9, "recompute": False}, layers=30).recompute == 0
    assert Layout.of({"tokens": 9, "recompute": 12, "needed": 5, "free": 6}, layers=30) == Layout(
        9, 12, 5, 6
    )
    with pytest.raises(KeyError):
        Layout.of({}, layers=30)


def test_gradients_of_a_lone_micro_batch_come_with_its_backward_pass():
    gradients = LAYERS * 100 * MIB
    heavy = Costs(MIB, MIB, 150 * MIB, 100 * MIB)
    measured = Measured((heavy,) * LAYERS, (heavy,) * LAYERS, 0, 0, 100 * MIB, MIB)
    fixed, flat = FIXED._replace(gradients=gradients), Profile((512, 1024), (measured, measured))
    lone = need(fixed, flat, tokens=512, recompute=0, use=Use(several=False))
    later = need(fixed, flat, tokens=512, recompute=0, use=Use(several=True))
    assert lone.moment == "backward of layer 1"
    assert lone.components["gradients"] == gradients - 100 * MIB  # its own are in its workspace
    assert later.components["gradients"] == gradients
    assert later.total > lone.total


def test_each_number_of_tokens_in_16_bits_has_kernels_of_its_own_up_to_what_is_kept():
    in_16_bits = Profile((512, 1024), tuple(m._replace(products=30) for m in profile().measured))

    def kernels(found, device="cpu", **use):
        made = need(FIXED, found, tokens=512, recompute=0, device=device, use=Use(**use))
        return made.components["kernels"]

    assert kernels(profile(), sizes=9) == kernels(in_16_bits, "cuda", sizes=9) == 0
    more = kernels(in_16_bits, sizes=9) - kernels(in_16_bits, sizes=8)
    assert more == pytest.approx(30 * 0.62 * MIB)
    assert kernels(in_16_bits, sizes=9, long_documents=2) > kernels(in_16_bits, sizes=9)
    assert kernels(in_16_bits, sizes=500) == kernels(in_16_bits, sizes=501)
    assert kernels(in_16_bits, sizes=9, tried=True) == kernels(in_16_bits, sizes=12)


def test_towers_have_moments_of_their_own():
    def found(beside, **keys):
        return need(FIXED, profile(), tokens=600, recompute=0, beside=beside, **keys)

    plain = found(Costs(0, 0, 0))
    assert plain.moment == "head"
    forward = found(Costs(MIB, 9 * GIB, 0))
    assert (forward.moment, forward.components["workspace"]) == ("towers", 9 * GIB)
    back = found(Costs(MIB, 0, 9 * GIB, 10 * MIB))
    assert back.moment == "backward of towers"
    # their own gradients are among all that are there, and what came down stands beside them
    assert back.components["workspace"] == 9 * GIB + 600 * 2048 - 10 * MIB
    assert back.components["activations"] == MIB
    kept = found(Costs(MIB, 0, 0))
    assert kept.moment == "head"
    assert kept.components["activations"] == plain.components["activations"] + MIB
    assert (
        need(FIXED._replace(media=MIB), profile(), tokens=600, recompute=0).total
        == plain.total + MIB
    )
