"""A tiny model that sees, put together by the product itself."""

from tunesmith.models import facts, tokenizer
from tunesmith.models.assemble import Making, image_marks, image_token, join
from tunesmith.models.tower import open_tower

JINJA = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def made(folder, llm, tower, *, layer=-2, projector="mlp2x_gelu", queries=64):
    """What is put together of two directories."""
    out = folder / "vlm"
    out.mkdir()
    seen = open_tower(tower, layer=layer)
    words_of = image_marks if projector == "resampler" else image_token
    words = words_of(tokenizer.load(llm), facts.facts(llm).vocab)
    making = Making(projector, layer, queries, seed=1)
    return join(llm, seen, words, making, template=JINJA, out=out)
