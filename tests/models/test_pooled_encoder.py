"""Encoders of transformers with pooling: what they compute, and that saved folders load by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    T5Config,
)

from tl_toolkit.models import PooledEncoderConfig, PooledEncoderForSequenceClassification, PooledEncoderModel
from tl_toolkit.strategies.layer_groups import group_names, layer_groups

VOCABULARY = 31
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
ENCODERS = {
    "bert": BertConfig(**SIZES, intermediate_size=17, max_position_embeddings=23),
    "roberta": RobertaConfig(**SIZES, intermediate_size=17, max_position_embeddings=23),
    "distilbert": DistilBertConfig(vocab_size=VOCABULARY, dim=12, n_layers=2, n_heads=3, hidden_dim=17),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=12, n_layer=2, n_head=3),
    "llama": LlamaConfig(**SIZES, intermediate_size=17, max_position_embeddings=23),
}


def pooled(encoder: str, **settings: object) -> PooledEncoderForSequenceClassification:
    torch.manual_seed(0)
    config = PooledEncoderConfig(encoder_config=ENCODERS[encoder].to_dict(), num_labels=3, **settings)
    return PooledEncoderForSequenceClassification(config).eval()


def batch(padding: int = 0) -> dict[str, torch.Tensor]:
    """Five texts of 7 tokens and `padding` masked positions after them."""
    ids = torch.randint(2, VOCABULARY, (5, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    blank = torch.zeros((5, padding), dtype=torch.long)
    return {"input_ids": torch.cat([ids, blank], 1), "attention_mask": torch.cat([mask, blank], 1)}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", ["cls", "last", "mean", "max"])
def test_the_vector_of_a_text_is_pooled_from_the_encoder_without_padding(encoder: str, kind: str) -> None:
    model = pooled(encoder, pooling=kind)
    outputs = model.model(**batch(padding=4))
    plain = model.model.encoder(**batch()).last_hidden_state
    expected = {"cls": plain[:, 0], "last": plain[:, -1], "mean": plain.mean(1), "max": plain.amax(1)}[kind]
    torch.testing.assert_close(outputs.pooler_output, expected, rtol=1e-4, atol=1e-5)
    logits = model.classifier(expected)
    torch.testing.assert_close(model(**batch(padding=4)).logits, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["llama", "roberta"])
@pytest.mark.parametrize("kind", ["cls", "last", "mean", "max"])
def test_padding_on_the_left_is_not_pooled(encoder: str, kind: str) -> None:
    """With an encoder whose positions do not count padding."""
    model, blank = pooled(encoder, pooling=kind), torch.ones((5, 4), dtype=torch.long)  # RoBERTa's padding id is 1
    ids, mask = batch().values()
    left = model.model(torch.cat([blank, ids], 1), torch.cat([0 * blank, mask], 1)).pooler_output
    torch.testing.assert_close(left, model.model(ids, mask).pooler_output, rtol=1e-4, atol=1e-5)


def test_a_normalised_vector_keeps_its_direction_and_has_features_of_mean_square_one() -> None:
    model, plain = pooled("bert", normalize=True), pooled("bert")
    vectors, expected = model.model(**batch()).pooler_output, plain.model(**batch()).pooler_output
    torch.testing.assert_close(vectors.square().mean(1), torch.ones(5))
    torch.testing.assert_close(torch.cosine_similarity(vectors, expected), torch.ones(5))
    assert not torch.allclose(vectors, expected)


def test_an_empty_text_has_a_finite_prediction() -> None:
    model = pooled("bert", normalize=True)
    empty = model(input_ids=torch.zeros((2, 0), dtype=torch.long), attention_mask=torch.zeros((2, 0), dtype=torch.long))
    assert empty.logits.isfinite().all()


@pytest.mark.parametrize(
    ("problem", "labels"),
    [
        ("single_label_classification", torch.tensor([0, 1, 2, 0, -100])),
        ("multi_label_classification", torch.eye(5, 3)),
        ("regression", torch.randn(5, 3)),
    ],
)
def test_the_loss_is_that_of_the_problem_type(problem: str, labels: torch.Tensor) -> None:
    model = pooled("bert", problem_type=problem)
    outputs = model(**batch(), labels=labels)
    functional = torch.nn.functional
    expected = {
        "single_label_classification": functional.cross_entropy,
        "multi_label_classification": functional.binary_cross_entropy_with_logits,
        "regression": functional.mse_loss,
    }[problem]
    torch.testing.assert_close(outputs.loss, expected(outputs.logits, labels))


def test_token_types_reach_the_encoder() -> None:
    model, types = pooled("bert"), torch.ones((5, 7), dtype=torch.long)
    with_types = model(**batch(), token_type_ids=types).logits
    assert not torch.allclose(with_types, model(**batch()).logits)


def test_layer_groups_run_from_the_embeddings_to_the_classifier() -> None:
    body = "model.encoder"
    names = group_names(layer_groups(pooled("bert")))
    assert names == [f"{body}.embeddings", f"{body}.encoder.layer.0", f"{body}.encoder.layer.1", "classifier"]
    names = group_names(layer_groups(pooled("llama")))
    assert names[0] == f"{body}.embed_tokens"
    assert names[-1] == f"{body}.norm, classifier"


def test_every_parameter_has_a_gradient_and_checkpointing_does_not_change_it() -> None:
    gradients = []
    for checkpointed in (False, True):
        model = pooled("bert")
        assert model.model.encoder.pooler is None
        if checkpointed:
            model.gradient_checkpointing_enable()
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(**batch(), labels=torch.tensor([0, 1, 2, 0, 1])).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_an_encoder_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="encoder-decoder"):
        PooledEncoderConfig(encoder_config=T5Config())


@pytest.mark.parametrize("encoder", ["bert", "gpt2"])
def test_a_folder_loads_as_classifier_and_as_body(encoder: str, tmp_path: Path) -> None:
    model = pooled(encoder, pooling="last", normalize=True)
    model.save_pretrained(tmp_path)
    for loaded in (AutoModelForSequenceClassification.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert isinstance(loaded, (PooledEncoderForSequenceClassification, PooledEncoderModel))
        assert (loaded.config.pooling, loaded.config.normalize) == ("last", True)
        first = loaded(**batch())
        expected = model(**batch()) if hasattr(loaded, "classifier") else model.model(**batch())
        assert torch.equal(first[0], expected[0])


def test_a_half_precision_encoder_configuration_gives_a_float32_model() -> None:
    half = BertConfig(**SIZES, intermediate_size=17, dtype="float16")
    model = AutoModelForSequenceClassification.from_config(PooledEncoderConfig(encoder_config=half))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


ELSEWHERE = """
import sys, torch
from transformers import AutoModelForSequenceClassification, pipeline
assert "tl_toolkit" not in sys.modules
try:
    AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
else:
    raise AssertionError("loaded without its code")
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True)
print(model(input_ids=torch.tensor([[5, 7, 11]])).logits.tolist())
"""


def test_a_folder_loads_where_the_toolkit_is_not_installed(tmp_path: Path) -> None:
    model = pooled("bert", pooling="max")
    model.save_pretrained(tmp_path / "model")
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    command = [sys.executable, "-P", str(script), str(tmp_path / "model")]
    environment = {"PATH": "", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    found = torch.tensor(eval(run.stdout))  # noqa: S307  printed by the script above
    torch.testing.assert_close(found, model(input_ids=torch.tensor([[5, 7, 11]])).logits)


def test_the_given_configuration_is_not_changed() -> None:
    given = LlamaConfig(**SIZES, intermediate_size=17, use_cache=True)
    config = PooledEncoderConfig(encoder_config=given)
    assert given.use_cache
    assert not config.encoder_config.use_cache
