"""Token streams cut into independent blocks, for language models without a carried state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import UserError
from .streams import IGNORED, TokenStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REPLACED, _RANDOM = 0.8, 0.1


class Blocks(Dataset, ABC):
    """Blocks of `block_size` positions, the last one padded; ignored `labels` are -100.

    The item after the last block is blank: it has no labels and fills the last batch of several processes.

    Args:
        pad_id: id that fills the last block; the attention mask is 0 there.

    Attributes:
        first: number of blocks before the first one, if the stream is a part of a longer one.
    """

    def __init__(self, stream: TokenStream, block_size: int, pad_id: int) -> None:
        self.block_size, self.pad_id = block_size, pad_id
        self.tokens = self.num_places = len(stream)
        self.epoch = self.first = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which may change the items."""
        self.epoch = epoch

    @abstractmethod
    def places(self, index: int) -> torch.Tensor:
        """Return the stream positions of the tokens that item `index` predicts, int64 `[predictions]`."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of blocks, without the blank one."""

    def _padded(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        input_ids = np.full(self.block_size, self.pad_id, np.int64)
        input_ids[: len(ids)] = ids
        mask = (np.arange(self.block_size) < len(ids)).astype(np.int64)
        return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask)}

    def _blank(self) -> dict[str, torch.Tensor]:
        item = self._padded(np.full(1, self.pad_id))
        return {**item, "labels": torch.full((self.block_size,), IGNORED)}


class CausalBlocks(Blocks):
    """Blocks for predicting the next token; `labels` are the input ids, which the loss shifts.

    A block starts with the last token of the previous block, the first block with the start id of the stream. So every
    token of the stream is predicted exactly once. A block of b positions predicts b - 1 tokens.
    """

    def __init__(self, stream: TokenStream, block_size: int, pad_id: int) -> None:
        if block_size < 2:
            raise UserError(f"--block_size must be 2 or more for a causal model, but is {block_size}.")
        super().__init__(stream, block_size, pad_id)
        self.ids = np.concatenate([[stream.start], stream.ids]).astype(np.int32)

    def __len__(self) -> int:
        return -(-self.tokens // (self.block_size - 1))

    def places(self, index: int) -> torch.Tensor:
        return index * (self.block_size - 1) + torch.arange(self.block_size - 1)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index >= len(self):
            return self._blank()
        begin = index * (self.block_size - 1)
        item = self._padded(self.ids[begin : begin + self.block_size])
        labels = item["input_ids"].masked_fill(item["attention_mask"] == 0, IGNORED)
        labels[0] = IGNORED
        return {**item, "labels": labels}


class MaskedBlocks(Blocks):
    """Blocks for masked language modelling (Devlin et al. 2019, section 3.1 and appendix A.1).

    Each token that is not special is selected with `probability`; 80 % of the selected tokens are replaced by the mask
    token, 10 % by a random token, and 10 % are kept. The selection depends only on seed, epoch and block. So it is the
    same for any number of processes, after resuming, and in every evaluation, where the epoch is always 0.

    Raises:
        UserError: the tokenizer has no mask token.
    """

    def __init__(
        self, stream: TokenStream, block_size: int, tokenizer: PreTrainedTokenizerBase, *, probability: float, seed: int
    ) -> None:
        super().__init__(stream, block_size, tokenizer.pad_token_id)
        if tokenizer.mask_token_id is None:
            raise UserError(
                "Masked language modelling needs a mask token, but the tokenizer has none. Train a causal model "
                "(--task causal-lm), or use a tokenizer with a mask token."
            )
        self.ids, self.probability, self.seed = stream.ids, probability, seed
        self.mask_id, self.vocab_size = tokenizer.mask_token_id, len(tokenizer)
        special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
        self.special = np.fromiter(special, np.int64, len(special))

    def __len__(self) -> int:
        return -(-self.tokens // self.block_size)

    def places(self, index: int) -> torch.Tensor:
        return index * self.block_size + torch.arange(self.block_size)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index >= len(self):
            return self._blank()
        item = self._padded(self.ids[index * self.block_size : (index + 1) * self.block_size])
        input_ids = item["input_ids"].numpy()
        generator = np.random.default_rng([self.seed, 6, self.epoch, self.first + index])
        chosen, fate = generator.random((2, self.block_size))
        picked = (chosen < self.probability) & ~np.isin(input_ids, self.special) & (item["attention_mask"].numpy() == 1)
        labels = np.where(picked, input_ids, IGNORED)
        others = generator.integers(0, self.vocab_size, self.block_size)
        masked = np.where(fate < _REPLACED, self.mask_id, np.where(fate < _REPLACED + _RANDOM, others, input_ids))
        item["input_ids"] = torch.from_numpy(np.where(picked, masked, input_ids))
        return {**item, "labels": torch.from_numpy(labels)}
