"""`pretrain --streaming` trains the same model as on texts in memory, and resumes at the same place in the stream."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.config.pretrain_arguments import LanguageModelArguments
from tl_toolkit.data import streamed_tokens
from tl_toolkit.data.blocks import CausalBlocks
from tl_toolkit.data.corpus import load_corpus
from tl_toolkit.data.streams import StreamWindows, encode_stream
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.training import language_model_trainer
from tl_toolkit.workflows.streamed_pretraining import StreamedPretraining

Pretrain = Callable[..., dict]
ROOT = Path(__file__).parents[2]
RNN = {"model_type": "rnn", "config_overrides": "embedding_size=5,hidden_size=7,num_hidden_layers=1"}
GPT2 = {"model_type": "gpt2", "config_overrides": "n_embd=8,n_layer=1,n_head=2", "block_size": 8}
BERT = {
    "model_type": "bert",
    "config_overrides": "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11",
    "block_size": 7,
}
WORDS = ["iron", "tin", "lead", "zinc", "gold", "elbe", "oder", "main"]
TEXTS = 17  # in each file, of 6 words and a separator


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three jsonl files with 357 training tokens, a validation file, and a tokenizer of its words."""
    folder = tmp_path_factory.mktemp("corpus")
    chance = np.random.default_rng(3)
    for name in ("train-0", "train-1", "train-2", "validation-0"):
        texts = [" ".join([f"{name}.{row}", *chance.choice(WORDS, 5)]) for row in range(TEXTS)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = build_tokenizer("whitespace", [" ".join(WORDS)], min_frequency=1)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.save_pretrained(folder.parent / "tokenizer")
    return folder


@pytest.fixture
def stream(pretrain: Pretrain, corpus: Path) -> Pretrain:
    return lambda output, **settings: pretrain(
        output,
        **{
            "dataset_name": str(corpus), "tokenizer_name": str(corpus.parent / "tokenizer"), "num_train_epochs": 1,
            "max_train_tokens": 357, "logging_steps": 1, "learning_rate": 0.01, "save_strategy": "steps",
            "save_steps": 8, "eval_strategy": "no", "load_best_model_at_end": False, "save_total_limit": 9, **settings,
        },
    )  # fmt: skip


def same_weights(*folders: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in folders)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("model", [RNN, GPT2, BERT], ids=["lanes", "blocks", "masked"])
def test_the_weights_are_those_of_texts_in_memory_and_a_resumed_run(
    stream: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict
) -> None:
    """Three lanes are the three files; blocks are read in order."""
    monkeypatch.setattr(language_model_trainer, "epoch_sampler", lambda args, count: SequentialSampler(range(count)))
    monkeypatch.setattr(streamed_tokens, "_ROWS", 4)  # tokenised at a time, so that a checkpoint is between such rows
    record = stream("streamed", **model, streaming=True)
    memory = stream("memory", **model)
    assert same_weights(tmp_path / "streamed", tmp_path / "memory")
    assert record["metrics"] == memory["metrics"] and record["budget"] == memory["budget"]
    assert record["dataset"]["tokens"] == memory["dataset"]["tokens"]
    checkpoint = tmp_path / "streamed" / "checkpoint-8"
    stream("resumed", **model, streaming=True, resume_from_checkpoint=str(checkpoint))
    assert same_weights(tmp_path / "streamed", tmp_path / "resumed")
    if model is RNN:  # another place in the stream leads to another model
        state = checkpoint / "carried_state_0_of_1.pt"
        saved = torch.load(state, weights_only=True)
        saved["stream"]["readers"][0]["rows"] = None
        torch.save(saved, state)
        stream("elsewhere", **model, streaming=True, resume_from_checkpoint=str(checkpoint))
        assert not same_weights(tmp_path / "streamed", tmp_path / "elsewhere")


def test_blocks_end_with_the_tokens_and_two_processes_share_them(corpus: Path) -> None:
    """The last batches hold blank blocks, and no text is read again."""
    tokenizer = AutoTokenizer.from_pretrained(corpus.parent / "tokenizer")
    rows = load_corpus(DataArguments(dataset_name=str(corpus)), 5)

    def batches(rank: int, world_size: int, tokens: int) -> list[dict[str, torch.Tensor]]:
        reader = streamed_tokens.TokenReader(rows, tokenizer, None, rank, world_size)
        items = streamed_tokens.StreamedBlocks(
            reader, lambda stream: CausalBlocks(stream, 8, tokenizer.pad_token_id), batch=4, predicted=7, groups=3,
            tokens=tokens, rank=rank, world_size=world_size,
        )  # fmt: skip
        read = [items[index] for index in range(len(items))]
        assert reader.passes == 0 and len(items) % 3 == 0
        return read

    whole = [batch["labels"] for batch in batches(0, 1, 357)]
    stream = encode_stream(Dataset.from_dict({"text": [row["text"] for row in rows.rows]}), tokenizer)
    assert torch.cat(whole)[torch.cat(whole) >= 0].tolist() == stream.ids.tolist() and len(stream) == 357
    halves = [batches(rank, 2, 301) for rank in range(2)]
    assert len(halves[0]) == len(halves[1]) == 6
    assert sum(int((batch["labels"] >= 0).sum()) for half in halves for batch in half) == 301


def test_two_processes_read_the_lanes_of_one(corpus: Path, tmp_path: Path) -> None:
    """Two processes with two lanes read what one process with four lanes reads, from a file for each lane."""
    for place, file in enumerate(sorted(corpus.iterdir())):
        (tmp_path / f"train-{place}.jsonl").write_bytes(file.read_bytes())
    rows = load_corpus(DataArguments(dataset_name=str(tmp_path)), 5)
    tokenizer = AutoTokenizer.from_pretrained(corpus.parent / "tokenizer")
    settings = LanguageModelArguments(streaming=True, max_train_tokens=400, window_length=9)

    def windows(rank: int, world_size: int) -> StreamWindows:
        args = SimpleNamespace(process_index=rank, world_size=world_size, train_batch_size=4 // world_size,
                               gradient_accumulation_steps=1, seed=1)  # fmt: skip
        run = SimpleNamespace(args=args, settings=settings, corpus=rows, model=SimpleNamespace(config=None),
                              tokenizer=tokenizer)  # fmt: skip
        run._reader = lambda part, parts: StreamedPretraining._reader(run, part, parts)
        return StreamedPretraining._windows(run)

    one, first, second = windows(0, 1), windows(0, 2), windows(1, 2)
    assert len(one) == len(first) == len(second) > 9
    for index in range(len(one)):
        whole, *parts = one[index], first[index], second[index]
        for name in ("input_ids", "labels"):
            assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
        assert parts[0]["num_targets"] == parts[1]["num_targets"] == whole["num_targets"]


def test_a_corpus_without_a_validation_split_holds_its_first_rows_out(
    stream: Pretrain, corpus: Path, tmp_path: Path
) -> None:
    settings = {**RNN, "streaming": True, "evaluation_rows": 3, "dataset_name": str(corpus / "train-0.jsonl")}
    record = stream("out", **settings, max_train_tokens=None, max_steps=2, tokenizer_name="word",
                    vocabulary_rows=2, tokenizer_min_frequency=1)  # fmt: skip
    assert record["dataset"]["validation_from"] == "train" and record["dataset"]["rows"] == {"validation": 3}
    assert record["cost"]["steps"] == 2 and record["budget"]["train_tokens"] == record["dataset"]["tokens"]["train"]
    assert record["metrics"]["validation"]["unknown_share"] > 0
    vocabulary = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    words = vocabulary["model"]["vocab"]
    assert {"0.3", "0.4"} <= set(words) and not {"0.2", "0.5"} & set(words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_train_tokens": None}, "--streaming needs an end: set --max_train_tokens or --max_steps"),
        ({"num_train_epochs": 2}, "reads the texts once: leave out --num_train_epochs 2"),
        ({"shuffle_documents": True}, "--shuffle_documents does not apply with --streaming"),
        ({"config_overrides": "direction=backward"}, "leave out direction=backward"),
        ({"dataset_name": "builtin:pydocs"}, "reads a Hub id or local files and folders, not 'builtin:pydocs'"),
        ({"dataset_name": "./nothing"}, "The dataset './nothing' was not found: there is no such file or folder"),
        ({"dataset_name": None}, "No dataset was specified: set --dataset_name to a Hub id"),
        ({"dataloader_num_workers": 2}, "--dataloader_num_workers does not apply with --streaming"),
        ({"max_train_tokens": 5}, "too few for 3 parallel lanes"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(stream: Pretrain, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        stream("out", **{**RNN, "streaming": True, **settings})


def test_a_file_that_is_cut_short_is_named(corpus: Path, tmp_path: Path) -> None:
    whole = gzip.compress((corpus / "train-0.jsonl").read_bytes())
    (tmp_path / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "validation.jsonl.gz").write_bytes(whole)
    with pytest.raises(UserError, match=r"The file '.*train\.jsonl\.gz' of .* cannot be read: EOFError"):
        list(load_corpus(DataArguments(dataset_name=str(tmp_path)), 5).sample(99))
