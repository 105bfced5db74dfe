"""Configuration of the recurrent family: Elman networks, GRU and LSTM."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .strict_config import StrictConfig


@strict
class RnnConfig(StrictConfig):
    r"""Everything that shapes a recurrent network. Sizes count units, dropouts are probabilities.

    Args:
        vocab_size: number of token ids.
        embedding_size: size of the embedding vectors. Not used with `embedding_type="one_hot"`.
        hidden_size: size of the state of one direction; a bidirectional layer returns twice as many features.
        num_hidden_layers: number of stacked recurrent layers.
        cell_type: `lstm` (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), `gru` (Cho et
            al. 2014), `rnn_tanh` or `rnn_relu` (Elman 1990). The equations are those of `torch.nn.LSTM`, `GRU`, `RNN`.
        bidirectional: read every layer's input in both directions and concatenate (Schuster and Paliwal 1997).
        direction: `forward`, or `backward` to read each text from its end; outputs come back in reading order. A
            bidirectional network reads both ways already and takes `forward` only.
        pooling: how a text becomes one vector before the sequence head (see `SequencePooling`).
        embedding_type: `learned` vectors, or `one_hot`: the network sees one indicator per token id.
        freeze_embeddings: keep the embedding vectors as they are, e.g. when they are copied from GloVe.
        embedding_dropout: dropout on the embedding vectors.
        hidden_dropout: dropout between recurrent layers.
        classifier_dropout: dropout before the head, whichever it is.
        tie_word_embeddings: the language-modelling head uses the embedding matrix (Press and Wolf 2017); needs
            `embedding_size == hidden_size`.
        lm_head_bias: the language-modelling head adds a bias to every token's logit.
        initializer_range: embeddings start uniform in [-initializer_range, initializer_range].
        use_cache: return the recurrent state (`past_key_values`) in evaluation mode.
        pad_token_id, bos_token_id, eos_token_id: ids of the special tokens. Padding is told by `attention_mask`
            alone, never by the id.
    """

    model_type = "rnn"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_rnn.RnnConfig",
        "AutoModel": "modeling_rnn.RnnModel",
        "AutoModelForSequenceClassification": "modeling_rnn.RnnForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_rnn.RnnForTokenClassification",
        "AutoModelForCausalLM": "modeling_rnn.RnnForCausalLM",
    }

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 1
    cell_type: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    bidirectional: bool = False
    direction: Literal["forward", "backward"] = "forward"
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "last"
    embedding_type: Literal["learned", "one_hot"] = "learned"
    freeze_embeddings: bool = False
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    tie_word_embeddings: bool = False
    lm_head_bias: bool = False
    initializer_range: float | int = 0.1
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    @property
    def output_size(self) -> int:
        """Features per token that the network returns."""
        return 2 * self.hidden_size if self.bidirectional else self.hidden_size

    def validate_sizes(self) -> None:
        for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")

    def validate_dropouts(self) -> None:
        for name in ("embedding_dropout", "hidden_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability and must be in [0, 1), got {getattr(self, name)}.")

    def validate_combinations(self) -> None:
        if self.bidirectional and self.direction == "backward":
            raise ValueError(
                "direction='backward' is for bidirectional=False: a bidirectional network reads both ways."
            )
        if self.tie_word_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tie_word_embeddings=True needs embedding_size == hidden_size, got {self.embedding_size} and "
                f"{self.hidden_size}."
            )
        if self.embedding_type == "one_hot" and (self.tie_word_embeddings or self.freeze_embeddings):
            raise ValueError(
                "embedding_type='one_hot' has no embedding vectors: tie_word_embeddings and freeze_embeddings must be "
                "False with it."
            )
