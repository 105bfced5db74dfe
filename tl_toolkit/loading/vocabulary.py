"""Replace the word-level vocabulary of a trained model (ULMFiT, Howard and Ruder 2018, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ROLES = ("pad_token_id", "unk_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")


def adapt_vocabulary(
    model: PreTrainedModel, old_tokenizer: PreTrainedTokenizerBase, new_tokenizer: PreTrainedTokenizerBase
) -> int:
    """Rebuild the embeddings and the language-modelling head of `model` for the words of another tokenizer.

    A known word keeps its row of the embedding matrix and of the head's weight and bias; a word that is only known in
    lower case uses that row; all other words start with the mean of the old rows. Special tokens are mapped by role,
    whatever their spelling. Tied weights stay tied. The vocabulary size and special ids in the configuration become
    those of the new tokenizer.

    Returns:
        Number of the new tokenizer's words that were known, without special tokens.

    Raises:
        UserError: a tokenizer is not word-level, or the model's embeddings cannot be replaced.
    """
    import torch

    check_word_level(old_tokenizer, "the tokenizer the model was trained with")
    check_word_level(new_tokenizer, "the new tokenizer")
    sources, known = _sources(old_tokenizer, new_tokenizer)
    index = torch.tensor(sources)
    old_size = _size(old_tokenizer)

    def mapped(rows: Tensor) -> Tensor:  # (at least old_size, ...) to (new size, ...)
        at = index.to(rows.device)
        result = rows[at.clamp(min=0)]
        result[at < 0] = rows[:old_size].mean(dim=0)
        return result

    with torch.no_grad():
        embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
        pads = getattr(embeddings, "padding_idx", None) is not None
        rows = mapped(embeddings.weight)
        head_rows = {} if head is None else {name: mapped(values) for name, values in head.named_parameters()}
        try:
            model.resize_token_embeddings(len(sources), mean_resizing=False)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise UserError(
                f"The vocabulary of {type(model).__name__} cannot be changed: {' '.join(str(error).split())} Leave out "
                "--tokenizer_name to use the checkpoint's own tokenizer."
            ) from error
        model.get_input_embeddings().weight.copy_(rows)
        for name, values in head_rows.items():
            model.get_output_embeddings().get_parameter(name).copy_(values)
    if pads:
        model.get_input_embeddings().padding_idx = new_tokenizer.pad_token_id
    for settings in (model.config.get_text_config(), getattr(model, "generation_config", None)):
        for role in _ROLES:
            if hasattr(settings, role):
                setattr(settings, role, getattr(new_tokenizer, role))
    return known


def relearn_words(
    tokenizer: Any, texts: Iterable[str], *, vocab_size: int, min_frequency: int, max_length: int | None = None
) -> PreTrainedTokenizerBase:
    """Return a tokenizer with the rules of `tokenizer`, the words of `texts`, and then its own other words.

    Its own words follow in their order, up to `vocab_size`: a language model knows words that a few texts lack.

    Args:
        vocab_size, min_frequency, max_length: see `build_tokenizer`.

    Raises:
        UserError: `tokenizer` is not word-level, or no word is frequent enough.
    """
    from ..data.encoding import batches
    from ..data.tokenizers import append_words

    check_word_level(tokenizer, "the tokenizer the model was trained with")
    new = tokenizer.train_new_from_iterator(
        batches(texts), vocab_size, min_frequency=min_frequency, show_progress=False
    )
    if _size(new) <= len(new.all_special_ids):
        raise UserError(f"No word in the texts occurs at least {min_frequency} times: lower --tokenizer_min_frequency.")
    own = tokenizer.get_vocab()
    words = sorted(own.keys() - set(tokenizer.all_special_tokens), key=own.__getitem__)
    append_words(new.backend_tokenizer, words, vocab_size, new.unk_token)
    if max_length is not None:
        new.model_max_length = max_length
    return new


def is_word_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokens are whole words, not sub-words or single characters."""
    if type(getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)).__name__ != "WordLevel":
        return False
    words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    return sum(len(word) > 1 for word in words) > len(words) / 2  # a character vocabulary may have a few longer markers


def check_word_level(tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Check that the vocabulary of a tokenizer consists of words.

    Raises:
        UserError: it does not.
    """
    if not is_word_level(tokenizer):
        raise UserError(
            f"A vocabulary can only be replaced word by word, but {what} "
            f"({tokenizer.name_or_path or type(tokenizer).__name__}) is not word-level. Leave out --tokenizer_name: "
            "sub-word and character tokenizers can encode any text and need no new vocabulary."
        )


def _sources(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> tuple[list[int], int]:
    """Return for each new id the old id whose row it uses (-1 for none), and the number of known ordinary words."""
    words = old.get_vocab()
    special = {getattr(new, role): getattr(old, role) for role in _ROLES if getattr(old, role) is not None}
    sources, known = [-1] * _size(new), 0
    for word, position in new.get_vocab().items():
        if position in special:
            sources[position] = special[position]
        else:
            sources[position] = words.get(word, words.get(word.lower(), -1))
            known += sources[position] >= 0
    return sources, known


def _size(tokenizer: PreTrainedTokenizerBase) -> int:
    return max(tokenizer.get_vocab().values()) + 1
