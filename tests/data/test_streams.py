from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset

from tl_toolkit.data.blocks import CausalBlocks, MaskedBlocks
from tl_toolkit.data.streams import Lanes, StreamWindows, TokenStream, encode_stream, token_ids, window_lengths
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError

START = 10_000


def stream_of(tokens: int) -> TokenStream:
    """A stream of unique tokens: each is its own position."""
    return TokenStream(np.arange(tokens, dtype=np.int32), START, 1, tokens, 0)


def windows_of(tokens: int, *, world_size: int, lanes: int, groups: int = 1, **settings: object) -> list[StreamWindows]:
    backward = bool(settings.pop("backward", False))
    options = {"window_length": 7, "random_lengths": True, "seed": 3, **settings}
    place = {"world_size": world_size, "backward": backward}
    return [
        StreamWindows(Lanes(stream_of(tokens), lanes * groups, rank=rank, **place), groups=groups, **options)
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("world_size", "groups"), [(1, 1), (2, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("tokens", [997, 1009])
def test_every_token_is_predicted_once_from_the_token_before_it(
    tokens: int, world_size: int, groups: int, backward: bool
) -> None:
    for epoch in (0, 1):
        predicted: Counter[int] = Counter()
        for windows in windows_of(tokens, world_size=world_size, lanes=5, groups=groups, backward=backward):
            windows.set_epoch(epoch)
            for batch in (windows[index] for index in range(len(windows))):
                inputs, targets = (batch[name].flatten().tolist() for name in ("input_ids", "labels"))
                for token, target in zip(inputs, targets, strict=True):
                    if target != -100:
                        predicted[target] += 1
                        first = tokens - 1 if backward else 0
                        assert token == (START if target == first else target + 1 if backward else target - 1)
                assert batch["shift_labels"] is batch["labels"]
        assert predicted == Counter(range(tokens))


def test_a_window_continues_the_previous_one_of_its_lane() -> None:
    for backward in (False, True):
        windows = windows_of(211, world_size=1, lanes=3, backward=backward)[0]
        batches = [windows[index]["input_ids"] for index in range(len(windows))]
        # Backward, the next window precedes this one in the text.
        read = torch.cat(batches[::-1] if backward else batches, dim=1)
        for lane in read[:, 1:-1]:
            assert torch.equal(lane, torch.arange(int(lane[0]), int(lane[0]) + len(lane)))


def test_processes_and_groups_share_the_lanes_of_one_process() -> None:
    whole = windows_of(509, world_size=1, lanes=6)[0]
    parts = windows_of(509, world_size=2, lanes=1, groups=3)
    assert [part.updates for part in parts] == [whole.updates] * 2
    for update in range(whole.updates):
        batches = [part[3 * update + group] for part in parts for group in range(3)]
        for name in ("input_ids", "labels"):
            assert torch.equal(torch.cat([batch[name] for batch in batches]), whole[update][name])
        assert {batch["num_targets"] for batch in batches} == {int((whole[update]["labels"] != -100).sum())}
        assert {batch["relative_length"] for batch in batches} == {whole[update]["input_ids"].shape[1] / 7}


def test_window_lengths_follow_the_paper() -> None:
    lengths = window_lengths(1_000_003, 70, seed=5, random=True)
    assert lengths.sum() == 1_000_003 and lengths.min() >= 5
    halves = lengths < 52
    assert 0.04 < halves.mean() < 0.06
    assert abs(lengths[~halves].mean() - 69.5) < 0.3  # cut to whole numbers, as the authors' code does
    assert abs(lengths[~halves].std() - 5) < 0.3
    assert abs(lengths[halves].mean() - 34.5) < 1.5
    assert not np.array_equal(lengths, window_lengths(1_000_003, 70, seed=6, random=True))
    fixed = window_lengths(143, 70, seed=5, random=False)
    assert fixed.tolist() == [70, 70, 3]
    assert window_lengths(140, 70, seed=5, random=False).tolist() == [70, 70]
    assert window_lengths(3, 70, seed=5, random=True).tolist() == [3]


def test_epochs_have_the_same_windows_in_another_order() -> None:
    windows = windows_of(1511, world_size=1, lanes=2)[0]
    first = windows.lengths.tolist()
    windows.set_epoch(1)
    assert windows.lengths.tolist() != first and sorted(windows.lengths) == sorted(first)
    windows.set_epoch(0)
    assert windows.lengths.tolist() == first


TEXTS = ["the cat sat", "", "a dog ran off", "ça va"]


def word_stream(**settings: object) -> tuple[TokenStream, object]:
    tokenizer = build_tokenizer("word", ["the cat sat a dog ran off"], min_frequency=1)
    return encode_stream(Dataset.from_dict({"text": TEXTS}), tokenizer, **settings), tokenizer


def test_a_separator_follows_each_document() -> None:
    stream, tokenizer = word_stream()
    text = "the cat sat <eos> <eos> a dog ran off <eos> <unk> <unk> <eos>"
    assert tokenizer.convert_ids_to_tokens(stream.ids) == text.split()
    assert stream.ids.dtype == np.int32 and stream.start == tokenizer.eos_token_id
    assert (stream.documents, stream.num_bytes, stream.unknown) == (4, 11 + 0 + 13 + 6, 2)
    assert word_stream(separator="<bos>")[0].ids.tolist().count(tokenizer.bos_token_id) == 4
    with pytest.raises(UserError, match="--separator 'nowhere'"):
        word_stream(separator="nowhere")


def test_the_number_of_tokens_is_limited() -> None:
    whole = word_stream()[0]
    assert word_stream(max_tokens=7)[0].ids.tolist() == whole.ids[:7].tolist()
    documents = word_stream(max_tokens=7, whole_documents=True)[0]
    assert documents.ids.tolist() == whole.ids[:10].tolist()
    assert (documents.documents, documents.num_bytes, documents.unknown) == (3, 24, 0)
    assert word_stream(max_tokens=4, whole_documents=True)[0].documents == 1


def test_special_tokens_of_the_tokenizer_are_kept() -> None:
    from tokenizers.processors import TemplateProcessing

    for template, expected in (("<bos> $A <eos>", "<bos> the <eos>"), ("<bos> $A", "<bos> the <eos>")):
        tokenizer = build_tokenizer("word", ["the"], min_frequency=1)
        tokens = [("<bos>", tokenizer.bos_token_id), ("<eos>", tokenizer.eos_token_id)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=tokens)
        stream = encode_stream(Dataset.from_dict({"text": ["the"]}), tokenizer)
        assert tokenizer.convert_ids_to_tokens(stream.ids) == expected.split()
        assert stream.start == tokenizer.eos_token_id
    tokenizer.eos_token = None  # like fastai's: only a start token
    stream = encode_stream(Dataset.from_dict({"text": ["the"]}), tokenizer)
    assert tokenizer.convert_ids_to_tokens(stream.ids) == ["<bos>", "the"]
    assert stream.start == tokenizer.bos_token_id


@pytest.mark.parametrize("kind", ["whitespace", "bpe", "bert"])
def test_token_ids_are_those_of_the_tokenizer(kind: str) -> None:
    from transformers import BertTokenizerFast

    texts = [*TEXTS, "THE  cat\u00e9 <eos> sat\n\U0001f600 [SEP] " + 600 * "dog "]
    if kind == "bert":
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sa", "##t", "dog"]
        tokenizer = BertTokenizerFast({word: place for place, word in enumerate(words)}, model_max_length=512)
    else:
        tokenizer = build_tokenizer(kind, TEXTS, min_frequency=1)
    tokenizer(texts, truncation=True, max_length=3, padding=True)  # leaves its backend truncating and padding
    assert token_ids(tokenizer, texts) == tokenizer(texts)["input_ids"]
    assert len(token_ids(tokenizer, texts)[-1]) > 600


@pytest.mark.parametrize("tokens", [101, 103, 110])
def test_causal_blocks_predict_every_token_once(tokens: int) -> None:
    blocks = CausalBlocks(stream_of(tokens), 11, pad_id=START + 1)
    predicted = []
    for item in (blocks[index] for index in range(len(blocks))):
        assert {value.shape for value in item.values()} == {torch.Size([11])}
        labels, inputs = item["labels"][1:], item["input_ids"][:-1]  # shifted as in models
        predicted += labels[labels != -100].tolist()
        assert all(
            token == (START if label == 0 else label - 1)
            for token, label in zip(inputs, labels, strict=True)
            if label >= 0
        )
        assert torch.equal(item["attention_mask"] == 0, item["input_ids"] == START + 1)
    assert predicted == list(range(tokens))
    blank = blocks[len(blocks)]
    assert (blank["labels"] == -100).all() and blank["attention_mask"].sum() == 1


def masked_blocks(**settings: object) -> tuple[MaskedBlocks, object]:
    tokenizer = build_tokenizer("word", [" ".join(f"w{i}" for i in range(97))], min_frequency=1)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    ids = np.random.default_rng(0).integers(4, 101, 20_011).astype(np.int32)
    ids[::13] = tokenizer.eos_token_id
    options = {"probability": 0.15, "seed": 1, **settings}
    return MaskedBlocks(TokenStream(ids, 3, 1, 1, 0), 53, tokenizer, **options), tokenizer


def test_masks_follow_bert() -> None:
    blocks, tokenizer = masked_blocks()
    items = [blocks[index] for index in range(len(blocks))]
    inputs, labels = (torch.cat([item[name] for item in items]) for name in ("input_ids", "labels"))
    original = torch.from_numpy(blocks.ids.astype(np.int64))
    inputs, labels = inputs[: len(original)], labels[: len(original)]
    picked = labels != -100
    assert torch.equal(labels[picked], original[picked]) and torch.equal(inputs[~picked], original[~picked])
    assert not picked[original == tokenizer.eos_token_id].any()
    assert abs(picked[original != tokenizer.eos_token_id].float().mean() - 0.15) < 0.01
    masked = (inputs == tokenizer.mask_token_id)[picked].float().mean()
    kept = (inputs == original)[picked].float().mean()
    assert abs(masked - 0.8) < 0.03 and abs(kept - 0.1) < 0.03


def test_masks_depend_only_on_seed_epoch_and_block() -> None:
    first, again, other = masked_blocks()[0], masked_blocks()[0], masked_blocks(seed=2)[0]
    assert torch.equal(first[5]["labels"], again[5]["labels"])
    assert not torch.equal(first[5]["labels"], other[5]["labels"])
    again.set_epoch(1)
    assert not torch.equal(first[5]["labels"], again[5]["labels"])


def test_invalid_block_settings_are_refused() -> None:
    with pytest.raises(UserError, match="--block_size must be 2 or more .* is 1"):
        CausalBlocks(stream_of(7), 1, 0)
    tokenizer = build_tokenizer("word", ["the"], min_frequency=1)
    with pytest.raises(UserError, match="mask token"):
        MaskedBlocks(stream_of(7), 5, tokenizer, probability=0.15, seed=0)
