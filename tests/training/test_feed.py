"""The same items, one earlier, in another thread."""

import threading

import pytest

from tunesmith.training.feed import ahead


def test_the_items_are_the_same_in_the_same_order():
    for count in (0, 1, 2, 50):
        assert list(ahead(range(count))) == list(range(count))
    assert list(ahead([None, None])) == [None, None]


def test_the_next_item_is_made_while_this_one_is_used():
    """Every item waits for the one before it to be in use: made in turn, this would never end."""
    in_use = [threading.Event() for _ in range(5)]

    def items():
        for i in range(5):
            assert i == 0 or in_use[i - 1].wait(30)
            yield i, threading.current_thread()

    for i, (item, thread) in enumerate(ahead(items())):
        assert item == i
        assert thread is not threading.current_thread()
        in_use[i].set()


def test_no_more_than_one_item_is_made_ahead():
    made = []
    items = ahead(made.append(i) or i for i in range(10))
    next(items)
    items.close()
    assert len(made) <= 2


def test_what_making_an_item_raises_is_raised_in_its_place():
    def items():
        yield 1
        yield 2
        raise ValueError("the third")

    fed = ahead(items())
    assert [next(fed), next(fed)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(fed)
    assert not [t for t in threading.enumerate() if t.name.startswith("tunesmith-feed")]
