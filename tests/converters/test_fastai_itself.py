"""Conversions compared with fastai, if it is installed (see docs/converters.md)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tl_toolkit.data.fastai_tokenizer import SPECIAL_TOKENS, fastai_tokenizer
from tl_toolkit.workflows.convert import ConvertArguments, convert

core = pytest.importorskip("fastai.text.models.core", reason="fastai is not installed", exc_type=ImportError)
awdlstm = pytest.importorskip("fastai.text.models.awdlstm", reason="fastai is not installed", exc_type=ImportError)
learner = pytest.importorskip("fastai.learner", reason="fastai is not installed", exc_type=ImportError)
optimizer = pytest.importorskip("fastai.optimizer", reason="fastai is not installed", exc_type=ImportError)

VOCABULARY = [*SPECIAL_TOKENS, "the", "a", ".", "film", "was", "good", "bad", *["xxfake"] * 7]
LABELS = ["neg", "neutral", "pos"]
SIZES = {"emb_sz": 5, "n_hid": 7, "n_layers": 3}
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "backward"])


def some_ids(rows: int = 2, time: int = 11) -> Tensor:
    return torch.randint(2, len(VOCABULARY), (rows, time), generator=torch.Generator().manual_seed(2))


def language_model() -> Any:
    return core.get_language_model(awdlstm.AWD_LSTM, len(VOCABULARY), config={**awdlstm.awd_lstm_lm_config, **SIZES})


def classifier() -> Any:
    config = {**awdlstm.awd_lstm_clas_config, **SIZES}
    return core.get_text_classifier(awdlstm.AWD_LSTM, len(VOCABULARY), len(LABELS), seq_len=13, config=config)


def trained(model: Any) -> tuple[Any, Any]:
    """A few steps, so that batch norm has statistics and the optimiser has a state."""
    opt = optimizer.Adam([list(model.parameters())], lr=0.01)
    for _ in range(3):
        model.reset()
        model(some_ids())[0].square().mean().backward()
        opt.step()
        opt.zero_grad()
    return model.eval(), opt


def save(folder: Path, model: Any, opt: Any, vocabulary: list) -> dict[str, str]:
    learner.save_model(folder / "w.pth", model, opt)
    (folder / "v.pkl").write_bytes(pickle.dumps(vocabulary))
    return {"source": "fastai", "weights": str(folder / "w.pth"), "vocab": str(folder / "v.pkl")}


@DIRECTIONS
@torch.no_grad()
def test_language_model_round_trip(tmp_path, direction):
    torch.manual_seed(3)
    with torch.enable_grad():
        model, opt = trained(language_model())
    convert(ConvertArguments(str(tmp_path / "ours"), direction=direction, **save(tmp_path, model, opt, VOCABULARY)))
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    ids = some_ids()
    model.reset()
    expected = model(ids.flip(1))[0].flip(1) if direction == "backward" else model(ids)[0]
    torch.testing.assert_close(ours(ids).logits, expected, atol=1e-5, rtol=0)

    convert(ConvertArguments(str(tmp_path / "back"), target="fastai", model_name_or_path=str(tmp_path / "ours")))
    again = language_model()
    learner.load_model(tmp_path / "back" / "weights.pth", again, None, with_opt=False)
    again.eval().reset()
    model.reset()
    assert torch.equal(again(ids)[0], model(ids)[0])
    assert pickle.loads((tmp_path / "back" / "vocab.pkl").read_bytes()) == VOCABULARY


@DIRECTIONS
@torch.no_grad()
def test_classifier_round_trip(tmp_path, direction):
    torch.manual_seed(3)
    with torch.enable_grad():
        model, opt = trained(classifier())
    given = save(tmp_path, model, opt, [VOCABULARY, LABELS])
    convert(ConvertArguments(str(tmp_path / "ours"), direction=direction, **given))
    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours")
    ids = some_ids()
    read = ids.flip(1) if direction == "backward" else ids
    expected = model(read)[0]
    torch.testing.assert_close(ours(ids).logits, expected, atol=1e-5, rtol=0)
    # fastai reverses the text and pads the last chunk on the right
    padded = torch.cat([read[:1], torch.ones(1, 2, dtype=torch.long)], dim=1)
    both = torch.cat([some_ids(1, 13), padded])
    mask = (both != 1).long()
    mine = (
        torch.cat([both[:1].flip(1), torch.cat([ids[:1], both[1:, 11:]], dim=1)]) if direction == "backward" else both
    )
    torch.testing.assert_close(ours(mine, attention_mask=mask).logits, model(both)[0], atol=1e-5, rtol=0)

    convert(ConvertArguments(str(tmp_path / "back"), target="fastai", model_name_or_path=str(tmp_path / "ours")))
    again = classifier()
    learner.load_model(tmp_path / "back" / "weights.pth", again, None, with_opt=False)
    assert torch.equal(again.eval()(read)[0], expected)


@torch.no_grad()
def test_our_model_in_fastai(tmp_path):
    from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM

    config = AwdLstmConfig(vocab_size=len(VOCABULARY), embedding_size=5, hidden_size=7, pad_token_id=1)
    ours = AwdLstmForCausalLM(config).eval()
    ours.save_pretrained(tmp_path / "ours")
    fastai_tokenizer(VOCABULARY).save_pretrained(tmp_path / "ours")
    convert(ConvertArguments(str(tmp_path / "back"), target="fastai", model_name_or_path=str(tmp_path / "ours")))
    theirs = language_model()
    learner.load_model(tmp_path / "back" / "weights.pth", theirs, None, with_opt=False)
    theirs.eval().reset()
    torch.testing.assert_close(theirs(some_ids())[0], ours(some_ids()).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_fastai_loads_our_language_model(tmp_path):
    """The steps of `learn.load_pretrained`: map rows to a new vocabulary, then load weights by order."""
    from fastai.text.learner import clean_raw_keys, load_ignore_keys, match_embeds

    from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM

    ours = AwdLstmForCausalLM(AwdLstmConfig(vocab_size=len(VOCABULARY), embedding_size=5, hidden_size=7)).eval()
    ours.save_pretrained(tmp_path / "ours")
    fastai_tokenizer(VOCABULARY).save_pretrained(tmp_path / "ours")
    convert(ConvertArguments(str(tmp_path / "back"), target="fastai", model_name_or_path=str(tmp_path / "ours")))
    old = pickle.loads((tmp_path / "back" / "vocab.pkl").read_bytes())
    new = [*old[:9], *reversed(old[9:16]), *old[16:]]
    theirs = language_model()
    weights = torch.load(tmp_path / "back" / "weights.pth", weights_only=True)
    load_ignore_keys(theirs, clean_raw_keys(match_embeds(weights, old, new)))
    theirs.eval().reset()
    moved = torch.tensor([*range(9), *range(15, 8, -1)])
    ids = some_ids() % 16
    expected = ours(moved[ids]).logits[..., moved]
    torch.testing.assert_close(theirs(ids)[0][..., :16], expected, atol=1e-5, rtol=0)


def rules(text: str) -> str:
    """Apply fastai's text rules in order."""
    from fastai.text.core import defaults

    for rule in defaults.text_proc_rules:
        text = rule(text)
    return text


