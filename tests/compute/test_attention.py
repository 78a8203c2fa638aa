import pytest
import torch
from transformers import AutoModelForCausalLM

from tiny_batch import batch_of, random_examples
from tiny_model import tiny_model
from tunesmith.compute import attention
from tunesmith.errors import ModelError

LENGTHS = (5, 5, 30, 1, 17, 40, 40, 3)
KINDS = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi3", "gpt2")
MORE = {
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "tied": False},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "olmo2": {},
    "granite": {"logits_scaling": 6.0},
    "cohere": {},
}
WINDOWED = {
    "mistral": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
}


def load(directory, attn=None):
    name = attn or attention.register()
    model = AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation=name, dtype=torch.float32
    )
    return model.eval()


def packed(model, batch):
    mask = attention.documents(batch.offsets)
    return attention.run(attention.decoder(model), batch.ids_T, batch.positions_T, mask)


def alone(model, batch):
    """Each document in a forward pass of its own."""
    sizes = [b - a for a, b in zip(batch.offsets, batch.offsets[1:], strict=False)]
    body = attention.decoder(model)
    return torch.cat(
        [attention.run(body, ids, torch.arange(len(ids)), None) for ids in batch.ids_T.split(sizes)]
    )


ODD = [  # a cap that binds, a scale of its own
    ("gemma2", {"attn_logit_softcapping": 0.5}),
    ("gemma2", {"query_pre_attn_scalar": 2}),
    ("granite", {"attention_multiplier": 0.7}),
]
CASES = [(kind, {}) for kind in KINDS] + list(MORE.items()) + list(WINDOWED.items()) + ODD


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("kind", "keys"), CASES, ids=lambda x: x if isinstance(x, str) else "")
@torch.no_grad()
def test_packed_documents_are_what_they_are_alone_in_the_models_own_attention(tmp_path, kind, keys):
    directory = tiny_model(tmp_path, kind, tokenizer=False, **keys)
    batch = batch_of(random_examples(LENGTHS))
    model = load(directory)
    assert attention.isolation(model) == "varlen"
    truth = alone(load(directory, "eager"), batch)
    torch.testing.assert_close(packed(model, batch), truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gemma2"])
@torch.no_grad()
def test_another_first_document_leaves_the_second_bit_equal(tmp_path, kind):
    model = load(tiny_model(tmp_path, kind, tokenizer=False))
    first, other, second = random_examples((9, 9, 24))
    here = packed(model, batch_of([first, second]))[9:]
    there = packed(model, batch_of([other, second]))[9:]
    assert torch.equal(here, there)


def test_gradients_do_not_cross_documents(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    batch = batch_of(random_examples((7, 12)))
    states = model.get_input_embeddings()(batch.ids_T)[None].detach().requires_grad_(True)
    out = attention.decoder(model)(
        inputs_embeds=states,
        position_ids=batch.positions_T[None],
        attention_mask=attention.documents(batch.offsets),
        use_cache=False,
    ).last_hidden_state
    out[0, 7:].square().sum().backward()
    assert states.grad[0, :7].abs().max() == 0
    assert states.grad[0, 7:].abs().max() > 0


@torch.no_grad()
def test_a_layer_that_attends_in_chunks_gets_one_pass_for_each_document(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    model.config.layer_types = ["full_attention", "chunked_attention"]
    assert attention.isolation(model) == "per_document_forward"


@torch.no_grad()
def test_a_window_that_the_layers_do_not_hand_along_is_not_trusted(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    model.config.sliding_window = 8
    assert attention.isolation(model) == "per_document_forward"


@torch.no_grad()
def test_attention_that_is_not_ours_gets_one_pass_for_each_document(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False), "eager")
    assert attention.isolation(model) == "per_document_forward"


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_state_that_runs_across_tokens_is_noticed(tmp_path):
    """Mamba has no attention: nothing keeps its state apart."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "mamba", hidden_size=32, num_hidden_layers=2, vocab_size=64, state_size=4
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.normal_(std=0.3)
    assert attention.isolation(model) == "per_document_forward"


@torch.no_grad()
def test_a_layer_that_mixes_neighbours_is_noticed_whatever_it_says_of_itself(tmp_path):
    """A short convolution under the name of a llama: only the probe can tell."""
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    assert attention.isolation(model) == "varlen"

    def mixed(_module, _args, out):
        return out + torch.cat((torch.zeros_like(out[:, :1]), out[:, :-1]), 1)

    model.model.layers[0].mlp.register_forward_hook(mixed)
    attention._known.pop(model)
    assert attention.isolation(model) == "per_document_forward"


@torch.no_grad()
def test_generation_with_a_cache_is_transformers_own(tmp_path):
    for kind in ("llama", "gemma3_text", "gemma2"):
        directory = tiny_model(tmp_path, kind, tokenizer=False)
        prompt = torch.arange(5, 29)[None]  # longer than gemma's window
        call = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        ours = load(directory).generate(prompt, attention_mask=torch.ones_like(prompt), **call)
        theirs = load(directory, "eager").generate(
            prompt, attention_mask=torch.ones_like(prompt), **call
        )
        assert torch.equal(ours, theirs), kind


def test_dropout_of_attention_weights_is_refused(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False, attention_dropout=0.1)).train()
    with pytest.raises(ModelError, match="attention_dropout") as caught:
        packed(model, batch_of(random_examples((4,))))
    assert caught.value.got == 0.1


def test_a_model_without_a_head_is_refused(tmp_path):
    model = load(tiny_model(tmp_path, "llama", tokenizer=False))
    with pytest.raises(ModelError):
        attention.decoder(model.model)


def test_runs_are_neighbours_of_one_length():
    assert attention.runs((0, 3, 6, 10)) == ((2, 3), (1, 4))
    assert attention.runs((0, 7)) == ((1, 7),)


def test_a_window_counts_the_token_itself():
    mask = attention.causal_mask(4, 2, torch.device("cpu"))
    assert mask.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
