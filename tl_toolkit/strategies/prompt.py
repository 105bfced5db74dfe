"""Prompting: a language model scores the words of the classes after an instruction and labelled examples."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, listing, nearest
from .base import Strategy

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..config.arguments import RunArguments
    from ..models.modeling_prompted import PromptedForSequenceClassification

logger = logging.getLogger(__name__)

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts without content (Zhao et al. 2021, section 5, "Choosing the content-free input")."""
_OF_UPDATES = (
    *("learning_rate", "num_train_epochs", "max_steps", "min_train_steps", "label_smoothing_factor", "find_lr"),
    *("early_stopping_patience", "resume_from_checkpoint"),
)
_PLACE = "\N{REPLACEMENT CHARACTER}text\N{REPLACEMENT CHARACTER}"
_MISSES = 20  # examples that do not fit, after which shorter ones are no longer looked for
_NO_LIMIT = 4096  # the context of a model that names none


class Prompt(Strategy):
    """Trains nothing: a causal language model answers a prompt (Brown et al. 2020; Zhao et al. 2021)."""

    name = "prompt"
    fits = True
    needs_one_class = True
    needs_one_text = True

    def check(self, args: RunArguments, task: str) -> None:
        if task != "text-classification":
            raise UserError(
                "The strategy 'prompt' chooses one of the classes of a text, but --task is "
                f"{task!r}: use --task text-classification, or another strategy."
            )
        if given := [name for name in _OF_UPDATES if args.as_given.get(name)]:
            raise UserError(
                f"--{given[0]} {args.as_given[given[0]]} does not apply to the strategy 'prompt', which trains "
                "nothing: leave it out."
            )

    def prompted(
        self,
        language_model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: Dataset,
        head: Mapping[str, Any],
        longest: int | None,
        seed: int,
    ) -> PromptedForSequenceClassification:
        """`language_model` as a classifier whose prompt has an instruction and as many `rows` as fit.

        Afterwards, `tokenizer` adds no special tokens, because those at the start belong to the prompt.

        Args:
            rows: the labelled rows, with the columns `text` and `label`.
            head: the settings of the classes for a configuration.
            longest: the most tokens of a text that the user allows; None for no limit.
            seed: chooses the examples and their order.

        Raises:
            UserError: the model is not a causal language model, or the verbalizers are wrong.
        """
        import torch

        from ..models import PromptedConfig, PromptedForSequenceClassification

        _check(language_model)
        names = [head["id2label"][place] for place in range(head["num_labels"])]
        self.verbalizers = verbalizers_of(names, self.arguments.verbalizers)
        self.instruction = (
            self.arguments.instruction or f"Classify the text. Answer with one of: {', '.join(self.verbalizers)}."
        )
        special = _first_special(tokenizer)
        _add_no_special_tokens(tokenizer)
        self.has_template = tokenizer.chat_template is not None
        _, end = self._around(tokenizer, [])
        after = _continuation(tokenizer, "a", end)
        space = "" if self.has_template else " "
        words = [_continuation(tokenizer, f"a{end}", space + word) for word in self.verbalizers]
        if len(set(map(tuple, words))) < len(words):
            raise UserError(f"--verbalizers must be different words, but the tokenizer reads some as one: {words}.")
        known = [getattr(language_model.config.get_text_config(), "max_position_embeddings", None)]
        known.append(tokenizer.model_max_length)
        self.context = min((own for own in known if own and own < 10**9), default=_NO_LIMIT)
        room = self.context - len(after) - max(map(len, words)) + 1
        before, text = self._with_examples(tokenizer, rows, special, room, longest, seed)
        config = PromptedConfig(
            language_model_config=language_model.config, prompt=text, verbalizers=self.verbalizers, before=before,
            after=after, verbalizer_ids=words, pad_token_id=tokenizer.pad_token_id, **head,
        )  # fmt: skip
        language_model.config.name_or_path = ""  # would be saved
        with torch.device("meta"):
            model = PromptedForSequenceClassification(config)
        model.language_model = language_model
        model.calibration.to_empty(device=language_model.device)
        model._init_weights(model.calibration)
        config.language_model_config = language_model.config  # one object: both are told which attention to use
        return model.eval()

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        return model.requires_grad_(False)

    def _with_examples(
        self, tokenizer: PreTrainedTokenizerBase, rows: Dataset, special: list[int], room: int, longest: int | None,
        seed: int,
    ) -> tuple[list[int], str]:  # fmt: skip
        """The tokens before the text, with as many examples as leave room for it, and the whole prompt to read."""
        labels, texts, most = np.asarray(rows["label"]), rows["text"][:], self.arguments.prompt_examples
        lengths = [len(ids) for ids in tokenizer(texts, truncation=False)["input_ids"]]
        reserved = min([max(lengths), *([longest] if longest else []), self.context // 2])
        wanted = len(texts) if most is None else min(most, len(texts))

        def tokens(examples: Sequence[tuple[str, str]]) -> list[int]:
            text, _ = self._around(tokenizer, examples)
            return [*([] if self.has_template else special), *tokenizer(text, truncation=False)["input_ids"]]

        alone = used = len(tokens([]))
        if used + reserved > room:
            raise UserError(
                f"The instruction of the prompt has {used} tokens, which leave no room for texts in the context of "
                f"{self.context}: shorten --instruction, or use a model with a longer context."
            )
        examples: list[tuple[str, str]] = []
        misses = 0
        for row in in_turn(labels, seed):
            if len(examples) == wanted or misses == _MISSES:
                break
            example = (texts[int(row)], self.verbalizers[labels[row]])
            size = len(tokens([example])) - alone
            if used + size + reserved <= room:
                examples.append(example)
                used += size
            else:
                misses += 1
        examples = [examples[place] for place in np.random.default_rng(seed).permutation(len(examples))]
        while len(before := tokens(examples)) + reserved > room:  # where tokens depend on their neighbours
            examples.pop()
        self.examples = len(examples)
        if self.examples < wanted:
            logger.warning(
                "The prompt has %d of %d labelled rows: no more fit into the context of %d tokens beside a text of %d.",
                self.examples, wanted, self.context, reserved,
            )  # fmt: skip
        start, end = self._around(tokenizer, examples)
        return before, f"{start}{{text}}{end}"

    def _around(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[tuple[str, str]]) -> tuple[str, str]:
        """The prompt before and after the text to classify."""
        shots = [*examples, (_PLACE, "")]
        if not self.has_template:
            parts = [f"Text:\n{text}\nLabel:{f' {word}' if word else ''}" for text, word in shots]
            whole = "\n\n".join([self.instruction, *parts])
        else:
            messages = []
            for place, (text, word) in enumerate(shots):
                asked = f"Text:\n{text}"
                content = f"{self.instruction}\n\n{asked}" if place == 0 else asked
                messages += [{"role": "user", "content": content}, {"role": "assistant", "content": word}]
            whole = str(
                tokenizer.apply_chat_template(
                    messages[:-1], tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            )
        start, _, end = whole.partition(_PLACE)
        return start, end

    def calibrate(self, model: PromptedForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        """Divide the probabilities by those of texts without content, in the layer `calibration` of `model`.

        Of Zhao et al. (2021), section 4: W = diag(p)⁻¹ and b = 0 for probabilities. Here logits are logarithms of
        probabilities, so that W is the identity and b = -log p.
        """
        import torch

        chances = []
        with torch.no_grad():
            for text in CONTENT_FREE:
                ids = torch.tensor([tokenizer(text)["input_ids"]], dtype=torch.long, device=model.device)
                chances.append(model(input_ids=ids.view(1, -1)).logits.double().softmax(-1)[0])
            self.prior = torch.stack(chances).mean(0)
            model.calibration.bias.copy_(-self.prior.clamp_min(1e-12).log())

    def record(self) -> dict[str, Any]:
        if not hasattr(self, "verbalizers"):
            return {"name": self.name}
        return {
            "name": self.name,
            "instruction": self.instruction,
            "verbalizers": self.verbalizers,
            "examples": self.examples,
            "context": self.context,
            "chat_template": self.has_template,
        }


def _check(language_model: PreTrainedModel) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    config = type(language_model.config)
    reads_both_sides = config in MODEL_FOR_MASKED_LM_MAPPING and not language_model.config.is_decoder
    if config not in MODEL_FOR_CAUSAL_LM_MAPPING or reads_both_sides or config.__module__.startswith("tl_toolkit"):
        raise UserError(
            f"The strategy 'prompt' needs a causal language model of transformers, but --model_name_or_path is a "
            f"{type(language_model).__name__}."
        )


def in_turn(labels: np.ndarray, seed: int) -> np.ndarray:
    """The rows in random order, so that the classes take turns: any number of the first ones is balanced."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turns = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        turns[own] = np.arange(len(own))
    return order[np.argsort(turns, kind="stable")]


def verbalizers_of(names: Sequence[str], given: str | None) -> list[str]:
    """The words of each class: those of `--verbalizers`, otherwise its name.

    Raises:
        UserError: `given` is neither `name=word,name=word` nor a mapping in JSON, or names another class.
    """
    words = {name: str(name).replace("_", " ").strip() for name in names}
    if given is not None:
        try:
            pairs = (
                json.loads(given) if given.lstrip().startswith("{") else [own.split("=") for own in given.split(",")]
            )
            asked = {str(name).strip(): str(word).strip() for name, word in dict(pairs).items()}
        except ValueError as error:
            raise UserError(f"--verbalizers must look like class=word,class=word, but is {given!r}.") from error
        if unknown := [name for name in asked if name not in words]:
            raise UserError(
                f"--verbalizers names the class {unknown[0]!r}; the classes are {listing(names)}."
                f"{nearest(unknown[0], names)}"
            )
        words |= asked
    if all(word.lstrip("-").isdigit() for word in words.values()):
        logger.warning(
            "The classes are called %s, which says nothing to a language model: name words with --verbalizers.",
            listing(words.values()),
        )
    return list(words.values())


def _first_special(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that a tokenizer puts before a text."""
    whole, plain = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (True, False))
    return whole[: next((place for place in range(len(whole)) if whole[place : place + len(plain)] == plain), 0)]


def _add_no_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.num_special_tokens_to_add():
        return
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")


def _continuation(tokenizer: PreTrainedTokenizerBase, context: str, text: str) -> list[int]:
    """The tokens of `text` after `context`."""
    start, whole = (tokenizer(own, truncation=False)["input_ids"] for own in (context, context + text))
    return whole[len(start) :] if whole[: len(start)] == start else tokenizer(text, truncation=False)["input_ids"]
