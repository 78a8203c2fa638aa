"""An export is uploaded by the hub's own client, and what arrived is compared."""

import pytest

from tunesmith import store
from tunesmith.errors import ModelError
from tunesmith.models.hub_push import push


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


def test_a_second_time_it_is_replaced(hub, exported):
    push(exported, "me/mine", None)
    push(exported, "me/mine", None)
    assert len(hub.models["me/mine"]) == 3


def test_what_arrives_otherwise_is_named(hub, exported):
    hub.fault = "lost"
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        push(exported, "me/mine", None)


def test_without_access_the_token_is_asked_for(hub, exported):
    hub.token = "hf_right"
    with pytest.raises(ModelError, match="me/mine") as caught:
        push(exported, "me/mine", "hf_wrong")
    assert "HF_TOKEN" in caught.value.hint
    assert push(exported, "me/mine", "hf_right")
