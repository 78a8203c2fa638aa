"""A watched text does what a text does, writes it down, or refuses."""

import operator

import pytest

from tunesmith.templates.trace import Opaque, Trace, joined, pieces_of
from tunesmith.templates.watched import Many, Number, Watched, words

SAMPLES = ["", " ", "a", " a b ", "a|b|c", "|", "x</think>\n y", "Ab\n", "12", "\n\n"]
USES = {
    "strip": lambda w: w.strip(),
    "lstrip": lambda w: w.lstrip("\n "),
    "rstrip": lambda w: w.rstrip("\n"),
    "replace": lambda w: w.replace("|", ""),
    "split first": lambda w: w.split("|")[0],
    "split last": lambda w: w.split("|")[-1].strip(),
    "split at blanks": lambda w: w.split()[0] if w.split() else "none",
    "rsplit": lambda w: w.rsplit("|", 1)[0],
    "partition": lambda w: w.partition("|")[2],
    "slice": lambda w: w[1:3],
    "backwards": lambda w: w[::-1],
    "one": lambda w: w[0] if w else "none",
    "prefix": lambda w: w.removeprefix("a").removesuffix("c"),
    "plus": lambda w: "<" + w + ">" + w,
    "plus, asked": lambda w: ("<" + w).startswith("<a"),
    "startswith": lambda w: w.startswith(("a", " ")),
    "endswith": lambda w: w.endswith("\n"),
    "in": lambda w: "|" in w,
    "in a list": lambda w: w in ["b", "a"],
    "equal": lambda w: w == "a",
    "equal from the left": lambda w: "a" == w,  # noqa: SIM300
    "unequal": lambda w: w != "a",
    "less": lambda w: w < "a",
    "less from the left": lambda w: "a" < w,  # noqa: SIM300
    "truth": lambda w: "yes" if w else "no",
    "not": lambda w: not w.strip(),
    "isspace": lambda w: w.isspace(),
    "isdigit": lambda w: w.isdigit(),
    "find": lambda w: w.find("|") > 0,
    "count": lambda w: w.count("a") == 1,
    "count, truth": lambda w: bool(w.count("|")),
    "another type": lambda w: w == 3,
    "str": lambda w: str(w),
}
REFUSED = {
    "len": len,
    "hash": hash,
    "iter": list,
    "repr": repr,
    "int": int,
    "float": float,
    "upper": lambda w: w.upper(),
    "join": lambda w: w.join("ab"),
    "encode": lambda w: w.encode(),
    "format": lambda w: w.format(1),
    "percent": lambda w: w % 1,
    "percent from the left": lambda w: "%s" % w,  # noqa: UP031
    "f-string": lambda w: f"{w:>5}",
    "times": lambda w: w * 2,
    "a key": lambda w: {"a": 1}.get(w),
    "translate": lambda w: w.translate({}),
    "growing": lambda w: w.replace("a", "bb"),
    "between all": lambda w: w.replace("", ""),
    "a list's rest": lambda w: w.split("|")[1:],
    "a list's items": lambda w: list(w.split("|")),
    "a list's length": lambda w: len(w.split("|")),
    "a list's method": lambda w: w.split("|").index("a"),
    "a number shown": lambda w: str(w.find("a")),
    "a number added": lambda w: w.find("a") + 1,
    "a number as a place": lambda w: "abc"[w.find("a")],
    "a number's method": lambda w: w.find("a").bit_length(),
    "bounds": lambda w: w.startswith("a", 1),
}


def real(trace, value):
    return joined(trace.values, pieces_of(value)) if isinstance(value, Watched) else value


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_answers_as_the_text_does(use):
    for sample in SAMPLES:
        trace = Trace([sample])
        (word,) = words(trace)
        assert real(trace, use(word)) == use(sample), sample


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_equal_answers_mean_an_equal_result(use):
    for sample in SAMPLES:
        trace = Trace([sample])
        result = use(words(trace)[0])
        for other in SAMPLES:
            values = [other]
            for method, slot, args, asked, answer in trace.steps:
                value = method(values if slot is None else values[slot], *args)
                if not asked:
                    values.append(value)
                elif value != answer:
                    break
            else:
                text = joined(values, pieces_of(result)) if isinstance(result, str) else result
                assert text == use(other), (sample, other)


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_down_is_refused(use):
    trace = Trace(["a|b"])
    (word,) = words(trace)
    with pytest.raises((Opaque, TypeError)):
        use(word)


def test_every_public_method_of_a_text_is_watched():
    assert not [name for name in dir(str) if getattr(Watched, name) is getattr(str, name)
                and not name.startswith("__")]  # fmt: skip


def test_two_words_are_compared():
    trace = Trace(["a", "a "])
    one, other = words(trace)
    assert one != other
    assert one == other.strip()
    assert other.startswith(one)
    assert (other + one).endswith(one)


def test_a_list_ends_and_a_number_is_compared():
    (word,) = words(Trace(["a|b"]))
    parts, place = word.split("|"), word.find("b")
    assert isinstance(parts, Many)
    assert isinstance(place, Number)
    with pytest.raises(IndexError):
        parts[2]
    with pytest.raises(IndexError):
        word[3]
    compared = [m(place, 2) for m in (operator.eq, operator.ge, operator.lt, operator.ne)]
    assert compared == [True, True, False, False]
