"""A linear classifier on counts of n-grams, weighted by TF-IDF (Spärck Jones 1972).

Its numbers are those of scikit-learn's `TfidfVectorizer` or `CountVectorizer` on the same token ids. The table of
n-grams is part of the weights.
"""

# No postponed annotations here: tools read the annotations of `forward` to find the keywords of a model.
import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_bag_of_ngrams import BagOfNgramsConfig
from .pooling import not_empty
from .sequence_classification import SequenceClassification


class NgramFeatures(nn.Module):
    """The weights of the n-grams of a text that are in the table.

    An n-gram of the ids i_1 … i_n has the key sum_j (i_j + 1) B^(n - j) with B = vocab_size + 1: a number of n digits,
    none of them 0, so n-grams of different lengths have different keys, too.

    Buffers:
        keys: (num_ngrams,) keys in ascending order, so that they are found by binary search.
        idf: (num_ngrams,) inverse document frequencies; ones without weighting.
    """

    keys: Tensor
    idf: Tensor

    def __init__(self, config: BagOfNgramsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("keys", torch.arange(1, config.num_ngrams + 1))
        self.register_buffer("idf", torch.ones(config.num_ngrams))

    def keys_of(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Keys of all n-grams of each text in ascending order, after zeros instead of n-grams that do not exist.

        Tokens whose mask is not 1 are removed first, so an n-gram may span a hole in the mask, but no padding.

        Args:
            input_ids: (batch, time).
            attention_mask: (batch, time).

        Returns:
            (batch, time * orders), where orders is the number of different n.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        smallest, largest = self.config.ngram_range
        base = self.config.vocab_size + 1
        digits = input_ids.long() + 1
        if attention_mask is not None:
            real = (attention_mask.to(digits.device) == 1).long()
            places = (real.cumsum(dim=1) - 1).clamp(min=0)
            digits = torch.zeros_like(digits).scatter_add(1, places, digits * real)
        self._check_vocabulary(digits, is_masked=attention_mask is not None)
        following = nn.functional.pad(digits, (0, largest - 1))  # the digit 0 is no token
        time, key, keys = digits.shape[1], torch.zeros_like(digits), []
        for n in range(1, largest + 1):
            key = key * base + following[:, n - 1 : n - 1 + time]
            if n >= smallest:
                keys.append(torch.where(key % base > 0, key, 0))  # 0 if it ends after the text
        return torch.cat(keys, dim=1).sort(dim=1).values

    def _check_vocabulary(self, digits: Tensor, is_masked: bool) -> None:
        # The key of such an id would be that of another n-gram. A traced graph cannot raise errors.
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or digits.is_meta:
            return
        lowest, highest = digits.aminmax()
        if lowest < (0 if is_masked else 1) or highest > self.config.vocab_size:
            raise ValueError(
                f"Token ids must be from 0 to {self.config.vocab_size - 1} (vocab_size - 1), but are from "
                f"{lowest - 1} to {highest - 1}: the tokenizer belongs to another model."
            )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Indices into the table and weights, both (batch, time * orders); unused places have the weight 0.

        Weights are in float32. Arguments as in `keys_of`.
        """
        keys = self.keys_of(input_ids, attention_mask)
        is_first = nn.functional.pad(keys[:, 1:] != keys[:, :-1], (1, 0), value=True)
        groups = is_first.long().cumsum(dim=1) - 1
        counts = torch.zeros_like(keys).scatter_add(1, groups, torch.ones_like(keys)).gather(1, groups)
        indices = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        weights = counts.float()
        if self.config.weighting == "tfidf":
            if self.config.sublinear_tf:
                weights = 1 + weights.log()
            weights = weights * self.idf[indices].float()
        weights = torch.where(is_first & (self.keys[indices] == keys), weights, 0.0)
        if self.config.weighting == "tfidf":
            weights = nn.functional.normalize(weights, dim=1)
        return indices, weights

    def token_ids(self) -> Tensor:
        """The token ids of each n-gram in the table, (num_ngrams, largest n), with -1 after the end of shorter ones."""
        rest, base, columns = self.keys, self.config.vocab_size + 1, []
        for _ in range(self.config.ngram_range[1]):
            columns.append(rest % base - 1)
            rest = rest // base
        reverse = torch.stack(columns[::-1], dim=1)  # shorter n-grams begin with -1
        return reverse.gather(1, torch.argsort((reverse < 0).int(), dim=1, stable=True))


class BagOfNgramsForSequenceClassification(SequenceClassification, PreTrainedModel):
    """A linear head on the counts of a text.

    A new model has a table of arbitrary n-grams; `set_ngrams` replaces it.
    """

    config_class = BagOfNgramsConfig
    base_model_prefix = "model"  # the family has no body of its own

    def __init__(self, config: BagOfNgramsConfig) -> None:
        super().__init__(config)
        self.ngrams = NgramFeatures(config)
        # Rows of labels: the sum over a text reads only the rows of its n-grams, one piece of memory each.
        self.classifier = nn.EmbeddingBag(config.num_ngrams, config.num_labels, mode="sum")
        self.bias = nn.Parameter(torch.zeros(config.num_labels))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.EmbeddingBag):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, NgramFeatures):
            init.copy_(module.keys, torch.arange(1, len(module.keys) + 1))
            init.ones_(module.idf)
        elif isinstance(module, BagOfNgramsForSequenceClassification):
            init.zeros_(module.bias)

    def get_input_embeddings(self) -> None:
        """None: a bag of n-grams has no embeddings."""

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the embeddings to the head: only a head."""
        return [["classifier.", "bias"]]

    @torch.no_grad()
    def set_ngrams(self, keys: Tensor, idf: Tensor) -> None:
        """Replace the table, and with it the classifier, whose weights become zeros.

        Args:
            keys: (num_ngrams,) keys of n-grams in ascending order, see `NgramFeatures`.
            idf: (num_ngrams,) their inverse document frequencies.
        """
        self.config.num_ngrams = len(keys)
        old = self.classifier.weight
        self.ngrams.keys, self.ngrams.idf = keys.to(old.device), idf.to(old)
        self.classifier = nn.EmbeddingBag(
            len(keys), old.shape[1], mode="sum", _weight=old.new_zeros(len(keys), old.shape[1])
        )
        self.bias.zero_()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Classify a batch of texts.

        Args:
            input_ids: (batch, time).
            attention_mask: (batch, time), 1 for real tokens; the others are ignored. None: all tokens are real.
            labels: see `SequenceClassification`.

        Returns:
            `loss` (with labels) and `logits` (batch, num_labels).

        Raises:
            ValueError: no input ids, or ids that are not in the vocabulary.
        """
        if input_ids is None or kwargs.get("inputs_embeds") is not None:
            raise ValueError("Pass input_ids, not inputs_embeds: a bag of n-grams counts token ids.")
        input_ids, attention_mask = not_empty(input_ids, attention_mask, self.config.pad_token_id)
        indices, weights = self.ngrams(input_ids, attention_mask)
        weight = self.classifier.weight
        logits = self.classifier(indices, per_sample_weights=weights.to(weight.dtype)) + self.bias
        return self.classified(logits, labels, kwargs)


__all__ = ["BagOfNgramsForSequenceClassification"]
