from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tl_toolkit.config.arguments import ModelArguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.loading.model import make_model
from tl_toolkit.loading.tokenizer import make_tokenizer
from tl_toolkit.loading.vocabulary import adapt_vocabulary, is_word_level, relearn_words
from tl_toolkit.models import (
    AwdLstmConfig,
    AwdLstmForCausalLM,
    AwdLstmForSequenceClassification,
    RnnConfig,
    RnnForCausalLM,
    SelfAttentionConfig,
    SelfAttentionForCausalLM,
)

OLD_TEXTS = ["the iron lead and the tin", "a fig and a plum", "gold ore"]
NEW_TEXTS = ["Gold and Zinc", "the plum and the pear", "a Pear of zinc", "quince melon"]
KNOWN = {"Gold": "gold", "and": "and", "the": "the", "plum": "plum", "a": "a"}
NEW = {"Zinc", "zinc", "pear", "Pear", "of", "quince", "melon"}


@pytest.fixture
def old() -> PreTrainedTokenizerFast:
    return build_tokenizer("word", OLD_TEXTS, min_frequency=1)


@pytest.fixture
def new() -> PreTrainedTokenizerFast:
    """Capitals, and special tokens with other ids and spellings."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["quince", "[EOS]", "[PAD]", *sorted(KNOWN), "[UNK]", *sorted(NEW - {"quince"})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", eos_token="[EOS]", bos_token=None
    )


SIZES: dict[str, Any] = {"embedding_size": 7, "hidden_size": 13, "num_hidden_layers": 2}


def make(kind: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    settings = {"vocab_size": len(tokenizer), **ids}
    torch.manual_seed(0)
    if kind == "rnn":
        model: Any = RnnForCausalLM(RnnConfig(**settings, **SIZES))
    elif kind == "tied rnn":
        model = RnnForCausalLM(RnnConfig(**settings, embedding_size=7, hidden_size=7, tie_word_embeddings=True))
    elif kind == "awd_lstm":
        model = AwdLstmForCausalLM(AwdLstmConfig(**settings, **SIZES))
    elif kind == "untied awd_lstm":
        model = AwdLstmForCausalLM(AwdLstmConfig(**settings, **SIZES, tie_word_embeddings=False, direction="backward"))
    elif kind == "self_attention":
        sizes = {"embedding_size": 10, "hidden_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = SelfAttentionForCausalLM(SelfAttentionConfig(**settings, **sizes))
    else:
        sizes = {"hidden_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 11}
        model = BertForMaskedLM(BertConfig(**settings, **sizes))
    head = model.get_output_embeddings()
    if head.bias is not None:
        torch.nn.init.normal_(head.bias)  # zeros would be indistinguishable
    return model.eval()


KINDS = ("rnn", "tied rnn", "awd_lstm", "untied awd_lstm", "self_attention", "bert")
TIED = ("tied rnn", "awd_lstm", "self_attention", "bert")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_mapped_by_word(
    kind: str, old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = make(kind, old)
    head = model.get_output_embeddings()
    before = {"embeddings": model.get_input_embeddings().weight, **dict(head.named_parameters())}
    before = {name: values.detach().clone() for name, values in before.items()}
    sentence = "the plum and a gold the"
    read = old(sentence, return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=read["input_ids"]).logits

    assert adapt_vocabulary(model, old, new) == len(KNOWN)

    head = model.get_output_embeddings()
    after = {"embeddings": model.get_input_embeddings().weight, **dict(head.named_parameters())}
    assert after.keys() == before.keys()
    was, now = old.get_vocab(), new.get_vocab()
    roles = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[EOS]": "<eos>"}
    for name, values in after.items():
        assert len(values) == len(now) == len(KNOWN) + len(NEW) + 3
        for word, source in {**KNOWN, **roles}.items():
            assert torch.equal(values[now[word]], before[name][was[source]]), (name, word)
        for word in NEW:
            torch.testing.assert_close(values[now[word]], before[name].mean(dim=0))
    assert (head.weight is model.get_input_embeddings().weight) == (kind in TIED)
    config = model.config
    assert (config.vocab_size, config.pad_token_id, config.eos_token_id) == (len(now), now["[PAD]"], now["[EOS]"])
    assert config.bos_token_id is None
    if model.can_generate():
        assert model.generation_config.pad_token_id == now["[PAD]"]

    read = new(sentence.replace("gold", "Gold"), return_tensors="pt")
    with torch.no_grad():
        adapted = model(input_ids=read["input_ids"]).logits
    theirs, ours = [was[source] for source in KNOWN.values()], [now[word] for word in KNOWN]
    torch.testing.assert_close(adapted[..., ours], logits[..., theirs])

    model.save_pretrained(tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(input_ids=read["input_ids"]).logits, adapted)


def test_the_padding_row_is_kept(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> None:
    model = make("self_attention", old)
    adapt_vocabulary(model, old, new)
    embeddings = model.get_input_embeddings()
    assert embeddings.padding_idx == new.pad_token_id
    assert not embeddings.weight[new.pad_token_id].any()


def test_the_same_words_in_another_order(old: PreTrainedTokenizerFast) -> None:
    same = build_tokenizer("word", [" ".join(reversed(" ".join(OLD_TEXTS).split())), "tin " * 5], min_frequency=1)
    assert len(same) == len(old) and same.get_vocab() != old.get_vocab()
    model = make("awd_lstm", old)
    before = model.get_input_embeddings().weight.detach().clone()
    assert adapt_vocabulary(model, old, same) == len(old) - 4
    for word, position in same.get_vocab().items():
        assert torch.equal(model.get_input_embeddings().weight[position], before[old.get_vocab()[word]])


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_other_vocabularies_are_refused(old: PreTrainedTokenizerFast, kind: str) -> None:
    other = build_tokenizer(kind, OLD_TEXTS, vocab_size=300, min_frequency=1)
    other.add_tokens(["<mark>"])  # longer than a character, but the vocabulary is not word-level
    assert is_word_level(old) and not is_word_level(other)
    for one, two in ((old, other), (other, old)):
        with pytest.raises(UserError, match="not word-level.*need no new vocabulary"):
            adapt_vocabulary(make("rnn", one), one, two)


def test_two_directions_are_refused(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> None:
    model = AwdLstmForSequenceClassification(AwdLstmConfig(vocab_size=len(old), **SIZES, direction="both"))
    with pytest.raises(UserError, match="cannot be changed.*two sets of embeddings"):
        adapt_vocabulary(model, old, new)


def test_a_relearned_vocabulary_keeps_the_rules() -> None:
    capitals = build_tokenizer("word", OLD_TEXTS, min_frequency=1, lowercase=False, max_length=31)
    again = relearn_words(capitals, NEW_TEXTS, vocab_size=9, min_frequency=1)
    assert len(again) == 9 and again.get_vocab()["and"] == 4  # the ids of two special tokens stay, the words are new
    assert {"Gold", "Pear", "gold"} & again.get_vocab().keys() <= {"Gold", "Pear"}
    assert (again.pad_token, again.bos_token_id, again.model_max_length) == ("<pad>", 2, 31)
    more = relearn_words(capitals, NEW_TEXTS, vocab_size=19, min_frequency=1, max_length=17)
    assert more.model_max_length == 17 and len(more) == 19
    known = capitals.convert_ids_to_tokens(range(4, len(capitals)))
    appended = more.convert_ids_to_tokens(range(len(set(" ".join(NEW_TEXTS).split())) + 4, 19))
    assert appended == [word for word in known if word not in " ".join(NEW_TEXTS).split()][: len(appended)] != []
    assert more("iron pear Q")["input_ids"].count(more.unk_token_id) == 1
    with pytest.raises(UserError, match="at least 3 times"):
        relearn_words(capitals, NEW_TEXTS, vocab_size=9, min_frequency=3)


@pytest.fixture
def language_model(old: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    folder = tmp_path / "language_model"
    make("awd_lstm", old).save_pretrained(folder)
    old.save_pretrained(folder)
    return folder


def test_a_language_model_starts_from_another(language_model: Path, old: PreTrainedTokenizerFast) -> None:
    arguments = ModelArguments(str(language_model), tokenizer_name="word", tokenizer_min_frequency=1)
    tokenizer = make_tokenizer(arguments, lambda: NEW_TEXTS, None)
    assert {"quince", "iron"} <= tokenizer.get_vocab().keys()
    model = make_model(arguments, "AutoModelForCausalLM", {}, tokenizer)
    source = AutoModelForCausalLM.from_pretrained(language_model)
    for word in ("gold", "and", "iron", "<unk>"):
        row = source.lm_head.weight[old.get_vocab()[word]]
        assert torch.equal(model.lm_head.weight[tokenizer.get_vocab()[word]], row)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert len(model.lm_head.bias) == model.config.vocab_size == len(tokenizer)


def test_a_classifier_with_a_new_vocabulary(
    finetune: Callable[..., dict],
    language_model: Path,
    old: PreTrainedTokenizerFast,
    dataset_folder: Path,
    tmp_path: Path,
) -> None:
    record = finetune(model_name_or_path=str(language_model), tokenizer_name="word", learning_rate=0.01)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    words = set(" ".join(pd.read_parquet(dataset_folder / "train.parquet")["text"]).split())
    assert words | {"ore"} <= tokenizer.get_vocab().keys()
    assert record["model"]["vocab_size"] == len(tokenizer) and record["status"] == "completed"
    # the new tokenizer can be specified by its folder; the checkpoint's own stays unchanged
    for output, name in (("named", str(tmp_path / "out")), ("own", None)):
        again = finetune(output, model_name_or_path=str(language_model), tokenizer_name=name, num_train_epochs=1)
        assert again["model"]["vocab_size"] == (len(tokenizer) if name else len(old))


def test_new_words_for_other_checkpoints_are_refused(finetune: Callable[..., dict], tmp_path: Path) -> None:
    characters = build_tokenizer("char", OLD_TEXTS, min_frequency=1)
    make("rnn", characters).save_pretrained(tmp_path / "characters")
    characters.save_pretrained(tmp_path / "characters")
    with pytest.raises(UserError, match="characters'.*not word-level"):
        finetune(model_name_or_path=str(tmp_path / "characters"), tokenizer_name="word")
    with pytest.raises(UserError, match="'char' learns a new vocabulary"):
        finetune(model_name_or_path=str(tmp_path / "characters"), tokenizer_name="char")
