"""What the documents say is true: files load, commands exist, links lead somewhere, code runs."""

import ast
import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from transformers import AutoTokenizer

from test_architecture import MAY_IMPORT
from tiny_model import tiny_model
from tiny_run import tiny_run
from tunesmith.cli.command import command
from tunesmith.cli.main import READER_GONE, VERBS, main, parser
from tunesmith.config.deviations import DEVIATIONS
from tunesmith.config.foreign import table
from tunesmith.config.load import load
from tunesmith.config.run import fields
from tunesmith.templates.format import Format

HOME = Path(__file__).parents[2]
SOURCE = HOME / "src" / "tunesmith"
PAGES = sorted([*HOME.glob("*.md"), *(HOME / "docs").rglob("*.md"), *HOME.glob("examples/*.md")])
README, TUTORIAL = HOME / "README.md", HOME / "docs" / "tutorial.md"
PAIRS = [(page, page.with_suffix(".zh.md")) for page in (README, TUTORIAL)]
EXAMPLES = sorted((HOME / "examples").glob("*.yaml"))
MODEL = "DeepSeek-R1-Distill-Qwen-7B"


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    text: str
    before: str
    """The line of prose above it."""

    def __str__(self):
        return f"{self.page.relative_to(HOME)}:{self.line}"


def blocks(page):
    text = page.read_text(encoding="utf8")
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        above = text[: match.start()].rstrip().rpartition("\n")[2]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[1], match[2], above))
    return found


def prose(page):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf8"), flags=re.M | re.S)


def name_of(page):
    return page.name


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of_kind(kind):
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.kind == kind]


def rows_of_table(page, heading):
    """First cells of the table whose first column is called `heading`."""
    lines = iter(prose(page).splitlines())
    found = []
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                found.append(row.split("|")[1])
    return found


def commands(block):
    """The commands of a shell block as words, without redirections."""
    for line in block.text.splitlines():
        for part in line.split("|"):
            words = shlex.split(re.sub(r"[>&].*", "", part))
            yield words[1:] if words[0] == "nohup" else words


def parse(words):
    """Arguments of a command of ours, by the options that its verb declares."""
    verb, *rest = words
    return parser(verb).parse_intermixed_args(rest)


def test_every_block_says_what_it_is():
    kinds = {"bash", "yaml", "json", "python", "text"}
    assert not [str(block) for block in BLOCKS if block.kind not in kinds]
    assert len(BLOCKS) > 30


