"""An export is uploaded by the hub's own client, and what arrived is compared."""

import hashlib

import pytest

from tunesmith import store
from tunesmith.errors import ConfigError, ModelError
from tunesmith.models.hub_push import push, require

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's


@pytest.fixture
def exported(tmp_path):
    with store.publish(tmp_path / "out", facts={"kind": "export"}) as place:
        (place / "model.safetensors").write_bytes(bytes(range(200)))
        (place / "README.md").write_text("---\nlicense: mit\n---\n# mine\n")
        (place / "gguf-f16").mkdir()
        (place / "gguf-f16" / "model-f16.gguf").write_bytes(b"GGUF")
    return tmp_path / "out"


def test_every_file_arrives_but_the_manifest(hub, exported):
    assert push(exported, "me/mine", None) == f"{hub.url}/me/mine"
    assert set(hub.models["me/mine"]) == {
        "model.safetensors",
        "README.md",
        "gguf-f16/model-f16.gguf",
    }
    assert hub.models["me/mine"]["model.safetensors"] == bytes(range(200))


@pytest.mark.parametrize("private", [True, False])
def test_a_repository_that_is_made_is_private_unless_that_is_not_wanted(hub, exported, private):
    push(exported, "me/mine", None, private=private)
    assert hub.private == ({"me/mine"} if private else set())
    push(exported, "me/mine", None, private=not private)
    assert hub.private == ({"me/mine"} if private else set()), "what is there stays as it is"


def test_a_second_time_it_is_replaced(hub, exported):
    push(exported, "me/mine", None)
    push(exported, "me/mine", None)
    assert len(hub.models["me/mine"]) == 3


def test_large_files_go_the_way_of_large_files(hub, exported):
    push(exported, "me/mine", None)
    assert {path for kind, path, _ in hub.requests if kind == "PUT"} == {
        f"/lfs/{hashlib.sha256(content).hexdigest()}" for content in (bytes(range(200)), b"GGUF")
    }


def test_what_arrives_otherwise_is_named(hub, exported):
    hub.fault = "lost"
    with pytest.raises(ModelError, match=r"model-f16\.gguf"):
        push(exported, "me/mine", None)


def test_without_access_the_token_is_asked_for_and_never_told(hub, exported):
    hub.token = "hf_right"
    with pytest.raises(ModelError, match="me/mine") as caught:
        push(exported, "me/mine", "hf_wrong")
    assert "HF_TOKEN" in caught.value.hint
    assert "hf_wrong" not in f"{caught.value} {vars(caught.value)}"
    assert push(exported, "me/mine", "hf_right")


@pytest.mark.parametrize("fault", ["503", "503 upload"])
def test_an_upload_that_fails_says_how_to_go_on_and_leaves_the_export(hub, exported, fault):
    hub.fault = fault
    with pytest.raises(ModelError, match="me/mine") as caught:
        push(exported, "me/mine", "hf_right")
    assert f"hf upload me/mine {exported} " in caught.value.hint
    store.verify(exported)
    assert not hub.models.get("me/mine"), "one commit brings all files or none"
    hub.fault = ""
    assert push(exported, "me/mine", "hf_right")


def test_what_cannot_be_uploaded_is_refused_before_anything_is_merged(hub, monkeypatch):
    with pytest.raises(ConfigError, match="me/mine") as caught:
        require("me/mine", None)
    assert "HF_TOKEN" in caught.value.hint
    require("me/mine", "hf_any")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    require("me/mine", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="me/mine"):
        require("me/mine", "hf_any")
    assert hub.requests == []
