"""What is no tool is named where it is; whatever is one is taken."""

import pytest

from serving import TOOLS
from tunesmith.serve.refusal import Refusal
from tunesmith.serve.tools import look_at


def tool(parameters, name="a"):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def test_names_are_told_in_their_order():
    assert look_at(TOOLS) == ["weather", "time"]
    assert look_at([{"type": "function", "function": {"name": "now"}}]) == ["now"]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"type": {"type": ["string", "null"]}, "any": True}},
        {"type": "array", "items": {"type": "integer"}},
        {"anyOf": [{"type": "string"}], "x-own": 1, "required": ["a"]},
    ],
)
def test_schemas_of_every_kind_are_taken(schema):
    assert look_at([tool(schema)]) == ["a"]


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ("text", ""),
        (True, ""),
        ({"type": "no such type"}, ".type"),
        ({"type": ["string", 5]}, ".type"),
        ({"type": {}}, ".type"),
        ({"required": "a"}, ".required"),
        ({"required": [5]}, ".required"),
        ({"properties": []}, ".properties"),
        ({"properties": {"b": {"type": "text"}}}, ".properties.b.type"),
        ({"properties": {"b": {"items": 5}}}, ".properties.b.items"),
    ],
)
def test_what_is_no_schema_is_named(schema, place):
    with pytest.raises(Refusal) as refused:
        look_at([*TOOLS, tool(schema)])
    assert refused.value.param == f"tools[2].function.parameters{place}"
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({}, "tools[2]"),
        ({"type": "retrieval"}, "tools[2]"),
        ({"type": "function", "function": {}}, "tools[2].function.name"),
        ({"type": "function", "function": {"name": ""}}, "tools[2].function.name"),
        (TOOLS[0], "tools[2].function.name"),
    ],
)
def test_what_is_no_function_of_its_own_is_named(wrong, place):
    with pytest.raises(Refusal) as refused:
        look_at([*TOOLS, wrong])
    assert refused.value.param == place
