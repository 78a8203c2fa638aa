"""The schema for editors agrees with what is loaded."""

import json
import re
from pathlib import Path

import pytest

import tunesmith.config.schema as module
from tunesmith.config.load import load
from tunesmith.config.run import Run, fields, methods_of
from tunesmith.config.schema import schema
from tunesmith.errors import ConfigError

SCHEMA = json.loads(schema())
GOLDEN = Path(__file__).parents[1] / "golden" / "run_files"
KEYWORDS = {
    *("type", "enum", "const", "anyOf", "items", "description", "default", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "minLength", "additionalProperties"),
    *("format", "writeOnly", "properties", "pattern"),
}
TYPES = {
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def fits(value, node):
    """The few keywords of JSON schema that are used, by hand."""
    if "anyOf" in node and not any(fits(value, part) for part in node["anyOf"]):
        return False
    if "enum" in node and value not in node["enum"]:
        return False
    if "const" in node and value != node["const"]:
        return False
    if "type" in node:
        right = isinstance(value, TYPES[node["type"]])
        if not right or (isinstance(value, bool) and node["type"] in ("integer", "number")):
            return False
    if "pattern" in node and not re.search(node["pattern"], value):
        return False
    if "items" in node and isinstance(value, list):
        return all(fits(item, node["items"]) for item in value)
    return not isinstance(value, int | float) or (
        value >= node.get("minimum", value)
        and value <= node.get("maximum", value)
        and value > node.get("exclusiveMinimum", value - 1)
        and value < node.get("exclusiveMaximum", value + 1)
    )


def test_the_schema_is_flat_and_closed_and_has_every_key():
    assert SCHEMA["additionalProperties"] is False
    assert list(SCHEMA["properties"]) == ["$schema", *fields()]
    for key, node in SCHEMA["properties"].items():
        assert node["description"], key
        assert "\n" not in node["description"]


def test_only_standard_keywords_are_used():
    def walk(node):
        assert set(node) <= KEYWORDS, node
        for part in node.get("anyOf", ()):
            walk(part)

    for node in SCHEMA["properties"].values():
        walk(node)


@pytest.mark.parametrize("key", fields())
def test_schema_and_loader_agree_on_defaults_and_edges(key):
    node = SCHEMA["properties"][key]
    owners = methods_of(key)
    method = {"finetuning_type": owners[0]} if owners and key != "finetuning_type" else {}
    default = load(None, method)
    assert load(None, {**method, key: node["default"]}) == default
    for value in (-1, 0, 1, 0.5, 1.5, 10**12, "fast", True, ["a"], {"a": 1}):
        try:
            load(None, {**method, key: value})
        except ConfigError:
            continue
        assert fits(value, node), value


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda p: p.name)
def test_a_json_run_file_fits_its_schema(path):
    for key, value in json.loads(path.read_text()).items():
        assert fits(value, SCHEMA["properties"][key]), key


def test_the_printed_schema_is_fresh():
    path = Path(module.__file__).with_name("schema.json")
    assert path.read_text(encoding="utf8") == schema(), (
        "python -m tunesmith.config.reference --write"
    )
    assert Run() == load(None)
