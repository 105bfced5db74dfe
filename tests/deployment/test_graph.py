"""The graphs of ten configurations compute what the models compute, at other sizes and with padding on either side.

A tagger with a CRF takes ten times as long as the others, so only `workflows/test_export.py` exports one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from tl_toolkit import models
from tl_toolkit.errors import UserError

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tl_toolkit.deployment.check import EXAMPLE, OTHER, check_sizes, inputs_for  # noqa: E402
from tl_toolkit.deployment.graph import write_graph  # noqa: E402
from tl_toolkit.deployment.quantise import quantise  # noqa: E402
from tl_toolkit.deployment.session import OnnxModel  # noqa: E402

COMMON = {"vocab_size": 53, "num_labels": 3, "pad_token_id": 0}
SIZES = {**COMMON, "embedding_size": 7, "hidden_size": 11}
LETTERS = {"character_vocabulary": "abcdefg", "character_feature_size": 6, "character_embedding_size": 5}
BERT = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 17}


def rnn(head: str = "SequenceClassification", **settings: Any) -> Any:
    return getattr(models, f"RnnFor{head}")(models.RnnConfig(**SIZES, **settings))


def awd_lstm() -> Any:
    config = models.AwdLstmConfig(**SIZES, num_hidden_layers=2, direction="both", max_backprop_tokens=5)
    return models.AwdLstmForSequenceClassification(config)


def self_attention() -> Any:
    return models.SelfAttentionForSequenceClassification(
        models.SelfAttentionConfig(**COMMON, hidden_size=12, num_attention_heads=2, pooling="attention")
    )


def bag_of_ngrams() -> Any:
    model = models.BagOfNgramsForSequenceClassification(models.BagOfNgramsConfig(**COMMON))
    keys = torch.cat([torch.arange(1, 54), torch.arange(54, 54 * 54).unfold(0, 1, 3)[:, 0]])
    model.set_ngrams(keys, torch.rand(len(keys)) + 1)
    return model


def pooled_encoder() -> Any:
    encoder = BertConfig(vocab_size=53, pad_token_id=0, max_position_embeddings=19, **BERT)
    config = models.PooledEncoderConfig(encoder_config=encoder, pooling="mean", normalize=True, num_labels=3)
    return models.PooledEncoderForSequenceClassification(config)


CASES = {
    "LSTM, last": lambda: rnn(),
    "GRU, two directions and layers, concat": lambda: rnn(
        cell_type="gru", bidirectional=True, num_hidden_layers=2, pooling="concat"
    ),
    "Elman, backward, attention": lambda: rnn(cell_type="rnn_relu", direction="backward", pooling="attention"),
    "one-hot, two directions, max": lambda: rnn(embedding_type="one_hot", bidirectional=True, pooling="max"),
    "tags, characters by LSTM": lambda: rnn(
        "TokenClassification", cell_type="rnn_tanh", character_encoder="rnn", **LETTERS
    ),
    "AWD-LSTM, two directions": awd_lstm,
    "self-attention": self_attention,
    "n-grams": bag_of_ngrams,
    "pooled encoder": pooled_encoder,
    "BERT, tags": lambda: BertForTokenClassification(BertConfig(**COMMON, **BERT)),
}


def drawn(case: str) -> Any:
    """The model of a case, with weights that make every part matter."""
    torch.manual_seed(7)
    model = CASES[case]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower() and not ("weight_ih" in name and case.startswith("one-hot")):
                parameter.uniform_(-0.7, 0.7)
    return model.eval()


def inputs_of(model: Any) -> list[str]:
    spelt = getattr(model.config, "character_encoder", "none") != "none"
    return ["input_ids", "attention_mask", *(["character_ids"] if spelt else [])]


def exported(model: Any, path: Path) -> OnnxModel:
    example, other = (inputs_for(model, inputs_of(model), *sizes) for sizes in (EXAMPLE, OTHER))
    write_graph(model, example, other, ["logits"], path)
    return OnnxModel(path, model.config)


@pytest.mark.parametrize("case", CASES)
def test_graphs_equal_the_model_at_other_sizes(case: str, tmp_path: Path) -> None:
    model = drawn(case)
    longest = getattr(getattr(model.config, "encoder_config", None), "max_position_embeddings", None)
    assert check_sizes(model, exported(model, tmp_path / "model.onnx"), longest) < 2e-5
    assert str(Path(__file__).parents[2]).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_8_bit_weights_are_similar_and_other_weights_are_found(tmp_path: Path) -> None:
    import onnx

    model = drawn("LSTM, last")
    right = exported(model, tmp_path / "model.onnx")
    quantise(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert "DynamicQuantizeLSTM" in operators and "LSTM" not in operators
    quantised = OnnxModel(tmp_path / "int8.onnx", model.config)
    assert 1e-4 < check_sizes(model, quantised, None, tolerance=None) < 0.2
    with torch.no_grad():
        model.classifier.bias[1] += 0.01
    with pytest.raises(UserError, match="logits differs by 0.01 with 1 rows of 1 tokens"):
        check_sizes(model, right, None)
