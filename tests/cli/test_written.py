"""What a verb cannot write is refused before it works for it."""

from pathlib import Path

import pytest

from tunesmith.cli.main import main
from tunesmith.cli.written import is_png, new_file
from tunesmith.errors import ConfigError


def refused(path):
    with pytest.raises(ConfigError) as error:
        new_file("--png", path, what="a picture", is_one=is_png)
    return error.value


def test_a_new_name_and_a_file_of_the_kind_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "a.png", Path("a.png")):
        assert new_file("--png", path, what="a picture", is_one=is_png) == path
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    assert new_file("--png", Path("a.png"), what="a picture", is_one=is_png) == Path("a.png")


def test_anything_else_is_refused_with_what_to_try(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("")
    assert refused(file).need == "a new name, or a picture to write over"
    error = refused(tmp_path)
    assert (error.got, error.hint) == ("a directory", f"--png {tmp_path / 'picture.png'}")
    error = refused(tmp_path / "no" / "a.png")
    assert error.got == f"no such directory: {tmp_path / 'no'}"
    assert error.hint == f"mkdir -p {tmp_path / 'no'}"
    error = refused(file / "a.png")
    assert (error.got, error.hint) == (f"a file: {file}", "")


@pytest.mark.parametrize("words", [("stats", "--png"), ("show", "--html")])
def test_it_is_refused_before_the_run_is_read(tmp_path, capsys, words):
    what, option = words
    path = tmp_path / "no" / "a"
    assert main(["data", what, "no.yaml", option, str(path)]) == 2
    assert f"no such directory: {path.parent}" in capsys.readouterr().err
    assert not path.parent.exists()
