"""Which family is whose."""

from types import SimpleNamespace

from like_stock import made
from tunesmith.data.media.families import family_of, kinds
from tunesmith.data.media.family import Family, Limits
from tunesmith.data.media.pixtral import Pixtral


def test_types_are_named_once():
    every = [name for kind in set(kinds().values()) for name in kind.types]
    assert sorted(every) == sorted(set(every)) == sorted(kinds())


def test_a_llava_over_pixtral_is_of_its_family_and_an_unknown_model_of_none(tmp_path):
    seen = made(tmp_path, "llava")
    tower = SimpleNamespace(model_type="pixtral")
    over = SimpleNamespace(model_type="llava", vision_config=tower)
    other = SimpleNamespace(model_type="of tomorrow")
    args = seen.checked.backend, Limits()
    assert type(family_of(seen.family.processor, over, *args)) is Pixtral
    assert type(family_of(seen.family.processor, other, *args)) is Family
