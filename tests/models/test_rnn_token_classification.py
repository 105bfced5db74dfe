"""The token head: its loss and tags with and without a CRF, padding, and the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification, pipeline

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.models import RnnConfig, RnnForTokenClassification


def make_model(crf: bool, **settings: object) -> RnnForTokenClassification:
    torch.manual_seed(3)
    config = RnnConfig(vocab_size=23, embedding_size=5, hidden_size=7, num_labels=3, crf=crf, **settings)
    model = RnnForTokenClassification(config).eval()
    if model.crf is not None:
        for parameter in model.crf.parameters():
            torch.nn.init.normal_(parameter)
    return model


IDS = torch.tensor([[4, 9, 2, 7, 5], [8, 3, 1, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
TAGS = torch.tensor([[0, 2, -100, 1, 1], [2, 2, 0, -100, -100]])


@pytest.mark.parametrize("crf", [False, True])
def test_the_loss_is_a_mean_over_all_labels(crf: bool) -> None:
    model = make_model(crf)
    whole = model(IDS, MASK, labels=TAGS)
    assert whole.log_likelihood.shape == (2,)
    torch.testing.assert_close(whole.loss, -whole.log_likelihood.sum() / 7)
    parts = [model(IDS[i : i + 1], MASK[i : i + 1], labels=TAGS[i : i + 1], num_items_in_batch=7) for i in range(2)]
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss)


def test_without_a_crf_the_loss_is_cross_entropy() -> None:
    model = make_model(False)
    result = model(IDS, MASK, labels=TAGS)
    expected = torch.nn.functional.cross_entropy(result.logits.flatten(0, 1), TAGS.flatten())
    torch.testing.assert_close(result.loss, expected)
    assert result.predicted_tags[MASK.bool()].equal(result.logits.argmax(-1)[MASK.bool()])
    assert (result.predicted_tags[~MASK.bool()] == -100).all()


def test_with_a_crf_logits_are_log_marginals() -> None:
    model = make_model(True)
    result = model(IDS, MASK, labels=TAGS)
    real = MASK.bool()
    torch.testing.assert_close(result.logits[real].exp().sum(-1), torch.ones(int(real.sum())))
    torch.testing.assert_close(result.logits[real].softmax(-1), result.logits[real].exp())
    assert (result.predicted_tags[~real] == -100).all() and (result.predicted_tags[real] >= 0).all()
    # Labels of masked positions are ignored.
    other = TAGS.masked_fill(~real, 1)
    torch.testing.assert_close(model(IDS, MASK, labels=other).loss, result.loss)
    assert model.train()(IDS, MASK, labels=TAGS).predicted_tags is None


@pytest.mark.parametrize("crf", [False, True])
def test_padding_and_batch_do_not_change_results(crf: bool) -> None:
    model = make_model(crf, bidirectional=True)
    batch = model(IDS, MASK, labels=TAGS)
    alone = model(IDS[1:, :3], labels=TAGS[1:, :3])
    left = [torch.nn.functional.pad(part[1:, :3], (2, 0), value=value) for part, value in ((IDS, 0), (MASK, 0))]
    padded = model(*left, labels=torch.nn.functional.pad(TAGS[1:, :3], (2, 0), value=-100))
    for one in (alone.logits, padded.logits[:, 2:]):
        torch.testing.assert_close(one[0], batch.logits[1, :3])
    for one in (alone.predicted_tags, padded.predicted_tags[:, 2:]):
        assert one[0].equal(batch.predicted_tags[1, :3])
    torch.testing.assert_close(padded.log_likelihood[0], batch.log_likelihood[1])


def test_pipeline_gives_marginal_probabilities(tmp_path: Path) -> None:
    tokenizer = build_tokenizer("whitespace", ["we went to rome and oslo"], min_frequency=1)
    model = make_model(True, id2label={0: "O", 1: "B-place", 2: "I-place"})
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tagger = pipeline("token-classification", str(tmp_path), ignore_labels=[])
    found = tagger("we went to rome")
    logits = AutoModelForTokenClassification.from_pretrained(tmp_path)(
        **tokenizer("we went to rome", return_tensors="pt")
    )
    best = logits.logits.exp().max(-1)
    assert [entity["score"] for entity in found] == pytest.approx(best.values[0].tolist())
    assert [entity["entity"] for entity in found] == [
        model.config.id2label[index] for index in best.indices[0].tolist()
    ]


def test_a_crf_learns_transitions() -> None:
    """Tags alternate independently of the tokens: only transitions can model this."""
    torch.manual_seed(0)
    model = make_model(True).train()
    optimizer = torch.optim.Adam(model.crf.parameters(), lr=0.3)
    ids = torch.full((1, 6), 5)
    for _ in range(60):
        losses = [model(ids, labels=torch.tensor([tags])).loss for tags in ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    path = model.eval()(ids).predicted_tags[0].tolist()
    assert path in ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])