TEXTS = [
    "Wow!!!! I LOVED it, it was sooooo good -- Dr. Who's #1 fan/critic. A B c NASA's iPhone, McDonald I'm",
    "no no no no! very very bad bad bad. Ha ha ha<br /><br />&amp; &lt;b&gt; &eacute; &quot;x&quot; \\n <unk> @-@ ...",
    "",
    " ",
    "A",
    "aaa",
    "bbb aaa bbb",
    "\u00c9COLE \u00c9cole x\u00b2 O'NEIL \U0001f600\U0001f600\U0001f600 ----------",
    "a  b \n\n c\t \n d",
    "no no no\nno no",
    "it is is is, is",
    "MMMM mmmmm \\\\ // ##",
    "Go\u00a0\u00a0Go 100,000 $5.00 A1 a1A II. III",
    "x" * 150 + " y",
    "-" * 45 + " end",
    'l\'HELLO Hello. HELLO. H. (Hi) "Hi" 3D',
]


@pytest.mark.parametrize("text", TEXTS)
def test_rules_equal_fastai(text):
    normalized = fastai_tokenizer(VOCABULARY).backend_tokenizer.normalizer.normalize_str(text)
    expected = rules(text).replace("xxrep 150 x", "xxrep 99 x")  # the highest count
    assert f"xxbos {normalized}".replace("\u2581", " ") == expected


def test_real_texts_are_split_like_spacy(test_data):
    """On other reviews, rules always agreed, and tokens agreed in 98 % of the texts."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("spacy")
    from fastai.text.core import SpacyTokenizer, TokenizeWithRules

    texts = list(pd.read_parquet(test_data / "data" / "imdb" / "test.parquet")["text"][31::1009])
    tokenizer = fastai_tokenizer(VOCABULARY).backend_tokenizer
    same_rules, same_tokens = 0, 0
    for text, tokens in zip(texts, TokenizeWithRules(SpacyTokenizer())(texts), strict=True):
        normalized = tokenizer.normalizer.normalize_str(text)
        same_rules += f"xxbos {normalized}".replace("\u2581", " ") == rules(text)
        pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]
        same_tokens += ["xxbos", *pieces] == list(tokens)
    assert same_rules == len(texts) > 20
    assert same_tokens / len(texts) > 0.9
