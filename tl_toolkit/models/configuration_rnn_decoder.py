"""The base configuration of all families with a recurrent decoder."""

from typing import ClassVar, Literal

from .strict_config import StrictConfig


class RnnDecoderConfig(StrictConfig):
    r"""Configuration of a recurrent decoder, independent of the encoder.

    Args:
        embedding_size: size of the embedding vectors.
        hidden_size: size of the state of every layer (of one direction).
        num_decoder_layers: number of stacked recurrent layers of the decoder.
        cell_type: `lstm`, `gru`, `rnn_tanh` or `rnn_relu`, as in the family `rnn`.
        attention: `none`, `bahdanau` or `luong`.
        attention_score: how `luong` compares states (Luong et al. 2015, section 3.1): `dot`, `general` or `concat`.
        input_feeding: `luong` passes the attentional vector to the next step (section 3.3). Without it, the decoder
            runs as one fused call over a known target.
        embedding_dropout: dropout on the embedding vectors.
        hidden_dropout: dropout between recurrent layers.
        classifier_dropout: dropout before the output layer.
        tie_word_embeddings: the output layer uses the embedding matrix of the target (Press and Wolf 2017), after a
            linear map if `embedding_size` differs from `hidden_size`.
        pad_token_id: also replaces -100 in labels that become decoder inputs.
        decoder_start_token_id: the decoder's first input.
    """

    sizes: ClassVar[tuple[str, ...]] = ("vocab_size", "embedding_size", "hidden_size", "num_decoder_layers")
    attention_window: ClassVar[str] = "global"  # a field of the families that have a choice

    embedding_size: int = 256
    hidden_size: int = 256
    num_decoder_layers: int = 1
    cell_type: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    attention: Literal["none", "bahdanau", "luong"] = "none"
    attention_score: Literal["dot", "general", "concat"] = "general"
    input_feeding: bool = False
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    tie_word_embeddings: bool = False
    is_encoder_decoder: bool = True
    decoder_start_token_id: int | None = None

    @property
    def states_per_layer(self) -> int:
        """The number of states of a recurrent layer: h, and c of an LSTM."""
        return 2 if self.cell_type == "lstm" else 1

    def validate_feeding(self) -> None:
        if self.input_feeding and self.attention != "luong":
            raise ValueError(f"input_feeding=True needs attention='luong', got attention={self.attention!r}.")
