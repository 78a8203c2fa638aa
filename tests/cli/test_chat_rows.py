"""Tools that are read, and conversations that are saved and read again."""

import json

import pytest

from tiny_run import tiny_run
from tunesmith.cli import answering
from tunesmith.cli.chat_rows import row_of, save, tools_in
from tunesmith.config.load import load
from tunesmith.data.entry import OPENAI_COLUMNS, OPENAI_TAGS
from tunesmith.data.formats.messages import openai
from tunesmith.errors import ConfigError, DataError
from tunesmith.infer.chat import Chat
from tunesmith.infer.sampling import Sampling
from tunesmith.templates import get
from tunesmith.training.report import Silent
from tunesmith.types import Call, Conversation, Message

TOOLS = '[{"name": "weather", "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}]'
CALLS = (Call("weather", '{"x": 1.50, "a": "é"}'), Call("weather", "{}"))
SAID = (
    Message("user", "One?\nTwo “three”"),
    Message("assistant", "<think>\nHm.\n</think>\n\nYes."),
    Message("user", "And?"),
    Message("function", "Let me look.", calls=CALLS),
    Message("observation", '{"degrees": 21}'),
    Message("assistant", "21."),
)


@pytest.mark.parametrize("system", [None, "Be kind."])
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_a_row_is_read_again_as_the_conversation_that_it_was(system, tools):
    said = Conversation(SAID, system, tools)
    row = json.loads(json.dumps(row_of(said)))
    assert openai(row, OPENAI_COLUMNS, OPENAI_TAGS) == said


@pytest.mark.parametrize("template", ["chatml", "qwen3", "deepseekr1", None])
@pytest.mark.parametrize("name", ["chat.jsonl", "chat.json"])
def test_what_was_said_is_trained_on_the_ids_that_were_served(tmp_path, template, name):
    """Through the file, as `dataset: FILE`: prompts and answers of every turn, to the id."""
    from tunesmith.training.material import gather

    path = tiny_run(tmp_path, template=template, cutoff_len=512)
    (tmp_path / "model" / "chat_template.jinja").write_text(get("qwen").jinja())
    run = load(path)
    found = answering.find(run, Silent())
    engine = found.engine(answering.load(run, found))
    chat = Chat(
        engine, Sampling(max_new_tokens=6), system="Be kind.", read=found.read(engine, None)
    )
    answers = [chat.say(question) for question in ("One?", "Two?")]
    path = tmp_path / name
    save(str(path), chat.conversation)
    save(str(path), chat.conversation._replace(messages=chat.messages[:2]))
    again = load(tmp_path / "run.yaml", [f"dataset={path}", "dataset_dir=."])
    prepared = gather(again, Silent()).data.train
    served = [answer.prompt_ids for answer in answers]
    assert prepared[0].ids[: len(served[0])].tolist() == served[0]
    texts = [example.ids.tolist() for example in prepared]
    assert any(text[: len(served[1])] == served[1] for text in texts)
    learned = [found.tokenizer.backend.decode(text) for text in texts]
    assert any(answers[0].text.strip() in text for text in learned)
    assert any(answers[1].text.strip() in text for text in learned)


@pytest.mark.parametrize("name", ["", "rows.txt", "none/rows.jsonl", "there.json", "there.jsonl"])
def test_a_file_that_rows_cannot_go_to_is_refused_and_stays(tmp_path, name):
    for there in ("there.json", "there.jsonl"):
        (tmp_path / there).write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="/save"):
        save(str(tmp_path / name) if name else "", Conversation(SAID))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.json", "there.jsonl"]
    assert (tmp_path / "there.jsonl").read_text() == '{"a": 1}'


def test_nothing_and_an_empty_answer_are_no_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    for said in ((), (Message("user", "One?"), Message("assistant", " "))):
        with pytest.raises(DataError, match="/save"):
            save(str(path), Conversation(said))
    assert not path.exists()


def test_a_last_line_without_its_end_is_kept_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row_of(Conversation(SAID))))
    save(str(path), Conversation(SAID[:2]))
    assert [len(json.loads(line)["messages"]) for line in path.read_text().splitlines()] == [6, 2]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[{]", ""),
        ('["weather"]', "[0]"),
        ('[{"name": ""}]', "[0]"),
        ('[{"name": "a"}, {"name": "b", "parameters": 3}]', "[1].parameters (b)"),
        ('[{"name": "b", "parameters": {"type": "text"}}]', "parameters (b)"),
        ('[{"name": "b", "parameters": {"properties": []}}]', "properties"),
        ('[{"name": "b", "parameters": {"properties": {"x": {"type": "int"}}}}]', "x.type"),
        ('[{"name": "b", "parameters": {"properties": {"x": {"items": 1}}}}]', "x.items"),
        ('[{"name": "b", "parameters": {"required": "x"}}]', "required"),
        ('[{"name": "b", "parameters": {"required": [1]}}]', "required"),
    ],
)
def test_tools_that_are_no_json_schema_are_named(tmp_path, text, where):
    path = tmp_path / "tools.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        tools_in(path, where="/tools")
    assert where in caught.value.where


def test_tools_are_taken_as_they_stand(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(TOOLS)
    assert tools_in(path, where="/tools") == (TOOLS, ["weather"])
