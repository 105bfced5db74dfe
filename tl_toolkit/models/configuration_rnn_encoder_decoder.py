"""Configuration of the recurrent encoder-decoders: Sutskever et al. 2014, Bahdanau et al. 2015, Luong et al. 2015."""

import copy
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .configuration_rnn_decoder import RnnDecoderConfig


@strict
class RnnEncoderDecoderConfig(RnnDecoderConfig):
    r"""Configuration of a recurrent encoder-decoder. Sizes are numbers of units, dropouts are probabilities.

    Args:
        vocab_size: number of token ids of the source, and of the target if `decoder_vocab_size` is None.
        decoder_vocab_size: number of token ids of the target; None if both sides share one vocabulary.
        share_embeddings: with one vocabulary, both sides also share one embedding table.
        num_encoder_layers: number of stacked recurrent layers of the encoder.
        bidirectional_encoder: read the source in both directions and concatenate (Bahdanau et al. 2015, section 3.2).
        reverse_source: read the source from its end (Sutskever et al. 2014, section 3.3). Outputs are returned in the
            original order. A bidirectional encoder already reads both ways.
        attention: `none`: the decoder gets only the last state of the encoder (Sutskever et al. 2014); `bahdanau`: it
            attends to the source with its previous state, before each step; `luong`: with its current state, after
            each step.
        attention_score: score of `luong`; `dot` needs a unidirectional encoder with states as large as the decoder's.
        attention_window: `luong` attends to the whole source (`global`) or to a window around a predicted position
            (`local_p`, section 3.2).
        attention_window_size: half-width D of that window in tokens.
        scheduled_sampling: in training, the probability that a decoder input is the model's own last prediction instead
            of the correct token (Bengio et al. 2015); 0 is teacher forcing.
    """

    model_type = "rnn_encoder_decoder"
    sizes = (*RnnDecoderConfig.sizes, "num_encoder_layers", "decoder_vocab_size", "attention_window_size")
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_encoder_layers"}
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_rnn_encoder_decoder.RnnEncoderDecoderConfig",
        "AutoModel": "modeling_rnn_encoder_decoder.RnnEncoderDecoderModel",
        "AutoModelForSeq2SeqLM": "modeling_rnn_encoder_decoder.RnnEncoderDecoderForConditionalGeneration",
    }

    decoder_vocab_size: int | None = None
    share_embeddings: bool = True
    num_encoder_layers: int = 1
    bidirectional_encoder: bool = False
    reverse_source: bool = False
    attention: Literal["none", "bahdanau", "luong"] = "none"
    attention_window: Literal["global", "local_p"] = "global"
    attention_window_size: int = 10
    scheduled_sampling: float | int = 0.0

    @property
    def target_vocab_size(self) -> int:
        """The number of token ids of the target."""
        return self.vocab_size if self.decoder_vocab_size is None else self.decoder_vocab_size

    @property
    def encoder_output_size(self) -> int:
        """Features per source token that the encoder returns."""
        return 2 * self.hidden_size if self.bidirectional_encoder else self.hidden_size

    @property
    def has_one_embedding(self) -> bool:
        """Whether both sides share one embedding table."""
        return self.decoder_vocab_size is None and self.share_embeddings

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:
        """The configuration itself; for the decoder, with two vocabularies, a copy with the target's `vocab_size`."""
        if not decoder or encoder or self.decoder_vocab_size is None:
            return self
        config = copy.deepcopy(self)
        config.vocab_size = self.decoder_vocab_size
        return config

    def validate_sampling(self) -> None:
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"scheduled_sampling must be in [0, 1], got {self.scheduled_sampling}.")

    def validate_combinations(self) -> None:
        if self.bidirectional_encoder and self.reverse_source:
            raise ValueError(
                "reverse_source=True needs bidirectional_encoder=False: a bidirectional encoder reads both ways."
            )
        if self.attention_window != "global" and self.attention != "luong":
            raise ValueError(
                f"attention_window={self.attention_window!r} needs attention='luong', got attention={self.attention!r}."
            )
        if self.attention == "luong" and self.attention_score == "dot" and self.bidirectional_encoder:
            raise ValueError(
                "attention_score='dot' needs encoder and decoder states of the same size, but those of a bidirectional "
                "encoder are twice as large: use 'general' or 'concat'."
            )
