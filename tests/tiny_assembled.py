"""A tiny model that sees, put together by the product itself."""

from tunesmith.models import facts, tokenizer
from tunesmith.models.assemble import image_token, join
from tunesmith.models.tower import open_tower

JINJA = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def made(folder, llm, tower, *, layer=-2, projector="mlp2x_gelu"):
    """What is put together of two directories."""
    out = folder / "vlm"
    out.mkdir()
    seen = open_tower(tower, layer=layer)
    words = image_token(tokenizer.load(llm), facts.facts(llm).vocab)
    return join(llm, seen, words, projector=projector, layer=layer, seed=1, template=JINJA, out=out)
