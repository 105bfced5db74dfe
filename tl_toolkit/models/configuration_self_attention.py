"""Configuration of the self-attention family."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .strict_config import StrictConfig


@strict
class SelfAttentionConfig(StrictConfig):
    """Configuration of a `SelfAttentionModel`.

    Args:
        embedding_size: size of a token's embedding. If it differs from `hidden_size`, a linear map connects the two,
            and another one precedes a language model's output (Lan et al. 2020, "ALBERT", section 3.1).
        hidden_size: size of every layer's input and output; a multiple of `num_attention_heads`.
        num_hidden_layers: number of layers.
        num_attention_heads: number of attention heads per layer.
        intermediate_size: inner size of the feed-forward network, four times `hidden_size` in the original paper.
        hidden_act: activation between the two feed-forward maps, any name of `transformers.activations.ACT2FN`.
        position_embedding_type: `sinusoidal` (fixed, any length) or `learned` (up to `max_position_embeddings`).
        max_position_embeddings: maximum text length in tokens; a hard limit for learned positions only.
        norm_position: `pre`, layer norm before each sublayer and one after the last (Xiong et al. 2020, table 1), or
            `post`, after each residual sum, as in the original paper.
        embedding_dropout: dropout on the sum of token and position embeddings.
        hidden_dropout: dropout on the output of each sublayer, before it is added to the residual.
        attention_dropout: dropout on attention weights.
        classifier_dropout: dropout before a classification head.
        pooling: how a text becomes one vector for sequence classification (`pooling.SequencePooling`).
        is_causal: whether a token only sees itself and earlier tokens. Always true in a `SelfAttentionForCausalLM`,
            always false in a `SelfAttentionForMaskedLM`, and saved with it, so a classifier loaded from it keeps the
            mask that its body was trained with.
        layer_norm_eps: epsilon of layer norm.
        initializer_range: standard deviation of the normal distribution that initialises embeddings; linear maps are
            initialised with Glorot and Bengio's uniform distribution.
        tie_word_embeddings: whether a language model's output layer uses the embedding matrix.
        pad_token_id: id of the padding token, whose embedding is always zero.
    """

    model_type = "self_attention"
    sizes = (*StrictConfig.sizes, "num_attention_heads", "intermediate_size", "max_position_embeddings")
    base_model_fsdp_plan: ClassVar[dict[Any, str]] = {"embeddings": "free_full_weight", "layers.*": "free_full_weight"}
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_self_attention.SelfAttentionConfig",
        "AutoModel": "modeling_self_attention.SelfAttentionModel",
        "AutoModelForSequenceClassification": "modeling_self_attention.SelfAttentionForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_self_attention.SelfAttentionForTokenClassification",
        "AutoModelForCausalLM": "modeling_self_attention.SelfAttentionForCausalLM",
        "AutoModelForMaskedLM": "modeling_self_attention.SelfAttentionForMaskedLM",
    }

    vocab_size: int = 10000
    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 512
    hidden_act: str = "relu"
    position_embedding_type: Literal["sinusoidal", "learned"] = "sinusoidal"
    max_position_embeddings: int = 512
    norm_position: Literal["pre", "post"] = "pre"
    embedding_dropout: float | int = 0.1
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    classifier_dropout: float | int = 0.1
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "mean"
    is_causal: bool = False
    layer_norm_eps: float = 1e-5
    initializer_range: float | int = 0.02
    tie_word_embeddings: bool = True

    def validate_architecture(self) -> None:
        """Check the fields together; `strict` calls this after construction. Raises ValueError if they do not fit."""
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads, so that each head has a whole number of "
                f"features, got {self.hidden_size} and {self.num_attention_heads}."
            )
