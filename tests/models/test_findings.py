"""A report is read in columns, as one line in a plan, and as JSON."""

import json

from tunesmith.models.findings import Finding, Report

FINE = Finding("bos", "ok", "<s> (id 1)")
BAD = Finding("stop word", "error", "no token " * 9, "talks on " * 9, "try " + "x" * 90)
REPORT = Report("models/a", 1234, 1300, (FINE, BAD), None)


def test_a_finding_in_one_line_has_all_of_it():
    assert FINE.line() == "bos: <s> (id 1)"
    assert BAD.line() == f"stop word: {BAD.found}: {BAD.consequence} ({BAD.todo})"


def test_levels_are_told_apart():
    assert (REPORT.errors, REPORT.warnings) == ((BAD,), ())


def test_words_are_wrapped_and_commands_are_not():
    lines = REPORT.lines(60)
    assert lines[0] == "tokenizer  models/a: 1,234 tokens, 1,300 rows"
    assert "no model beside it" in REPORT._replace(rows=None).lines()[0]
    assert [line for line in lines if len(line) > 60] == [line for line in lines if "xxx" in line]
    assert " ".join(" ".join(lines[2:]).split()) == " ".join(
        f"error stop word {BAD.found} {BAD.consequence} {BAD.todo}".split()
    )


def test_json_has_everything():
    found = json.loads(json.dumps(REPORT.as_dict()))
    assert [one["level"] for one in found["findings"]] == ["ok", "error"]
    assert (found["tokens"], found["rows"], found["example"]) == (1234, 1300, None)
