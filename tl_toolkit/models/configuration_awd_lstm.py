"""Configuration of the AWD-LSTM, the language model that ULMFiT transfers."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .strict_config import StrictConfig

_DROPOUTS = ("input_dropout", "hidden_dropout", "output_dropout", "embedding_dropout", "weight_dropout")


@strict
class AwdLstmConfig(StrictConfig):
    r"""Configuration of an AWD-LSTM (Merity et al. 2017). Sizes are numbers of units, dropouts are probabilities.

    The sizes and dropouts are those of fastai's pre-trained language model. ULMFiT's classifiers usually have higher
    dropouts: input_dropout 0.4, hidden_dropout 0.3, output_dropout 0.4, embedding_dropout 0.05, weight_dropout 0.5.

    Args:
        embedding_size: size of the embedding vectors and of the last layer's output.
        hidden_size: size of the state of every layer except the last.
        num_hidden_layers: number of stacked LSTM layers.
        direction: `forward`; `backward` to read each text from its end; or `both`, an ensemble of two bodies and two
            heads, one per direction, whose probabilities are averaged. Outputs are returned in the original order.
        input_dropout: locked dropout on the embedding vectors. (Locked: one mask for all time steps of a window, Gal
            and Ghahramani 2016.)
        hidden_dropout: locked dropout between layers.
        output_dropout: locked dropout on the input of the language-modelling head; dropout on a classifier's pooled
            vector.
        embedding_dropout: drops whole words, at all their positions in a window.
        weight_dropout: DropConnect on the hidden-to-hidden matrices, one mask per window (Wan et al. 2013).
        dropout_multiplier: factor for the five dropouts above.
        classifier_hidden_size: units of the classifier's hidden layer.
        classifier_dropout: dropout on these units.
        activation_regularization: alpha of AR, which keeps the language model's outputs small.
        temporal_activation_regularization: beta of TAR, which keeps outputs from changing fast (Merity et al. 2017,
            section 5).
        tie_word_embeddings: the language-modelling head uses the embedding matrix.
        max_backprop_tokens: a classifier pools, and computes gradients for, this many of the tokens that it reads last;
            earlier tokens are read in windows without gradients and only affect the state.
    """

    model_type = "awd_lstm"
    sizes = (*StrictConfig.sizes, "classifier_hidden_size", "max_backprop_tokens")
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_awd_lstm.AwdLstmConfig",
        "AutoModel": "modeling_awd_lstm.AwdLstmModel",
        "AutoModelForSequenceClassification": "modeling_awd_lstm.AwdLstmForSequenceClassification",
        "AutoModelForCausalLM": "modeling_awd_lstm.AwdLstmForCausalLM",
    }

    embedding_size: int = 400
    hidden_size: int = 1152
    num_hidden_layers: int = 3
    direction: Literal["forward", "backward", "both"] = "forward"
    input_dropout: float | int = 0.25
    hidden_dropout: float | int = 0.15
    output_dropout: float | int = 0.1
    embedding_dropout: float | int = 0.02
    weight_dropout: float | int = 0.2
    dropout_multiplier: float | int = 1.0
    classifier_hidden_size: int = 50
    classifier_dropout: float | int = 0.1
    activation_regularization: float | int = 2.0
    temporal_activation_regularization: float | int = 1.0
    tie_word_embeddings: bool = True
    max_backprop_tokens: int = 1440

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of the bodies."""
        return ("forward", "backward") if self.direction == "both" else (self.direction,)

    def dropout(self, name: str) -> float:
        """The probability of one of the five dropouts that `dropout_multiplier` scales, such as "input"."""
        return getattr(self, f"{name}_dropout") * self.dropout_multiplier

    def layer_sizes(self) -> list[tuple[int, int]]:
        """Input and output size of each layer: the first input and the last output have the embedding size."""
        sizes = [self.embedding_size, *[self.hidden_size] * (self.num_hidden_layers - 1), self.embedding_size]
        return list(zip(sizes[:-1], sizes[1:], strict=True))

    def validate_dropouts(self) -> None:
        super().validate_dropouts()
        for name in _DROPOUTS:
            if getattr(self, name) * self.dropout_multiplier >= 1:
                raise ValueError(
                    f"{name} is a probability and must be in [0, 1), got {getattr(self, name)} x dropout_multiplier "
                    f"{self.dropout_multiplier}."
                )

    def validate_regularization(self) -> None:
        for name in ("dropout_multiplier", "activation_regularization", "temporal_activation_regularization"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}.")