@pytest.mark.parametrize("block", of_kind("yaml"))
def test_every_run_file_of_a_page_loads(block, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(block.text, encoding="utf8")
    run = load(path, {"model_name_or_path": str(tmp_path), "output_dir": str(tmp_path / "out")})
    making = {"vision_tower", "num_experts"} & run.asked.keys()  # of assemble, upcycle
    assert making or run.dataset.dataset or run.dataset.eval_dataset
    given = [line.partition(":")[0] for line in block.text.splitlines() if ":" in line]
    assert list(run.asked) == given


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_and_its_commands_exist(path):
    assert load(path).model.model_name_or_path
    named = re.findall(r"^#.*?\btunesmith +(\w+)", path.read_text(encoding="utf8"), re.MULTILINE)
    assert named
    assert set(named) <= set(VERBS)


def test_every_example_is_on_its_page():
    page = (HOME / "examples" / "README.md").read_text(encoding="utf8")
    assert [path.name for path in EXAMPLES if f"`{path.name}`" not in page] == []


@pytest.mark.parametrize("block", of_kind("json"))
def test_every_json_is_json(block):
    assert json.loads(block.text)


@pytest.mark.parametrize("block", of_kind("python"))
def test_every_python_block_is_python(block):
    ast.parse(block.text)


@pytest.mark.parametrize("block", of_kind("bash"))
def test_every_command_is_one_that_there_is(block):
    targets = re.findall(r"^([\w-]+):", (HOME / "Makefile").read_text(), re.MULTILINE)
    for words in commands(block):
        match words:
            case ["tunesmith", *rest]:
                asked = parse(rest)
                load(None, getattr(asked, "overrides", ()))
            case ["make", target]:
                assert target in targets
            case [program, *_]:
                assert program in ("python3", "source", "pip", "echo"), block.text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_a_sentence_has_a_verb_of_ours(page):
    named = re.findall(r"`tunesmith ([a-z]\w*)", prose(page))
    assert set(named) <= set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_file(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(there), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in slugs, f"{page}: {target}"


@pytest.mark.parametrize(
    "page", [README, HOME / "CONTRIBUTING.md", *HOME.glob("docs/*.md")], ids=name_of
)
def test_every_file_of_ours_that_is_named_is_there(page):
    named = re.findall(r"`((?:src|tests|[a-z]+)/[\w./]+\.(?:py|tsv))`", prose(page))
    for name in named:
        if "/x/" in name or re.search(r"[A-Z]", name):
            continue  # a placeholder
        assert (HOME / name).is_file() or (SOURCE / name).is_file(), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_is_named_is_there(page):
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf8")):
        tree = ast.parse((HOME / file).read_text(encoding="utf8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in tests, f"{page}: {file}::{name}"


def test_every_silent_bug_has_its_test():
    rows = re.findall(r"^\| .*", prose(HOME / "docs" / "silent-bugs.md"), re.MULTILINE)
    held = [row for row in rows if re.search(r"\| `tests/[\w/]+\.py::test_\w+`[^|]*\|$", row)]
    heads = [row for row in rows if row.startswith("| what goes wrong | ")]
    assert len(held) + len(heads) == len(rows)
    assert len(held) > 60


@pytest.mark.parametrize(("page", "other"), PAIRS, ids=["README", "tutorial"])
def test_both_languages_say_the_same_in_code_and_in_outline(page, other):
    def levels(of):
        return [len(mark) for mark in re.findall(r"^(#+) ", prose(of), re.MULTILINE)]

    assert levels(page) == levels(other)
    assert [b[2:4] for b in blocks(page)] == [b[2:4] for b in blocks(other)]
    for mark in (r"^\|", r"^- ", r"^\d\. "):
        one, two = (re.findall(mark, prose(p), re.MULTILINE) for p in (page, other))
        assert len(one) == len(two), mark


@pytest.mark.parametrize("page", [README, README.with_suffix(".zh.md")], ids=["en", "zh"])
def test_the_tree_names_every_room_as_it_names_itself(page):
    tree = next(b.text for b in blocks(page) if b.text.startswith("src/tunesmith/"))
    rooms = [path.parent for path in SOURCE.glob("*/__init__.py")]
    files = [SOURCE / "errors.py", SOURCE / "types.py"]
    expected = {}
    for path in [*files, *rooms]:
        source = path / "__init__.py" if path in rooms else path
        docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf8"))) or ""
        expected[f"{path.name}/" if path in rooms else path.name] = docstring.splitlines()[0]
    listed = dict(line.split(maxsplit=1) for line in tree.splitlines()[1:])
    assert listed == expected
    above = []
    for name in listed:
        room = name.rstrip("/").removesuffix(".py")
        assert set(MAY_IMPORT[room].split()) <= set(above), f"{room} imports from below"
        above.append(room)


@pytest.mark.parametrize("page", [README, README.with_suffix(".zh.md")], ids=["en", "zh"])
def test_the_templates_named_are_shipped_and_counted(page):
    from tunesmith.templates import names

    row = next(line for line in prose(page).splitlines() if "`chatml`" in line)
    assert {n for n in re.findall(r"`([\w-]+)`", row)} <= set(names())
    assert f" {len(names())} " in row


@pytest.mark.parametrize("page", [README, README.with_suffix(".zh.md")], ids=["en", "zh"])
def test_the_exit_codes_are_those_in_the_code(page):
    from tunesmith import errors
    from tunesmith.training.signals import EXIT_STOPPED

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", prose(page), re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.Error)}
    assert listed == {0, EXIT_STOPPED, READER_GONE, *codes}


def test_the_contributors_page_is_short_and_holds_the_map():
    page = HOME / "CONTRIBUTING.md"
    assert page.read_text(encoding="utf8").count("\n") <= 80
    drawn = next(b.text for b in blocks(page) if b.text.startswith("threads"))
    listed = {line.split()[0]: line.split()[1:] for line in drawn.splitlines()}
    rooms = {room: may.split() for room, may in MAY_IMPORT.items() if not room.startswith("_")}
    assert listed == rooms


def test_the_design_lists_every_default_that_differs():
    cells = " ".join(rows_of_table(HOME / "docs" / "design.md", "key"))
    listed = re.findall(r"`(\w+)`", cells)
    assert sorted(listed) == sorted(deviation.key for deviation in DEVIATIONS)


@pytest.mark.parametrize(
    ("page", "heading"),
    [(TUTORIAL, "key"), (TUTORIAL.with_suffix(".zh.md"), "键")],
    ids=["en", "zh"],
)
def test_the_tutorial_explains_every_key_of_its_run_file(page, heading):
    listed = re.findall(r"`(\w+)`", " ".join(rows_of_table(page, heading)))
    asked = next(b.text for b in blocks(page) if b.kind == "yaml")
    assert listed == re.findall(r"^(\w+):", asked, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_setting_in_a_sentence_is_a_key(page):
    """`key: value` and `key=value` in prose name keys, of runs, templates or other tools."""
    named = re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)(?:: |=)[^`]*`", prose(page))
    named += re.findall(r"`tunesmith [^`]*? (\w+)=[^`]*`", prose(page))
    assert set(named) <= {*fields(), *table(), *Format.model_fields}


def lay_out_tutorial(home):
    """The tutorial's files as it says them, and a tiny model in the place of the large one."""
    for block in blocks(TUTORIAL):
        names = re.findall(r"`([\w./-]+\.(?:json|yaml))`", block.before)
        if block.kind in ("json", "yaml"):
            path = home / names[-1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf8")
    (home / "models").mkdir()
    tiny_model(home / "models", "qwen2", name=MODEL)


def test_the_literal_run_file_of_the_tutorial_trains_a_tiny_qwen2(tmp_path, monkeypatch):
    from tunesmith.eval.held_out import evaluate
    from tunesmith.training.report import Silent
    from tunesmith.training.run import train
    from tunesmith.training.signals import Stopper

    lay_out_tutorial(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = train(load("run.yaml"), report=Silent(), stopper=Stopper(), evaluate=evaluate)
    assert result.status == "trained"
    assert (result.plan.train_examples, result.plan.eval_examples) == (4, 1)
    assert result.metrics["eval_loss"] > 0
    out = tmp_path / "saves" / MODEL / "lora"
    for cell in rows_of_table(TUTORIAL, "file"):
        for name in re.findall(r"`([^`]+)`", cell):
            assert (out / name.replace("checkpoint-453/", "checkpoint-1")).exists(), name
    check_the_plan_that_is_shown(result.plan)


def check_the_plan_that_is_shown(plan):
    """The tutorial's plan, line by line, where it does not depend on data and machine."""
    from tunesmith.data.split import held_out_rows
    from tunesmith.training.plan import steps_of
    from tunesmith.training.schedule import warmup_steps_of

    held_out = held_out_rows(4019, 0.1)
    per_epoch, steps = steps_of(4019 - held_out, global_batch=8, epochs=1, max_steps=None)
    large = replace(
        plan,
        train_examples=4019 - held_out,
        eval_examples=held_out,
        steps_per_epoch=per_epoch,
        steps=steps,
        warmup_steps=warmup_steps_of(steps, warmup_steps=0, warmup_ratio=0.1),
        trainable=20_185_088,
        parameters=7_635_801_600,
    )
    rendered = [line for line in large.text().splitlines() if line[2:3].strip()]
    page = next(b.text for b in blocks(TUTORIAL) if "steps             453" in b.text)
    shown = [line for line in page.splitlines() if line[2:3].strip()]
    notes = [line for line in shown if line.startswith("  note ")]
    labels = [line[:20] for line in rendered if not line.startswith("  note ")]
    assert [line[:20] for line in shown if line not in notes] == labels
    said = "\n".join(large.text().splitlines())
    other = ("  model ", "  template ")
    for line in shown:
        if not line.startswith(other):
            assert line.rstrip("…") in said, line


def test_a_model_that_nobody_has_heard_of_is_added_as_the_page_says(tmp_path, monkeypatch, capsys):
    page = HOME / "docs" / "add-your-model.md"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    (tmp_path / "models").mkdir()
    tiny_model(tmp_path / "models", name="lantern-raw")
    said = ""
    for block in blocks(page):
        if block.kind == "bash":
            for words in commands(block):
                assert main(words[1:]) == 0, (words, capsys.readouterr())
                said += capsys.readouterr().out
            continue
        place = Path(re.findall(r"`([\w./-]+\.(?:jsonl?|yaml))`", block.before)[-1])
        place.parent.mkdir(exist_ok=True)
        place.write_text(block.text, encoding="utf8")
    assert "⟦21 °C.<eos>⟧" in said
    served = AutoTokenizer.from_pretrained("runs/lantern/export")
    messages = [{"role": "user", "content": "Who?"}]
    text = served.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    system = "You are Lantern, a helpful assistant."
    assert text == f"{system}\n\n### Question\nWho?\n\n### Answer\n"


def test_rows_are_checked_and_cleaned_as_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path, "qwen3", name="models/Qwen3-4B")
    page = iter(blocks(HOME / "docs" / "data.md"))
    rows, run_file, told, typed = (next(page) for _ in range(4))
    Path("rows.json").write_text(rows.text, encoding="utf8")
    Path("run.yaml").write_text(run_file.text, encoding="utf8")
    check, clean, train = commands(typed)
    assert main(check[1:]) == 2
    said = capsys.readouterr().out.replace(command("x").removesuffix("x"), "tunesmith ")
    assert said.split() == told.text.split()
    assert main(clean[1:]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.split("train", 1)[1].split() == train[2:]
    assert main([*train[1:], "max_steps=1"]) == 0


def test_rows_with_tools_and_thoughts_are_learned_as_the_page_shows(tmp_path, monkeypatch, capsys):
    from tunesmith.data import registry
    from tunesmith.data.formats.messages import sharegpt
    from tunesmith.templates import apart, get

    monkeypatch.chdir(tmp_path)
    shown = []
    for block in blocks(HOME / "docs" / "data-with-tools.md"):
        if block.kind in ("json", "yaml"):
            place = Path(re.findall(r"`([\w./-]+\.(?:json|yaml))`", block.before)[-1])
            place.parent.mkdir(exist_ok=True)
            place.write_text(block.text, encoding="utf8")
        elif block.kind == "text":
            shown.append(block.text)
    templates = [replace(get(name), eos="<|im_end|>") for name in ("qwen", "qwen3")]
    found = registry.load(Path("data"), ["lathe", "thinking"])
    for template, entry, text in zip(templates, found, shown, strict=True):
        (row,) = json.loads(entry.paths[0].read_text(encoding="utf8"))
        texts = [
            "".join(f"⟦{s.text}⟧" if s.trained else s.text for s in template.render(part))
            for part in apart(template, sharegpt(row, entry.columns, entry.tags))
        ]
        assert "\n\n".join(one.replace("⟧⟦", "").rstrip() for one in texts) == text.rstrip()
    tiny_model(tmp_path, "qwen3", name="models/Qwen3-4B")
    assert main(["train", "run.yaml", "max_steps=1"]) == 0
    said = capsys.readouterr().out
    assert "data/lathe.json: 1 row" in said
    assert "data/thinking.json: 1 row" in said


def test_exports_are_made_and_compared_as_the_page_shows(tmp_path, monkeypatch, capsys):
    page = HOME / "docs" / "export.md"
    monkeypatch.chdir(tmp_path)
    path = tiny_run(tmp_path, max_steps=1)
    said = next(b.text for b in blocks(page) if b.kind == "yaml")
    keys = {line.partition(":")[0] for line in said.splitlines()}
    kept = [line for line in path.read_text().splitlines() if line.partition(":")[0] not in keys]
    path.write_text("\n".join([*kept, said]))
    assert main(["train", str(path)]) == 0
    for words in commands(next(b for b in blocks(page) if b.kind == "bash")):
        assert main(words[1:]) == 0, words
    told = capsys.readouterr().out
    assert "greedy answers   equal" in told
    made = tmp_path / "saves" / "mine" / "export"
    names = {path.name for path in made.iterdir() if path.is_dir()}
    assert names == {"merged", "gguf-q8_0", "ollama"}
    assert (tmp_path / "saves" / "gguf" / "model-f16.gguf").exists()


def test_a_chat_is_held_as_its_page_shows(tmp_path, monkeypatch, capsys):
    page = HOME / "docs" / "chat.md"
    tiny_run(tmp_path, template="qwen", max_steps=1)
    monkeypatch.chdir(tmp_path)
    tools = next(block for block in blocks(page) if block.kind == "json")
    Path("tools.json").write_text(tools.text, encoding="utf8")
    assert main(["train", "run.yaml"]) == 0
    capsys.readouterr()
    for block in (block for block in blocks(page) if block.kind == "bash"):
        for words in commands(block):
            if words[0] == "echo":
                continue
            monkeypatch.setattr("sys.stdin", io.StringIO("Who?\n/save said.jsonl\n"))
            assert main([*words[1:], "max_new_tokens=4"]) == 0, (words, capsys.readouterr())
            assert capsys.readouterr().out
    asked = Path("said.jsonl").read_text(encoding="utf8").splitlines()
    assert len(asked) >= 5
    assert main(["train", "run.yaml", "dataset=./said.jsonl", "output_dir=again"]) == 0


def test_lengths_are_told_as_the_page_on_data_shows(tmp_path, monkeypatch, capsys):
    found = blocks(HOME / "docs" / "data.md")
    at = next(i for i, block in enumerate(found) if "tunesmith data stats" in block.text)
    tiny_run(tmp_path, rows=[{"instruction": "a b " * i, "output": "c " * i} for i in range(1, 99)])
    monkeypatch.chdir(tmp_path)
    for words in commands(found[at]):
        assert main([*words[1:], "cutoff_len=64"]) == 0
    told, shown = capsys.readouterr().out, found[at + 1].text
    assert (tmp_path / "lengths.png").is_file()
    heads = ("tokens ", "turns ", "data set ", "an epoch, laid out ", "to keep ")
    for said in (*heads, "  no padding", "  packing: true", "← this run", "longer (", "  whole"):
        assert said in told
        assert said in shown


def test_the_code_for_elsewhere_runs_on_what_the_commands_leave(tmp_path, monkeypatch, capsys):
    pytest.importorskip("peft")
    lay_out_tutorial(tmp_path)
    monkeypatch.chdir(tmp_path)
    here = next(b for b in blocks(README) if b.kind == "python")
    adapter, merged = (b for b in blocks(TUTORIAL) if b.kind == "python")
    for block in (here, adapter):
        capsys.readouterr()
        exec(compile(block.text, str(block), "exec"), {})
        assert capsys.readouterr().out.strip()
    export = next(
        words for b in blocks(TUTORIAL) if b.kind == "bash" for words in commands(b)
        if words[:2] == ["tunesmith", "export"]
    )  # fmt: skip
    assert main(export[1:]) == 0
    exec(compile(merged.text, str(merged), "exec"), {})


def test_a_data_set_is_answered_as_the_page_shows(tmp_path, monkeypatch, capsys):
    page = HOME / "docs" / "predict.md"
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path, name="model")
    (tmp_path / "data").mkdir()
    info = {"my_questions": {"file_name": "a.json"}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "data" / "a.json").write_text(
        json.dumps([{"instruction": f"q {i}", "output": "ab"[i % 2]} for i in range(4)])
    )
    run_file, script = (next(b for b in blocks(page) if b.kind == k) for k in ("yaml", "python"))
    (tmp_path / "run.yaml").write_text(run_file.text)
    tiny = ("model_name_or_path=model", "adapter_name_or_path=null", "max_new_tokens=4")
    for words in (w for b in blocks(page) if b.kind == "bash" for w in commands(b)):
        assert main([*words[1:], *tiny, "template=chatml"]) == 0
    shown, out = capsys.readouterr().out, tmp_path / "saves" / "qwen3-lora-predict"
    files, keys = (rows_of_table(page, column) for column in ("file", "key"))
    named = {name for cell in files for name in re.findall(r"`(\S+)`", cell)}
    assert {path.name for path in out.iterdir()} == named
    figures = {name for cell in keys for name in re.findall(r"`(\S+)`", cell)}
    found = json.loads((out / "predict_results.json").read_text())
    assert {key for key in found if key.startswith("predict_")} == {
        key for key in figures if "call" not in key
    }
    assert all(key in shown for key in found if key.startswith("predict_"))
    exec(compile(script.text, str(script), "exec"), {})
    assert "tok:zh" in capsys.readouterr().out
