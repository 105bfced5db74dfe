"""Features of the characters of a word, which are appended to the word's embedding vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration_rnn import RnnConfig
from .pooling import SequencePooling
from .rnn_layers import RnnLayer
from .token_order import TokenOrder

PADDING, UNKNOWN = 0, 1


class CharacterFeatures(nn.Module):
    """A vector of `character_feature_size` features for every word, from its characters.

    `character_encoder="rnn"`: the last states of a bidirectional LSTM over the word (Lample et al. 2016, section 4.1).
    `"cnn"`: the maximum over the word of a convolution over `character_kernel_size` characters (Ma and Hovy 2016,
    section 2.1).
    """

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(config.character_vocabulary) + 2, config.character_embedding_size)
        sizes = config.character_embedding_size, config.character_feature_size
        if config.character_encoder == "rnn":
            self.encoder: nn.Module = RnnLayer("lstm", sizes[0], sizes[1] // 2, bidirectional=True)
            self.pooling = SequencePooling(sizes[1], "last", "both")
        else:
            self.encoder = nn.Conv1d(*sizes, config.character_kernel_size, padding=config.character_kernel_size // 2)
            self.pooling = SequencePooling(sizes[1], "max")

    def forward(self, character_ids: Tensor) -> Tensor:
        """Character ids (batch, time, characters), padded with 0 at the end of each word -> (batch, time, features).

        Id 1 is an unknown character, and id 2 the first one of the configuration's `character_vocabulary`. The features
        of a word without characters are zeros.
        """
        batch, time, characters = character_ids.shape
        ids = character_ids.reshape(batch * time, characters)
        mask = ids != PADDING
        vectors = self.embedding(ids)  # (words, characters, size)
        if isinstance(self.encoder, RnnLayer):
            hidden_states, _ = self.encoder(vectors, TokenOrder(mask))  # real characters are first
        else:
            # Zeros after the word equal the convolution's padding, so the result does not depend on the batch width.
            vectors = vectors.masked_fill(~mask[..., None], 0)
            hidden_states = self.encoder(vectors.transpose(1, 2)).transpose(1, 2)
        features, _ = self.pooling(hidden_states, mask)
        return features.masked_fill(~mask.any(dim=1, keepdim=True), 0).view(batch, time, -1)


def character_ids_of(words: list[str], vocabulary: str) -> list[list[int]]:
    """The ids of the characters of each word, for one row of `character_ids`."""
    ids = {character: index for index, character in enumerate(vocabulary, start=UNKNOWN + 1)}
    return [[ids.get(character, UNKNOWN) for character in word] for word in words]


def pad_characters(rows: list[list[list[int]]], time: int) -> Tensor:
    """Character ids of the words of each row as one tensor (rows, time, characters).

    A row shorter than `time` is padded with empty words at its end; there is at least one column of characters.
    """
    characters = max((len(word) for row in rows for word in row), default=1) or 1
    ids = torch.full((len(rows), time, characters), PADDING)
    for index, row in enumerate(rows):
        for place, word in enumerate(row):
            ids[index, place, : len(word)] = torch.tensor(word, dtype=ids.dtype)
    return ids
