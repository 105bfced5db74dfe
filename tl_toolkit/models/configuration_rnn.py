"""Configuration of the recurrent family: Elman networks, GRU and LSTM."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .strict_config import StrictConfig


@strict
class RnnConfig(StrictConfig):
    r"""Configuration of a recurrent network. Sizes are numbers of units, dropouts are probabilities.

    Args:
        embedding_size: size of the embedding vectors. Not used with `embedding_type="one_hot"`.
        hidden_size: size of the state of one direction; a bidirectional layer returns twice as many features.
        num_hidden_layers: number of stacked recurrent layers.
        cell_type: `lstm` (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), `gru` (Cho et
            al. 2014), `rnn_tanh` or `rnn_relu` (Elman 1990). The equations are those of `torch.nn.LSTM`, `GRU`, `RNN`.
        initialization: of recurrent layers: `orthogonal` recurrent matrices and an LSTM's forget gate at 1 (see
            `initialize_recurrent`), or `uniform`, torch's default.
        bidirectional: read every layer's input in both directions and concatenate (Schuster and Paliwal 1997).
        direction: `forward`, or `backward` to read each text from its end; outputs are returned in the original order.
            A bidirectional network already reads both ways and only accepts `forward`. `both` is an ensemble of two
            text classifiers, one per direction, whose probabilities are averaged.
        pooling: how a text becomes one vector before the sequence head (see `SequencePooling`).
        embedding_type: `learned` vectors, or `one_hot` vectors with one indicator per token id.
        freeze_embeddings: do not train the embedding vectors, for example if they come from GloVe.
        embedding_dropout: dropout on the embedding vectors.
        hidden_dropout: dropout between recurrent layers.
        classifier_dropout: dropout before the head of any type.
        crf: token classification scores the tags of a sentence jointly (see `LinearChainCrf`).
        character_encoder: appends features of each word's characters to its embedding vector: `none`, `rnn` or `cnn`
            (see `CharacterFeatures`).
        character_vocabulary: the known characters, each once; ids start at 2.
        character_embedding_size: size of the character vectors.
        character_feature_size: features per word; with `rnn`, each direction computes half of them.
        character_kernel_size: width of a `cnn` filter in characters, an odd number.
        tie_word_embeddings: the language-modelling head uses the embedding matrix (Press and Wolf 2017); needs
            `embedding_size == hidden_size`.
        lm_head_bias: the language-modelling head adds a bias to every token's logit.
        num_input_features: the network reads vectors of this many numbers (`inputs_embeds`) instead of token ids, such
            as the variables of a series, and has no embedding table.
        observed_mask_as_input: the forecasting head also passes to the network whether each number was observed.
        prediction_length: number of steps that the forecasting head predicts.
        context_length: number of past steps in training; the network can read any number of steps.
        forecast_type: `many_to_one`, the whole horizon at once from one vector; or `many_to_many`, step by step.
        forecast_loss: `mse` or `mae`, of the scaled values.
        subtract_last_value: read and predict differences from the last observed value (NLinear, Zeng et al. 2023), so
            that forecasts can leave the range of the training data.
    """

    model_type = "rnn"
    sizes = (
        *(*StrictConfig.sizes, "num_input_features", "prediction_length", "context_length"),
        *("character_embedding_size", "character_feature_size", "character_kernel_size"),
    )
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_rnn.RnnConfig",
        "AutoModel": "modeling_rnn.RnnModel",
        "AutoModelForSequenceClassification": "modeling_rnn.RnnForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_rnn.RnnForTokenClassification",
        "AutoModelForCausalLM": "modeling_rnn.RnnForCausalLM",
        "AutoModelForMaskedLM": "modeling_rnn.RnnForMaskedLM",
        "AutoModelForTimeSeriesPrediction": "modeling_rnn.RnnForTimeSeriesPrediction",
    }

    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 1
    cell_type: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    initialization: Literal["orthogonal", "uniform"] = "orthogonal"
    bidirectional: bool = False
    direction: Literal["forward", "backward", "both"] = "forward"
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "last"
    embedding_type: Literal["learned", "one_hot"] = "learned"
    freeze_embeddings: bool = False
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    crf: bool = False
    character_encoder: Literal["none", "rnn", "cnn"] = "none"
    character_vocabulary: str = ""
    character_embedding_size: int = 25
    character_feature_size: int = 50
    character_kernel_size: int = 3
    tie_word_embeddings: bool = False
    lm_head_bias: bool = False
    num_input_features: int | None = None
    observed_mask_as_input: bool = False
    prediction_length: int | None = None
    context_length: int | None = None
    forecast_type: Literal["many_to_one", "many_to_many"] = "many_to_one"
    forecast_loss: Literal["mse", "mae"] = "mse"
    subtract_last_value: bool = False

    @property
    def output_size(self) -> int:
        """Features per token that the network returns."""
        return 2 * self.hidden_size if self.bidirectional else self.hidden_size

    @property
    def summary_position(self) -> str:
        """The position where the network has read the whole text, see `SequencePooling`."""
        return "both" if self.bidirectional else "first" if self.direction == "backward" else "last"

    @property
    def input_size(self) -> int:
        """Features per token that the first layer reads, except with one-hot embeddings."""
        if self.num_input_features is None:  # a word's vector followed by its character features
            return self.embedding_size + (self.character_feature_size if self.character_encoder != "none" else 0)
        return 2 * self.num_input_features if self.observed_mask_as_input else self.num_input_features

    def validate_characters(self) -> None:
        if self.character_encoder == "none":
            return
        if self.character_encoder == "rnn" and self.character_feature_size % 2:
            raise ValueError(
                f"character_feature_size must be even with character_encoder='rnn', because each direction computes "
                f"half of it, got {self.character_feature_size}."
            )
        if self.character_encoder == "cnn" and self.character_kernel_size % 2 == 0:
            raise ValueError(f"character_kernel_size must be odd, got {self.character_kernel_size}.")
        if not self.character_vocabulary or len(set(self.character_vocabulary)) != len(self.character_vocabulary):
            raise ValueError(
                f"character_encoder={self.character_encoder!r} needs its characters in character_vocabulary, each "
                f"exactly once, got {self.character_vocabulary[:40]!r}."
            )
        if self.embedding_type == "one_hot" or self.num_input_features is not None:
            raise ValueError(
                "character_encoder must be 'none' with embedding_type='one_hot' or num_input_features: these have no "
                "word vectors to append character features to."
            )

    def validate_combinations(self) -> None:
        if self.bidirectional and self.direction != "forward":
            raise ValueError(
                f"direction={self.direction!r} needs bidirectional=False: a bidirectional network reads both ways."
            )
        if self.tie_word_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tie_word_embeddings=True needs embedding_size == hidden_size, got {self.embedding_size} and "
                f"{self.hidden_size}."
            )
        if self.embedding_type == "one_hot" and (self.tie_word_embeddings or self.freeze_embeddings):
            raise ValueError(
                "tie_word_embeddings and freeze_embeddings must be False with embedding_type='one_hot', which has no "
                "embedding vectors."
            )
        has_table = self.embedding_type == "one_hot" or self.tie_word_embeddings or self.freeze_embeddings
        if self.num_input_features is not None and has_table:
            raise ValueError(
                "With num_input_features, embedding_type must be 'learned', and tie_word_embeddings and "
                "freeze_embeddings must be False: a network that reads numbers has no embedding table."
            )
