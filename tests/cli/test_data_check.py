"""`tunesmith data check`: what becomes of every row."""

import json

from tiny_run import tiny_rows, tiny_run
from tunesmith.cli.main import main


def test_every_row_of_a_file_is_accounted_for(capsys, tmp_path):
    path = tiny_run(tmp_path, rows=tiny_rows(7))
    assert main(["data", "check", str(path)]) == 0
    assert "tiny.json: 7 rows read = 7 used + 0 skipped" in capsys.readouterr().out


def test_json_is_one_document(capsys, tmp_path):
    path = tiny_run(tmp_path, rows=tiny_rows(7))
    assert main(["data", "check", str(path), "--json"]) == 0
    (account,) = json.loads(capsys.readouterr().out)["files"].values()
    assert (account["read"], account["used"]) == (7, 7)
