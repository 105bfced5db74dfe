"""Attributions against models where they are known, and against words that are taken away by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.explaining.attribution_view import tables, view
from tl_toolkit.explaining.attributions import GRADIENT_INPUT, INTEGRATED, OCCLUSION, TOLERANCE, attribute
from tl_toolkit.explaining.deletion import RANDOM, SHARES, areas, deletion_curves
from tl_toolkit.explaining.readings import Reading, read
from tl_toolkit.explaining.subjects import Subject
from tl_toolkit.models import (
    AwdLstmConfig,
    AwdLstmForSequenceClassification,
    RnnConfig,
    RnnEncoderDecoderConfig,
    RnnEncoderDecoderForConditionalGeneration,
    RnnForSequenceClassification,
    RnnForTokenClassification,
)
from tl_toolkit.tasks.pair_processing import with_end

TEXT = "the cat sat on the mat and saw a rat"
TOKENIZER = build_tokenizer("word", [TEXT], min_frequency=1)
SIZES: dict[str, Any] = {"vocab_size": len(TOKENIZER), "embedding_size": 5, "hidden_size": 7, "pad_token_id": 0}


class Linear(torch.nn.Module):
    """Logits that are the sum over tokens of W e."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(TOKENIZER), 5, padding_idx=0)
        self.head = torch.nn.Linear(5, 2, bias=False)
        self.config = SimpleNamespace(
            is_encoder_decoder=False, problem_type=None, id2label={0: "no", 1: "yes"}, get_text_config=SimpleNamespace
        )

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, attention_mask: Any = None, **_: Any) -> Any:
        vectors = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        return SimpleNamespace(logits=self.head((vectors * attention_mask[..., None]).sum(1)))


def subject(kind: str) -> Subject:
    torch.manual_seed(2)
    architecture, tokenizer = "ForSequenceClassification", TOKENIZER
    recurrent: dict[str, Any] = {**SIZES, "num_hidden_layers": 1, "num_labels": 3}
    model: Any
    if kind == "linear":
        model = Linear()
    elif kind == "lstm":
        model = RnnForSequenceClassification(RnnConfig(**recurrent, direction="backward", pooling="attention"))
    elif kind == "awd":
        model = AwdLstmForSequenceClassification(AwdLstmConfig(**SIZES, num_hidden_layers=2, direction="both"))
    elif kind == "bert":
        heads = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 11, "initializer_range": 0.1}
        model = BertForSequenceClassification(BertConfig(**{**SIZES, "hidden_size": 8}, **heads))
    elif kind == "tagger":
        characters = {"character_encoder": "cnn", "character_feature_size": 3, "character_vocabulary": "acehmorstw"}
        model = RnnForTokenClassification(RnnConfig(**recurrent, bidirectional=True, **characters))
        architecture = "ForTokenClassification"
    for parameter in model.parameters():
        parameter.data[parameter.data.abs() > 0] *= 2
    return Subject(kind, "", model.eval(), tokenizer, architecture)


