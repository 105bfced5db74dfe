"""Configuration of the bag-of-n-grams family."""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict

from .strict_config import StrictConfig

_LARGEST_KEY = 2**63 - 1


@strict
class BagOfNgramsConfig(StrictConfig):
    """Configuration of a linear classifier on counts of n-grams, sequences of n consecutive tokens.

    Args:
        ngram_range: the smallest and the largest n.
        weighting: `tfidf`, counts times the inverse document frequency, scaled to an L2 norm of 1 per text, or
            `counts`, the counts themselves.
        sublinear_tf: tfidf: replace a count c by 1 + ln(c).
        min_rows: n-grams in fewer training rows are not learned.
        max_ngrams: at most so many n-grams are learned, those in the most training rows; None for all. With 0 every
            text gets the same answer, that of the biases.
        num_ngrams: number of n-grams in the table, which learning sets.
        initializer_range: standard deviation of the normal distribution that initialises the weights.
    """

    model_type = "bag_of_ngrams"
    sizes = ("vocab_size", "min_rows", "num_ngrams")
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_bag_of_ngrams.BagOfNgramsConfig",
        "AutoModelForSequenceClassification": "modeling_bag_of_ngrams.BagOfNgramsForSequenceClassification",
    }

    ngram_range: list[int] | tuple[int, int] = (1, 2)
    weighting: Literal["tfidf", "counts"] = "tfidf"
    sublinear_tf: bool = True
    min_rows: int = 1
    max_ngrams: int | None = 2**20
    num_ngrams: int = 1
    initializer_range: float | int = 0.02

    def validate_max_ngrams(self) -> None:
        if self.max_ngrams is not None and self.max_ngrams < 0:
            raise ValueError(f"max_ngrams must be 0 or more, got {self.max_ngrams}.")

    def validate_ngram_range(self) -> None:
        """Check that every n-gram has a key of 64 bits. `strict` calls this; raises ValueError if not."""
        if len(self.ngram_range) != 2 or not 1 <= self.ngram_range[0] <= self.ngram_range[1]:
            raise ValueError(
                f"ngram_range must be the smallest and the largest n, from 1, such as (1, 2); got {self.ngram_range}."
            )
        longest = self.ngram_range[1]
        if (self.vocab_size + 1) ** longest > _LARGEST_KEY:
            raise ValueError(
                f"ngram_range {tuple(self.ngram_range)} is too long for {self.vocab_size:,} token ids: "
                f"(vocab_size + 1) ** {longest} must be below 2 ** 63. Use shorter n-grams or a smaller vocabulary."
            )
