"""`pretrain --streaming`: train a language model on texts that are read while it trains."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.corpus import Corpus, load_corpus
from ..errors import UserError
from ..tasks.language_modeling import CAUSAL
from .pretraining import Pretraining, blocks, split_datasets

if TYPE_CHECKING:
    from datasets import DatasetDict

    from ..data.streamed_tokens import TokenReader


class StreamedPretraining(Pretraining):
    """Training on a corpus that is not read before. Validation and test texts are read at the start."""

    corpus: Corpus

    def texts(self) -> DatasetDict:
        from datasets import Dataset, DatasetDict

        self.corpus = load_corpus(self.arguments.data, self.settings.evaluation_rows)
        self.task.column = self.corpus.column
        origins = {role: role if role in self.corpus.splits else "train" for role in ("train", *self.corpus.evaluated)}
        self.task.describe({**self.corpus.record, "versions": None}, self.corpus.splits, origins)
        return DatasetDict({role: Dataset.from_dict({"text": own}) for role, own in self.corpus.evaluated.items()})

    def vocabulary_texts(self, texts: DatasetDict) -> Iterable[str]:
        return self.corpus.sample(self.settings.vocabulary_rows)

    def updates(self) -> int:
        from ..training.language_model_trainer import carries_state

        args, settings = self.args, self.settings
        args.num_train_epochs = 1
        self.datasets, _ = split_datasets(self.streams, self.model, self.tokenizer, self.kind, settings, args)
        train = self._windows() if carries_state(self.model) else self._blocks()
        self.datasets["train"] = train
        args.max_steps = min(args.max_steps, train.updates)  # a stream has one epoch
        return train.updates

    def _reader(self, part: int, parts: int) -> TokenReader:
        from ..data.streamed_tokens import TokenReader

        return TokenReader(self.corpus, self.tokenizer, self.settings.separator, part, parts)

    def _windows(self) -> Any:
        from ..data.streamed_tokens import StreamedLanes
        from ..data.streams import StreamWindows

        args, settings = self.args, self.settings
        if getattr(self.model.config, "direction", "forward") == "backward":
            raise UserError("--streaming reads texts from their start: leave out direction=backward.")
        rank, world = args.process_index, args.world_size
        own = args.train_batch_size * args.gradient_accumulation_steps
        # Windows are less than 20 tokens longer than usual, so --max_steps ends the training before these tokens do.
        tokens = settings.max_train_tokens or args.max_steps * own * world * (settings.window_length + 20)
        if tokens < 2 * own * world:
            raise UserError(
                f"--max_train_tokens {tokens:,} is too few for {own * world:,} parallel lanes. Lower "
                "--per_device_train_batch_size."
            )
        if self.corpus.rows.num_shards % (own * world) == 0:
            readers = [self._reader(rank * own + lane, own * world) for lane in range(own)]
        else:
            readers = [self._reader(rank, world)]
        return StreamWindows(
            StreamedLanes(readers, own, tokens, rank=rank, world_size=world),
            groups=args.gradient_accumulation_steps,
            window_length=settings.window_length,
            random_lengths=settings.random_window_lengths,
            seed=args.seed,
        )

    def _blocks(self) -> Any:
        from ..data.streamed_tokens import StreamedBlocks
        from ..data.streams import TokenStream

        args, groups, world = self.args, self.args.gradient_accumulation_steps, self.args.world_size
        cut = partial(
            blocks, model=self.model, tokenizer=self.tokenizer, kind=self.kind, settings=self.settings, seed=args.seed
        )
        predicted = cut(TokenStream(np.empty(0, np.int32), 0, 0, 0, 0)).block_size - (self.kind == CAUSAL)
        per_step = predicted * args.train_batch_size * groups * world
        tokens = self.settings.max_train_tokens or args.max_steps * per_step
        return StreamedBlocks(
            self._reader(args.process_index, world),
            cut,
            batch=args.train_batch_size,
            predicted=predicted,
            groups=groups,
            tokens=tokens,
            rank=args.process_index,
            world_size=world,
        )

    @property
    def epoch(self) -> tuple[None, int]:
        train = self.datasets["train"]
        return None, getattr(train, "lanes", train).tokens

    @property
    def train_tokens(self) -> int:
        train, steps = self.datasets["train"], self._steps
        if steps == train.updates:
            return self.epoch[1]
        if not hasattr(train, "lanes"):
            return steps * train.per_update
        windows = zip(train.begins[:steps], train.lengths[:steps], strict=True)
        return sum(train.lanes.targets_in(int(begin), int(length)) for begin, length in windows)

    def rows(self) -> dict[str, Any]:
        train = {"count": self.epoch[1], "hash": self.corpus.record["fingerprint"]}
        return {"train": train, **super().rows()}

    def describe(self) -> dict[str, Any]:
        record = super().describe()
        record["dataset"]["tokens"]["train"] = self.train_tokens
        return record