@pytest.fixture
def translator(tmp_path: Any) -> Subject:
    torch.manual_seed(4)
    tokenizer = with_end(build_tokenizer("word", [TEXT], min_frequency=1))
    ends = {"bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2, "num_hidden_layers": 1}
    config = RnnEncoderDecoderConfig(**{**SIZES, **ends}, attention="luong", reverse_source=True)
    model = RnnEncoderDecoderForConditionalGeneration(config).eval()
    tokenizer.save_pretrained(tmp_path)
    return Subject("translator", str(tmp_path), model, tokenizer, "ForConditionalGeneration")


def test_a_linear_model_has_the_products_of_its_weights_and_vectors() -> None:
    linear = subject("linear")
    reading = read(linear, TEXT)
    found, errors = attribute(reading)
    chosen = int(reading.targets == ["yes"])
    weights = linear.model.head.weight[chosen] - linear.model.head.weight[1 - chosen]
    vectors = linear.model.embedding(linear.encode(TEXT)["input_ids"][0, [span.start for span in reading.spans]])
    expected = (vectors @ weights).detach().numpy()
    for method in (INTEGRATED, GRADIENT_INPUT, OCCLUSION):
        np.testing.assert_allclose(found[method][0], expected, rtol=1e-4, atol=1e-6)
    assert errors.max() < 1e-5
    order = np.argsort(-expected)
    curves = {(method, seed): line for _, method, seed, line in deletion_curves(reading, found, 0)}
    kept = expected.sum() - expected[order[:3]].sum()
    np.testing.assert_allclose(curves[INTEGRATED, 0][3], 1 / (1 + np.exp(-kept)), rtol=1e-5)
    assert all(line[0] == pytest.approx(curves[INTEGRATED, 0][0]) for line in curves.values())


def checked(reading: Reading) -> None:
    """Completeness against the model itself, and occlusion and shorter texts by hand."""
    found, errors = attribute(reading)
    count, ids = len(reading.words), reading.inputs["input_ids"]
    blank = reading.blanked(np.ones((1, count), bool))
    with torch.no_grad():
        whole, padded = reading.scores(reading.inputs)[0].double(), reading.scores(blank)[0].double()
        one = reading.scores({**reading.inputs, **reading.blanked(np.eye(count, dtype=bool)[[3]])})[0].double()
    np.testing.assert_allclose(found[OCCLUSION][:, 3], whole - one, atol=1e-5)
    assert blank["input_ids"][0, reading.spans[3].start] == 0 and (one - whole).abs().max() > 1e-3
    if INTEGRATED in found:
        assert errors.max() <= TOLERANCE
        np.testing.assert_allclose(found[INTEGRATED].sum(1), whole - padded, rtol=TOLERANCE, atol=TOLERANCE)
    removed = np.zeros((3, count), bool)
    removed[0, [0, 4]] = removed[1, 1:] = True
    together = reading.scores_without(removed)
    alone = np.concatenate([reading.scores_without(row[None]) for row in removed])
    answers = [place for place, own in enumerate(reading.own) if own in (None, 0)]
    np.testing.assert_allclose(together[1:, answers], alone[1:, answers], atol=1e-5)  # padding changes nothing
    np.testing.assert_allclose(together[2], whole, atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-3 and ids.shape[1] == reading.time


@pytest.mark.parametrize("kind", ["lstm", "awd", "bert", "tagger"])
def test_sums_and_words_that_are_taken_away(kind: str) -> None:
    reading = read(subject(kind), TEXT)
    assert reading.words == TEXT.split()
    assert (reading.vectors is None) == (kind == "awd")
    checked(reading)
    if kind == "tagger":
        assert reading.targets[1].startswith("cat: LABEL_") and reading.own == list(range(10))
        shorter = read(reading.subject, "the sat on the mat and saw a rat")
        removed = np.zeros((1, 10), bool)
        removed[0, 1] = True
        tag = reading.score  # the tags of the whole text, at the places of the shorter one
        with torch.no_grad():
            outputs = reading.subject.model(**shorter.inputs)
            places = torch.tensor([[0, 0, *range(1, 9)]])
            np.testing.assert_allclose(reading.scores_without(removed), tag(outputs, places), atol=1e-5)


def test_words_that_an_encoder_decoder_writes(translator: Subject) -> None:
    reading = read(translator, TEXT)
    assert reading.words == TEXT.split() and reading.time == 11
    checked(reading)
    with torch.no_grad():
        written = translator.written(translator.encode(TEXT))[None]
        loss = translator.model(**translator.encode(TEXT), labels=written[:, 1:]).loss
    scores = reading.scores_blanked(np.zeros((1, 10), bool))
    np.testing.assert_allclose(scores.sum(), -loss.item() * (written.shape[1] - 1), rtol=1e-4)
    assert view([translator], [TEXT]).pictures[0].name == "attributions-0"


def test_areas_and_their_intervals() -> None:
    lines = [(0, INTEGRATED, 0, 1.0), (1, INTEGRATED, 0, 0.5), *((text, RANDOM, seed, 0.2) for text in (0, 1)
                                                                 for seed in (0, 1))]  # fmt: skip
    rows = [("m", text, 0, *key, share, 1 - slope * share) for text, *key, slope in lines for share in SHARES]
    frame = pd.DataFrame(rows, columns=["model", "text", "answer", "method", "seed", "share", "probability"])
    found = areas(frame).set_index("method")
    assert found["area"].tolist() == pytest.approx([1 - 0.75 * 0.45, 1 - 0.2 * 0.45])
    gains = np.array([0.8, 0.3]) * 0.45
    assert found.loc[INTEGRATED, "gain"] == pytest.approx(gains.mean())
    half = 1.96 * gains.std(ddof=1) / np.sqrt(2)
    assert found.loc[INTEGRATED, ["low", "high"]].tolist() == pytest.approx([gains.mean() - half, gains.mean() + half])


def test_tables_and_sentences_of_two_models() -> None:
    both = [subject("lstm"), subject("bert")]
    values, answers, deletion = tables(both, [TEXT, "a cat"])
    assert len(values) == 2 * 3 * (10 + 2) and len(answers) == 4
    assert len(deletion) == 2 * 2 * (3 + 5) * len(SHARES)
    shown = view(both, [TEXT, "a cat"])
    assert len(shown.sentences) == 2 and [own.name for own in shown.pictures] == ["attributions", "deletion"]
    one_word = view(both[:1], ["cat"])
    assert one_word.numbers["deletion_area"].empty and "one word each" in one_word.sentences[1]
