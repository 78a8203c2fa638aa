"""The page: whole in itself, nothing of the user's is markup, and a browser shows what it says."""

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tokenizers

from browser import browser
from tiny_tokenizer import load_tiny
from tunesmith.data.page import html
from tunesmith.data.show import show
from tunesmith.templates import choose

TINY = load_tiny()
ATTACK = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<!-- <script> {data} {{script}} ]]> &lt; \u2028 \u202eabc\u202c \x1b[31m\x07"
)
ROWS = [
    {"instruction": "ask one", "output": "say one 你好 🙂\nnext line"},
    {"instruction": ATTACK, "output": ATTACK},
    {"instruction": "long " * 60, "output": "kept"},
    {"instruction": f"bad {ATTACK}"},
    {"instruction": "ask", "output": "never " * 90},
    {"instruction": "arabic مرحبا", "output": "a\u200bb"},
]


def shown(folder, rows=ROWS, tokenizer=TINY):
    (folder / "a <b>.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    renderer = choose("chatml", tokenizer)
    return show(
        dataset=[{"file_name": str(folder / "a <b>.jsonl"), "formatting": "alpaca"}],
        dataset_dir=folder,
        renderer=renderer,
        tokenizer=tokenizer,
        cutoff_len=60,
        count=len(rows),
    )


class Parsed(HTMLParser):
    """A page as a browser's parser sees it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.text, self.ids = [], [], "", {}
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag in ("script", "style"):
            self.scripts.append((tag, dict(attrs), []))
        if "id" in dict(attrs):
            self.ids[dict(attrs)["id"]] = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            self.scripts[-1][2].append(data)
        else:
            self.text += data


@pytest.fixture
def parsed(tmp_path):
    return Parsed(
        html.page(shown(tmp_path), "run <i>.yaml", {"model": "<u>m</u>", "template": "x"})
    )


def data_of(page):
    (block,) = (text for tag, a, text in page.scripts if a.get("type") == "application/json")
    return json.loads("".join(block))


def test_nothing_of_the_users_is_markup(parsed):
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"img", "i", "u", "iframe"}
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert "run <i>.yaml" in parsed.text
    assert "<u>m</u>" in parsed.text
    rows = data_of(parsed)["rows"]
    assert ATTACK in "".join(rows[1]["texts"][0]["tokens"])


def test_the_page_needs_nothing_else_and_only_its_own_script_runs(parsed, tmp_path):
    for tag, attributes in parsed.tags:
        for key in ("src", "href", "action", "srcset"):
            assert attributes.get(key, "#")[:1] in ("#", "d"), (tag, attributes)
        assert not [key for key in attributes if key.startswith("on")]
    text = "".join("".join(part) for _, _, part in parsed.scripts[:1])
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = (a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    for tag, attributes, part in parsed.scripts:
        if attributes.get("type") == "application/json":
            continue
        digest = base64.b64encode(hashlib.sha256("".join(part).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_data_is_what_is_shown(parsed, tmp_path):
    found = shown(tmp_path)
    for row, said in zip(found.rows, data_of(parsed)["rows"], strict=True):
        assert (said["line"], bool(said["skip"])) == (row.origin.line, row.skip is not None)
        for text, told in zip(row.texts, said["texts"], strict=True):
            assert told["ids"] == [token.id for token in text.tokens]
            kinds = {"c": "control", "x": "context", "t": "trained", "s": "trained"}
            classes = [kinds[c] if c.islower() else "cut" for c in told["classes"]]
            assert classes == [token.kind for token in text.tokens]


def test_places_of_hidden_characters_count_as_javascript_does(tmp_path):
    rows = [{"instruction": "🙂🙂\u202e", "output": "x"}]
    page = Parsed(html.page(shown(tmp_path, rows), "r", {}))
    (text,) = data_of(page)["rows"][0]["texts"]
    (at,) = text["hidden"]
    units = "".join(text["tokens"]).encode("utf-16-le")
    assert units[2 * at : 2 * at + 2].decode("utf-16-le") == "\u202e"


def test_what_a_reader_needs_is_there(parsed):
    assert {"rows", "search", "which", "theme", "help", "status", "classes"} <= parsed.ids.keys()
    roles = {a.get("role") for _, a in parsed.tags} - {None}
    assert roles == {"group", "status", "feed", "tooltip"}
    buttons = [a for tag, a in parsed.tags if tag == "button"]
    assert [a["data-class"] for a in buttons if "data-class" in a] == [
        "control", "context", "trained", "cut",
    ]  # fmt: skip
    assert ("html", {"lang": "en"}) in parsed.tags
    labelled = [a for tag, a in parsed.tags if tag == "label"]
    assert len(labelled) == 2


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        *(("text", g) for g in ("page", "card")),
        *(("quiet", g) for g in ("page", "card")),
        *(
            (f"{kind}-text", kind)
            for kind in ("control", "context", "trained", "cut", "warn", "hit")
        ),
        ("page", "text"),
    ],
)
def test_contrast_is_enough_to_read(theme, text, ground):
    style = Path(html.__file__).with_name("page.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", style))
    one, other = (luminance(colours[name].split(", ")[theme]) for name in (text, ground))
    ratio = (max(one, other) + 0.05) / (min(one, other) + 0.05)
    assert ratio >= 4.5, f"{text} on {ground}: {ratio:.2f}"  # WCAG 2.2, AA


def test_a_page_of_ours_is_known(tmp_path):
    one, other = tmp_path / "one.html", tmp_path / "other.html"
    one.write_text(html.page(shown(tmp_path), "r", {}), encoding="utf8")
    other.write_bytes(b"<html>\xff")
    assert [html.is_ours(p) for p in (one, other, tmp_path / "none")] == [True, False, False]


# ---- in a browser


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        found.resize(1100, 900)
        yield found


@pytest.fixture
def page(window, tmp_path):
    return opened(window, tmp_path, ROWS)


def opened(window, folder, rows, tokenizer=TINY):
    path = folder / "rows.html"
    found = shown(folder, rows, tokenizer)
    path.write_text(html.page(found, "run.yaml", {"model": "m"}), encoding="utf8")
    window.open(path)
    assert window.js("return document.documentElement.dataset.ready") == "true"
    return window


def until(window, script, wanted):
    end = time.monotonic() + 20
    while (found := window.js(script)) != wanted:
        assert time.monotonic() < end, f"{script}: {found!r}, not {wanted!r}"
        time.sleep(0.02)


HERE = "return document.querySelector('article.here')?.id ?? null"
VISIBLE = "return [...document.querySelectorAll('article')].filter(a => !a.hidden).length"
TEXT = """
const copy = document.querySelector(arguments[0]).cloneNode(true);
copy.querySelectorAll('.nl, .part').forEach(e => e.remove());
return copy.textContent"""


def test_in_a_browser_the_page_shows_the_rows_and_complains_of_nothing(page, tmp_path):
    assert page.js(VISIBLE) == len(ROWS)
    until(page, "return document.querySelectorAll('#row-1 .tok').length > 0", True)
    tokens = shown(tmp_path).rows[0].texts[0].tokens
    assert page.js(TEXT, "#row-1 .text") == "".join(token.text for token in tokens)
    runs = page.js("return [...document.querySelectorAll('#row-1 .run')].map(e => e.classList[1])")
    kinds = [token.kind for token in tokens]
    assert runs == [k for k, before in zip(kinds, [None, *kinds], strict=False) if k != before]
    assert page.complaints() == []


def test_in_a_browser_an_attack_in_the_data_is_text(page):
    page.press("g", "j")
    assert page.js("return document.title") == "run.yaml · rows as they are learned"
    assert page.js("return document.querySelectorAll('img').length") == 0
    told = page.js("return document.querySelector('#row-2 .text').textContent")
    assert "</script><script>document.title='owned'</script>" in told
    spelled = page.js(
        "return [...document.querySelectorAll('#row-2 .odd')].map(e => e.textContent)"
    )
    assert {"U+2028", "U+202E", "U+202C", "U+001B", "U+0007"} <= set(spelled)
    assert page.complaints() == []


def test_in_a_browser_a_token_that_is_markup_is_text(window, tmp_path):
    backend = tokenizers.Tokenizer.from_str(TINY.backend.to_str())
    tag = "<img src=x>"
    backend.add_tokens([tag, "&lt;"])
    rows = [{"instruction": f"{tag}&lt;", "output": tag}]
    page = opened(window, tmp_path, rows, TINY._replace(backend=backend))
    page.press("g")
    assert page.js("return document.querySelectorAll('img').length") == 0
    assert f"{tag}&lt;" in page.js("return document.querySelector('.text').textContent")
    assert tag in page.js("return [...document.querySelectorAll('.tok')].map(e => e.textContent)")


def test_in_a_browser_keys_move_between_rows(page):
    page.press("g")
    assert page.js(HERE) == "row-1"
    page.press("j", "j")
    assert page.js(HERE) == "row-3"
    page.press("k")
    assert page.js(HERE) == "row-2"
    page.press("G")
    assert page.js(HERE) == f"row-{len(ROWS)}"
    assert page.js("return document.activeElement.id") == f"row-{len(ROWS)}"
    page.press("j")
    assert page.js(HERE) == f"row-{len(ROWS)}"


def test_in_a_browser_arrows_tell_of_each_token(page, tmp_path):
    tokens = shown(tmp_path).rows[0].texts[0].tokens
    page.press("g", "ArrowRight", "ArrowRight", "ArrowRight")
    told = page.js("return document.getElementById('tip').textContent")
    assert f"id {tokens[2].id} · position 2 · {tokens[2].kind}" in told
    assert page.js("return document.getElementById('said').textContent") != ""
    page.press("Escape")
    assert page.js("return document.getElementById('tip').hidden")


def test_in_a_browser_a_search_finds_text_ids_and_places(page, tmp_path):
    own, *_, other = (
        {token.id for token in row.texts[0].tokens} for row in shown(tmp_path).rows if row.texts
    )
    number = min(own - other)
    for words, count in [("never", 1), ("next line", 1), (f"b>.jsonl:{4}", 1), ("zzz", 0)]:
        page.press("/")
        assert page.js("return document.activeElement.id") == "search"
        page.press(*words)
        until(page, VISIBLE, count)
        page.press("Escape")
        until(page, VISIBLE, len(ROWS))
    page.press("/", *str(number))
    until(page, "return document.querySelectorAll('#row-1 .tok.hit').length > 0", True)
    assert page.js("return document.getElementById(`row-${arguments[0]}`).hidden", len(ROWS))
    page.press("Escape")


def test_in_a_browser_rows_and_classes_are_filtered(page, tmp_path):
    rows = shown(tmp_path).rows
    skipped = sum(row.skip is not None for row in rows)
    cut = sum(any(text.count("cut") for text in row.texts) for row in rows)
    page.press("f")
    assert page.js(VISIBLE) == len(rows) - skipped
    page.press("f")
    assert page.js(VISIBLE) == skipped
    told = page.js("return document.getElementById('status').textContent")
    assert told == f"{skipped} of {len(rows)} rows"
    page.press("f")
    assert page.js(VISIBLE) == cut
    page.press("f", "1")
    pressed = "return document.querySelector('[data-class=control]').getAttribute('aria-pressed')"
    assert page.js(pressed) == "false"
    until(
        page,
        "return getComputedStyle(document.querySelector('#row-1 .run.control')).fontSize",
        "0px",
    )
    page.press("1")
    assert page.js(pressed) == "true"


def test_in_a_browser_help_opens_and_closes(page):
    page.press("?")
    assert page.js("return document.getElementById('help').open")
    page.press("Escape")
    assert not page.js("return document.getElementById('help').open")


def test_in_a_browser_the_theme_is_the_systems_until_one_is_chosen(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    page.js("localStorage.clear()")
    colours = []
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        colours.append(page.js(ground))
    assert colours == ["rgb(246, 246, 243)", "rgb(19, 22, 25)"]
    page.press("t")
    assert page.js(ground) == colours[0]
    page.press("t")
    page.prefer("light")
    assert page.js(ground) == colours[1]
    page.press("t")
    assert page.js(ground) == colours[0]


def test_in_a_browser_a_phone_has_nothing_beside_its_edge(window, tmp_path):
    window.resize(360, 700)
    try:
        opened(window, tmp_path, ROWS)
        wide = "return document.documentElement.scrollWidth"
        assert window.js(wide) == 360
    finally:
        window.resize(1100, 900)


def test_in_a_browser_a_thousand_rows_draw_only_those_that_are_near(window, tmp_path):
    rows = [{"instruction": f"ask {i}", "output": "word " * 30} for i in range(1000)]
    page = opened(window, tmp_path, rows)
    drawn = "return document.querySelectorAll('.text').length"
    until(page, f"{drawn} > 0", True)
    assert page.js(drawn) < 60
    page.press("G")
    assert page.js(HERE) == "row-1000"
    inside = (
        "const r = document.querySelector('.here').getBoundingClientRect();"
        "return r.top >= 0 && r.top < innerHeight && r.height > 60"
    )
    until(page, inside, True)
    assert page.js(drawn) < 120
    page.press("g")
    until(
        page, "return window.scrollY < 400 && document.querySelectorAll('.text').length < 120", True
    )
