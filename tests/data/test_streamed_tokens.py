from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import PreTrainedTokenizerBase

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data import streamed_tokens
from tl_toolkit.data.corpus import Corpus, load_corpus
from tl_toolkit.data.streamed_tokens import StreamedLanes, TokenReader
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError

FILES, ROWS = 4, 7


def text(row: int) -> str:
    return f"r{row} " + " ".join(["x"] * (row % 3))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer("whitespace", [text(row) for row in range(FILES * ROWS)], min_frequency=1)


@pytest.fixture(params=["parquet", "jsonl", "txt"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """28 training texts in four files, and one validation text."""
    monkeypatch.setattr(streamed_tokens, "_ROWS", 3)
    return make_corpus(tmp_path, request.param)


def make_corpus(folder: Path, suffix: str) -> Corpus:
    for file in range(FILES):
        write(folder / f"train-{file}.{suffix}", [text(row) for row in range(file * ROWS, (file + 1) * ROWS)])
    write(folder / f"validation.{suffix}", ["r0 v"])
    return load_corpus(DataArguments(dataset_name=str(folder)), 5)


def write(path: Path, texts: list[str]) -> None:
    if path.suffix == ".parquet":
        pd.DataFrame({"text": texts, "n": range(len(texts))}).to_parquet(path, row_group_size=2)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"n": 1, "text": each}) + "\n" for each in texts))
    else:
        path.write_text("".join(each + "\n" for each in texts))


def one_pass(reader: TokenReader) -> list[str]:
    """The first word of each text until the reader starts again."""
    found = []
    while True:
        ids = reader.text()
        if reader.passes:
            return found
        found.append(reader.tokenizer.convert_ids_to_tokens(int(ids[0])))


def test_processes_read_every_row_once(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> None:
    everything = [f"r{row}" for row in range(FILES * ROWS)]
    assert one_pass(TokenReader(corpus, tokenizer, None, 0, 1)) == everything
    for processes in (2, 3):  # files, and rows where the number of files is not a multiple
        parts = [one_pass(TokenReader(corpus, tokenizer, None, part, processes)) for part in range(processes)]
        assert sorted(sum(parts, [])) == sorted(everything)
    first = one_pass(TokenReader(corpus, tokenizer, None, 0, 2))
    assert first == everything[:7] + everything[14:21]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_reader_continues_where_its_state_was_saved(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, parts: int
) -> None:
    """Also between the rows that are tokenised together, between files, and after the last row."""
    reader = TokenReader(corpus, tokenizer, None, parts - 1, parts)
    states, texts = [], []
    for _ in range(33):
        states.append(json.loads(json.dumps(reader.state_dict())))
        texts.append(reader.text().tolist())
    assert reader.passes >= 1
    for read, state in list(enumerate(states))[parts::3]:
        other = TokenReader(corpus, tokenizer, None, parts - 1, parts)
        other.load_state_dict(state)
        assert [other.text().tolist() for _ in texts[read : read + 9]] == texts[read : read + 9]


def test_lanes_of_one_reader_take_the_next_text(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    corpus = make_corpus(tmp_path, "txt")
    lanes = StreamedLanes([TokenReader(corpus, tokenizer, None, 0, 1)], 2, 25, rank=0, world_size=1)
    windows = [lanes.window(begin, 5) for begin in (0, 5, 10)]
    inputs, targets = (np.concatenate(parts, 1) for parts in zip(*windows, strict=True))
    words = [[tokenizer.convert_ids_to_tokens(int(i)) if i >= 0 else "-" for i in lane] for lane in targets]
    end = tokenizer.eos_token
    # texts: r0, r1 x, r2 x x, r3, r4 x, r5 x x, r6, ...; a lane takes one when it needs more for its window
    assert words[0] == ["r0", end, "r1", "x", end, "r4", "x", end, "r5", "x", "x", end, "r8", "-", "-"]
    assert words[1] == ["r2", "x", "x", end, "r3", end, "r6", end, "r7", "x", end, "r9", "-", "-", "-"]
    assert (inputs[:, 1:][targets[:, :-1] >= 0] == targets[:, :-1][targets[:, :-1] >= 0]).all()
    assert [lanes.targets_in(begin, 5) for begin in (0, 5, 10)] == [10, 10, 5]
    assert (targets >= 0).sum() == 25
    with pytest.raises(RuntimeError, match="The stream is at"):
        lanes.window(20, 5)


def test_held_out_texts_are_not_trained_on(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    write(tmp_path / "all.jsonl", ["r0", "r1", "r2", "r1", "r3"])
    corpus = load_corpus(DataArguments(dataset_name=str(tmp_path / "all.jsonl")), 2)
    assert corpus.evaluated == {"validation": ["r0", "r1"]}
    assert one_pass(TokenReader(corpus, tokenizer, None, 0, 1)) == ["r2", "r3"]
    assert list(corpus.sample(1)) == ["r2"]
    everything = load_corpus(DataArguments(dataset_name=str(tmp_path / "all.jsonl")), 5)
    with pytest.raises(UserError, match="has no training tokens"):
        TokenReader(everything, tokenizer, None, 0, 1).text()


def test_files_that_cannot_be_streamed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\na\n")
    with pytest.raises(UserError, match=r"files of one type, .*, but .* has '.csv'"):
        load_corpus(DataArguments(dataset_name=str(tmp_path / "a.csv")), 5)
