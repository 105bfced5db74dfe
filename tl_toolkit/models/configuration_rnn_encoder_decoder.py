"""Configuration of the recurrent encoder-decoders: Sutskever et al. 2014, Bahdanau et al. 2015, Luong et al. 2015."""

import copy
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .strict_config import StrictConfig


@strict
class RnnEncoderDecoderConfig(StrictConfig):
    r"""Everything that shapes a recurrent encoder-decoder. Sizes count units, dropouts are probabilities.

    Args:
        vocab_size: number of token ids of the source, and of the target where `decoder_vocab_size` is None.
        decoder_vocab_size: number of token ids of the target; None for one vocabulary for both sides.
        share_embeddings: with one vocabulary, both sides also share one embedding table.
        embedding_size: size of the embedding vectors of both sides.
        hidden_size: size of the state of every layer (of one direction).
        num_encoder_layers, num_decoder_layers: number of stacked recurrent layers.
        cell_type: `lstm`, `gru`, `rnn_tanh` or `rnn_relu`, as in the family `rnn`.
        bidirectional_encoder: read the source in both directions and concatenate (Bahdanau et al. 2015, section 3.2).
        reverse_source: read the source from its end (Sutskever et al. 2014, section 3.3). Everything comes back in
            reading order. A bidirectional encoder reads both ways already.
        attention: `none`: the last state of the encoder is all that the decoder sees of the source (Sutskever et al.
            2014); `bahdanau`: it is attended to from the previous state, before each step; `luong`: from the current
            state, after each step.
        attention_score: how `luong` compares states (Luong et al. 2015, section 3.1): `dot`, `general` or `concat`.
            `dot` needs an encoder in one direction, whose states are as large as the decoder's.
        attention_window: `luong` looks at the whole source (`global`) or at a window around a predicted position
            (`local_p`, section 3.2).
        attention_window_size: half-width D of that window in tokens.
        input_feeding: `luong` hands the attentional vector to the next step (section 3.3). Without it the decoder
            runs as one fused call over a known target.
        scheduled_sampling: in training, the probability with which a decoder input is the model's own last prediction
            in place of the right token (Bengio et al. 2015); 0 is teacher forcing.
        embedding_dropout: dropout on the embedding vectors of both sides.
        hidden_dropout: dropout between recurrent layers.
        classifier_dropout: dropout before the output layer.
        tie_word_embeddings: the output layer uses the embedding matrix of the target (Press and Wolf 2017). Where
            `embedding_size` is not `hidden_size`, a linear map stands between.
        initializer_range: embeddings start uniform in [-initializer_range, initializer_range].
        use_cache: return the decoder's state (`past_key_values`) in evaluation mode.
        pad_token_id, bos_token_id, eos_token_id: ids of the special tokens. Padding is told by `attention_mask` alone,
            never by the id; `pad_token_id` stands in for -100 where labels become decoder inputs.
        decoder_start_token_id: the decoder's first input.
    """

    model_type = "rnn_encoder_decoder"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_encoder_layers"}
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_rnn_encoder_decoder.RnnEncoderDecoderConfig",
        "AutoModel": "modeling_rnn_encoder_decoder.RnnEncoderDecoderModel",
        "AutoModelForSeq2SeqLM": "modeling_rnn_encoder_decoder.RnnEncoderDecoderForConditionalGeneration",
    }

    vocab_size: int = 30000
    decoder_vocab_size: int | None = None
    share_embeddings: bool = True
    embedding_size: int = 256
    hidden_size: int = 256
    num_encoder_layers: int = 1
    num_decoder_layers: int = 1
    cell_type: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    bidirectional_encoder: bool = False
    reverse_source: bool = False
    attention: Literal["none", "bahdanau", "luong"] = "none"
    attention_score: Literal["dot", "general", "concat"] = "general"
    attention_window: Literal["global", "local_p"] = "global"
    attention_window_size: int = 10
    input_feeding: bool = False
    scheduled_sampling: float | int = 0.0
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    tie_word_embeddings: bool = False
    initializer_range: float | int = 0.1
    use_cache: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None

    @property
    def target_vocab_size(self) -> int:
        """Number of token ids of the target."""
        return self.vocab_size if self.decoder_vocab_size is None else self.decoder_vocab_size

    @property
    def encoder_output_size(self) -> int:
        """Features per source token that the encoder returns."""
        return 2 * self.hidden_size if self.bidirectional_encoder else self.hidden_size

    @property
    def has_one_embedding(self) -> bool:
        """Whether both sides use one embedding table."""
        return self.decoder_vocab_size is None and self.share_embeddings

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:
        """The configuration itself; for the decoder of two vocabularies a copy whose `vocab_size` is the target's."""
        if not decoder or encoder or self.decoder_vocab_size is None:
            return self
        config = copy.deepcopy(self)
        config.vocab_size = self.decoder_vocab_size
        return config

    def validate_sizes(self) -> None:
        names = ["vocab_size", "embedding_size", "hidden_size", "num_encoder_layers", "num_decoder_layers"]
        names += ["attention_window_size", *(["decoder_vocab_size"] if self.decoder_vocab_size is not None else [])]
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def validate_dropouts(self) -> None:
        for name in ("embedding_dropout", "hidden_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability and must be in [0, 1), got {getattr(self, name)}.")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"scheduled_sampling is a probability in [0, 1], got {self.scheduled_sampling}.")

    def validate_combinations(self) -> None:
        if self.bidirectional_encoder and self.reverse_source:
            raise ValueError(
                "reverse_source=True is for bidirectional_encoder=False: a bidirectional encoder reads both ways."
            )
        for name, off in (("input_feeding", False), ("attention_window", "global")):
            if getattr(self, name) != off and self.attention != "luong":
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is for attention='luong', got attention={self.attention!r}."
                )
        if self.attention == "luong" and self.attention_score == "dot" and self.bidirectional_encoder:
            raise ValueError(
                "attention_score='dot' needs states of one size on both sides, and those of a bidirectional encoder "
                "are twice as large: use 'general' or 'concat'."
            )
