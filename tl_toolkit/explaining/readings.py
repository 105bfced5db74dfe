"""A text as a model reads it: inputs, words, and the scores of the answers that attributions explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.arguments import ModelArguments
from ..errors import UserError
from ..figures.token_spans import pieces_of_ids, words_of
from ..tasks.pair_processing import load_pair_processing
from ..tasks.words import as_read, encode_words, reading_words
from .subjects import Subject

if TYPE_CHECKING:
    from torch import Tensor

READ_AT_ONCE = 4096
"""Tokens of a batch."""
MOST_ANSWERS = 40
"""Words that an encoder-decoder writes, and whose scores are explained."""


@dataclass(frozen=True)
class Reading:
    """One text, and the answers of a model: the most probable class, the tag of each word, or each word it writes.

    Attributes:
        inputs: of the model, tensors with one row.
        words: the words of the text, without special tokens.
        spans: the positions of the tokens of each word.
        targets: what each answer is, for tables.
        own: for each answer the word whose tag it is; None if the answer is about the whole text.
        score: the score of each answer (rows, answers) from outputs, and the places (rows, tokens) at which the
            tokens of this text are in the rows.
        probability: of scores, an array; scores themselves for a regression.
        padding: the token that stands for a word that is taken away.
    """

    subject: Subject
    inputs: dict[str, Tensor]
    words: list[str]
    spans: list[range]
    targets: list[str]
    own: list[int | None]
    score: Callable[[Any, Tensor], Tensor]
    probability: Callable[[np.ndarray], np.ndarray]
    padding: int

    @property
    def time(self) -> int:
        return self.inputs["input_ids"].shape[1]

    def rows(self, count: int) -> dict[str, Tensor]:
        """The inputs, repeated."""
        return {name: own.expand(count, *own.shape[1:]) for name, own in self.inputs.items()}

    def blanked(self, blank: np.ndarray) -> dict[str, Tensor]:
        """Inputs in which the words of `blank` (rows, words) are padding tokens that are read like words."""
        inputs, tokens = self.rows(len(blank)), self._tokens(blank)
        read = {"input_ids": inputs["input_ids"].masked_fill(tokens, self.padding)}
        if "character_ids" in inputs:
            read["character_ids"] = inputs["character_ids"].masked_fill(tokens[..., None], 0)
        return inputs | read

    @cached_property
    def vectors(self) -> tuple[Tensor, Tensor] | None:
        """The embedded tokens (time, size), and those with every word replaced by padding.

        None for models whose words have no vectors of their own: a bag of n-grams, or a network in two directions with
        two tables of vectors.
        """
        import torch

        both = self.blanked(np.repeat([[False], [True]], len(self.words), axis=1))
        with torch.no_grad():
            if (module := self._joined) is not None:
                with _hooked(module) as seen:
                    self._outputs(both)
                return seen[0][0], seen[0][1]
            if len(getattr(self.subject.model.config, "directions", "1")) > 1:
                return None
            try:
                embedded = self.subject.model.get_input_embeddings()(both["input_ids"])
            except (NotImplementedError, AttributeError, TypeError):
                return None
        return embedded[0], embedded[1]

    @property
    def _joined(self) -> Any:
        """The module that reads the vectors of words and of their characters, joined; None without characters."""
        bodies = [own for own in self.subject.model.modules() if getattr(own, "characters", None) is not None]
        return bodies[0].embedding_dropout if bodies else None

    def scores_of(self, vectors: Tensor) -> Tensor:
        """The scores (rows, answers) of embedded tokens (rows, time, size)."""
        inputs = self.rows(len(vectors))
        if self._joined is not None:
            with _hooked(self._joined, vectors):
                return self.scores(inputs)
        inputs.pop("input_ids")
        return self.scores({**inputs, "inputs_embeds": vectors})

    def scores(self, inputs: dict[str, Tensor], places: Tensor | None = None) -> Tensor:
        """The scores (rows, answers) of inputs with as many tokens as the text, or with its tokens at `places`."""
        import torch

        outputs = self._outputs(inputs)
        return self.score(
            outputs, torch.arange(self.time).expand(len(outputs.logits), -1) if places is None else places
        )

    def _outputs(self, inputs: dict[str, Tensor]) -> Any:
        without = {"use_cache": False} if self.subject.model.config.is_encoder_decoder else {}
        return self.subject.model(**inputs, **without, return_dict=True)

    def scores_blanked(self, blank: np.ndarray) -> np.ndarray:
        """The scores (rows, answers) if words are replaced by padding; `blank` is (rows, words)."""
        import torch

        def read(part: np.ndarray) -> Tensor:
            if self.vectors is None:
                return self.scores(self.blanked(part))
            own, padding = self.vectors
            return self.scores_of(torch.where(self._tokens(part)[..., None], padding, own))

        return self._in_batches(blank, read)

    def scores_without(self, removed: np.ndarray) -> np.ndarray:
        """The scores (rows, answers) of shorter texts, without the words of `removed` (rows, words)."""
        return self._in_batches(removed, self._scores_without)

    def _scores_without(self, removed: np.ndarray) -> Tensor:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        kept, inputs = ~self._tokens(removed), self.rows(len(removed))
        shorter = {}
        for name, own in inputs.items():
            if name in ("input_ids", "attention_mask", "token_type_ids", "character_ids"):
                fill = self.padding if name == "input_ids" else 0
                rows = [row[keep] for row, keep in zip(own, kept, strict=True)]
                shorter[name] = pad_sequence(rows, batch_first=True, padding_value=fill)
            else:
                shorter[name] = own
        if "attention_mask" not in shorter:
            shorter["attention_mask"] = pad_sequence([torch.ones(n, dtype=torch.long) for n in kept.sum(1)], True)
        return self.scores(shorter, (kept.cumsum(1) - 1).clamp(min=0))

    def _tokens(self, words: np.ndarray) -> Tensor:
        """(rows, time), whether a token belongs to one of the `words` (rows, words)."""
        import torch

        tokens = torch.zeros(len(words), self.time, dtype=torch.bool)
        for place, span in enumerate(self.spans):
            tokens[:, span.start : span.stop] = torch.from_numpy(words[:, place, None])
        return tokens

    def _in_batches(self, rows: np.ndarray, read: Callable[[np.ndarray], Tensor]) -> np.ndarray:
        import torch

        step = max(1, READ_AT_ONCE // self.time)
        with torch.no_grad():
            parts = [read(rows[start : start + step]).double() for start in range(0, len(rows), step)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, len(self.targets)))


@contextmanager
def _hooked(module: Any, replaced: Tensor | None = None) -> Iterator[list[Tensor]]:
    """Within this context, keep what a module returns, or replace it."""
    kept: list[Tensor] = []

    def hook(_: Any, __: Any, output: Tensor) -> Tensor | None:
        kept.append(output)
        return replaced

    handle = module.register_forward_hook(hook)
    try:
        yield kept
    finally:
        handle.remove()


def read(subject: Subject, text: str) -> Reading:
    """The reading of a text.

    Raises:
        UserError: the text has no words.
    """
    if subject.architecture == "ForTokenClassification":
        reading = _tagged(subject, text)
    elif subject.writes:
        reading = _written(subject, text)
    else:
        reading = _classified(subject, text)
    if not reading.words:
        raise UserError(f"The text {text!r} has no words for {subject.name}. Specify a longer --text.")
    return reading


def _classified(subject: Subject, text: str) -> Reading:
    import torch

    inputs, config = subject.encode(text), subject.model.config
    with torch.no_grad():
        logits = subject.model(**inputs, return_dict=True).logits[0]
    best, is_number = int(logits.argmax()), logits.numel() == 1
    each_label = is_number or config.problem_type == "multi_label_classification"
    name = "the prediction" if is_number else str(config.id2label[best])

    def score(outputs: Any, _: Tensor) -> Tensor:
        if each_label:
            return outputs.logits[:, [best]]
        return _log_odds(outputs.logits, torch.full((len(outputs.logits), 1), best))[:, None]

    return Reading(
        subject, inputs, *_words(subject, text, inputs), [name], [None], score,
        np.asarray if is_number else _sigmoid, _padding(subject),
    )  # fmt: skip


def _tagged(subject: Subject, text: str) -> Reading:
    """The tag of each word, which stands at its first token."""
    import torch

    from ..models.character_features import character_ids_of, pad_characters

    words, config = text.split(), subject.model.config
    (encoded,) = encode_words([words], reading_words(subject.tokenizer), subject.longest)
    inputs = {name: torch.tensor([own]) for name, own in encoded.inputs.items()}
    time, firsts = inputs["input_ids"].shape[1], encoded.places
    words = words[: len(firsts)]
    if vocabulary := getattr(config, "character_vocabulary", ""):
        pieces = [""] * time
        for place, word in zip(firsts, words, strict=True):
            pieces[place] = as_read(word)
        inputs["character_ids"] = pad_characters([character_ids_of(pieces, vocabulary)], time)
    after = subject.tokenizer.num_special_tokens_to_add() - (firsts[0] if firsts else 0)
    spans = [range(start, stop) for start, stop in zip(firsts, [*firsts[1:], time - after], strict=True)]
    with torch.no_grad():
        tags = subject.model(**inputs, return_dict=True).logits[0, firsts].argmax(-1)

    def score(outputs: Any, places: Tensor) -> Tensor:
        at = places[:, firsts, None].expand(-1, -1, outputs.logits.shape[-1])
        return _log_odds(outputs.logits.gather(1, at), tags.expand(len(at), -1)[..., None])

    named = [f"{word}: {config.id2label[int(tag)]}" for word, tag in zip(words, tags, strict=True)]
    return Reading(subject, inputs, words, spans, named, list(range(len(words))), score, _sigmoid, _padding(subject))


def _written(subject: Subject, text: str) -> Reading:
    """The log-probability of each word that an encoder-decoder writes, given the source and the words before it."""
    import torch

    processing = load_pair_processing(ModelArguments(model_name_or_path=subject.path))
    inputs = subject.encode(text)
    ids = subject.written(inputs)
    words = words_of(pieces_of_ids(ids[1:].tolist(), processing.target_tokenizer))[:MOST_ANSWERS]
    joins = torch.zeros(len(ids) - 1, len(words), dtype=torch.float32)
    for place, word in enumerate(words):
        joins[word.tokens.start : word.tokens.stop, place] = 1

    def score(outputs: Any, _: Tensor) -> Tensor:
        log = outputs.logits.float().log_softmax(-1)
        return log.gather(-1, ids[1:].expand(len(log), -1)[..., None])[..., 0] @ joins

    tensors = {**inputs, "decoder_input_ids": ids[None, :-1]}
    targets = [word.text.strip() or word.text for word in words]
    return Reading(
        subject, tensors, *_words(subject, text, inputs), targets, [None] * len(words), score, np.exp, _padding(subject)
    )


def _words(subject: Subject, text: str, inputs: dict[str, Tensor]) -> tuple[list[str], list[range]]:
    words = words_of(subject.pieces(text, inputs))
    words = [word for word in words if not word.special]
    return [word.text.strip() or word.text for word in words], [word.tokens for word in words]


def _padding(subject: Subject) -> int:
    known = (subject.tokenizer.pad_token_id, subject.tokenizer.eos_token_id, 0)
    return int(next(own for own in known if own is not None))


def _log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """log p / (1 - p) of `classes` (..., 1): a logit less the logarithm of the sum of the others' exponentials."""
    import torch

    logits = logits.float()
    return (logits.gather(-1, classes) - logits.scatter(-1, classes, -torch.inf).logsumexp(-1, keepdim=True))[..., 0]


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(scores)
