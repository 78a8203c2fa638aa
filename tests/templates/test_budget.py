"""What a rendering pays: by the length of what it works on, and no more than there is."""

import pytest

from tunesmith.templates.budget import (
    LISTED,
    STEPS,
    TEXT_CHARACTERS,
    Budget,
    OverBudget,
    check_combined,
    check_format,
    check_length,
    check_replaced,
    check_widths,
)


def paid(act):
    budget = Budget()
    act(budget)
    return budget.steps


def test_a_text_is_paid_by_its_bytes_and_a_list_as_often_as_it_is_reached():
    assert paid(lambda b: b.through("hi")) == 0
    assert paid(lambda b: b.through("é" * 51200)) == pytest.approx(200, abs=2)
    assert paid(lambda b: b.through("猫" * 51200)) == pytest.approx(400, abs=2)
    shared = [1] * 100
    once, twice = (paid(lambda b, n=n: b.through([shared] * n)) for n in (1, 2))
    assert twice - once > 100
    for _ in range(90):
        shared = [shared, shared]
    with pytest.raises(OverBudget):
        Budget().through(shared)


def test_the_characters_of_a_value_are_told():
    assert Budget().through(["abc", {"key": "value"}]) > 11
    assert Budget().through(7) == 0


def test_what_comes_out_is_paid_for_and_bounded():
    assert paid(lambda b: b.made("x" * 25600)) == pytest.approx(100, abs=1)
    for value in (1 << 70000, "x" * (TEXT_CHARACTERS + 1), [0] * (LISTED + 1)):
        with pytest.raises(OverBudget):
            Budget().made(value)
    assert Budget().made(1 << 6000) == 1 << 6000


def test_the_step_that_is_too_many_is_refused():
    budget = Budget()
    budget.spend(STEPS)
    with pytest.raises(OverBudget, match="forever"):
        budget.spend(1)


def test_only_methods_that_templates_need_may_be_called():
    budget = Budget()
    for owner, name in (("a", "strip"), ({}, "get"), ([], "count"), (1.5, "is_integer")):
        budget.method(owner, name, (), {})
    for owner, name in (("a", "encode"), (b"a", "ljust"), (1, "to_bytes"), (dict, "fromkeys")):
        with pytest.raises(OverBudget, match=name):
            budget.method(owner, name, (), {})


def test_much_out_of_little_is_refused_before_it_is_made():
    for refused in (
        lambda: check_length(TEXT_CHARACTERS + 1),
        lambda: check_combined("*", [1], LISTED + 1),
        lambda: check_combined("*", TEXT_CHARACTERS + 1, "a"),
        lambda: check_combined("+", [1] * LISTED, [1]),
        lambda: check_combined("**", 2, 65),
        lambda: check_widths([1001]),
        lambda: check_format("%5000d", 1),
        lambda: check_format("{0:{1}}", 1),
        lambda: check_format("{0}" * 100, 1_000_000),
        lambda: check_replaced("a" * 10000, ("a", "b" * 10000)),
        lambda: Budget().parts("a " * LISTED, ()),
    ):
        with pytest.raises(OverBudget):
            refused()
    check_combined("+", "a", "b")
    check_format("%s and {}", 1000)
    check_replaced("abc", ("b", ""))
