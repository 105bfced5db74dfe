"""Exported models that write texts, with the most probable token at each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig
from transformers.utils import ModelOutput

from ..errors import UserError
from ..models.rnn_generation import RecurrentSeq2SeqGenerationMixin
from .folder import ENCODER
from .session import OnnxModel

_NEW_TOKENS = 200


class _Writer(nn.Module):
    """What `generate` and trainers need of a model that writes."""

    device = torch.device("cpu")

    def __init__(self, path: Path, config: Any, generation_config: GenerationConfig | None) -> None:
        super().__init__()
        self.config, self.step = config, OnnxModel(path, config)
        self.generation_config = generation_config or GenerationConfig()
        self.inputs, self.outputs = self.step.inputs, self.step.outputs
        self.states = [name for name in self.step.inputs if name.startswith("past_")]

    def first_states(self, batch: int) -> dict[str, Tensor]:
        """Zeros for the states; a cache of keys and values has no positions yet."""
        shapes = {node.name: node.shape[1:] for node in self.step.session.get_inputs()}
        return {name: torch.zeros(batch, *(size if isinstance(size, int) else 0 for size in shapes[name]))
                for name in self.states}  # fmt: skip

    def next_states(self, outputs: ModelOutput) -> dict[str, Tensor]:
        return {name: outputs[name.replace("past", "present")] for name in self.states}

    def _greedy(self, read: Tensor, follow: Any, most: int) -> Tensor:
        """`read` (batch, time) with the tokens that `follow` finds, until every row has ended or there are `most`.

        Args:
            follow: returns logits (batch, time, vocabulary) of new tokens (batch, time).
        """
        ends, pad = self.generation_config.eos_token_id, self.config.pad_token_id
        ends = torch.tensor([] if ends is None else ends, dtype=torch.long).reshape(-1)
        new, ended = read, torch.zeros(len(read), dtype=torch.bool)
        for _ in range(most):
            chosen = follow(new)[:, -1].argmax(dim=-1)
            chosen = chosen.masked_fill(ended, 0 if pad is None else pad)
            ended = ended | torch.isin(chosen, ends)
            new, read = chosen[:, None], torch.cat([read, chosen[:, None]], dim=1)
            if ended.all():
                break
        return read


def _refuse(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if value not in (None, False) and not (value == 1 and name in ("num_beams", "num_return_sequences")):
            raise UserError(f"An exported model writes the most probable token at each step: leave out --{name}.")


class OnnxLanguageModel(_Writer):
    """A causal language model as a graph: with its state, or one that reads the whole text at each step."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **states: Tensor) -> ModelOutput:
        """`logits` (batch, time, vocabulary) and the next states, after `states` or at the beginning of a text."""
        return self.step(input_ids, **(states or self.first_states(len(input_ids))))

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = _NEW_TOKENS,
        **settings: Any,
    ) -> Tensor:
        """A text (1, time), continued."""
        _refuse(settings)
        seen: dict[str, Any] = {"ids": input_ids[:, :0], "states": self.first_states(len(input_ids))}

        def follow(new: Tensor) -> Tensor:
            seen["ids"] = torch.cat([seen["ids"], new], dim=1)
            outputs = self.step(new if self.states else seen["ids"], **seen["states"])
            seen["states"] = self.next_states(outputs)
            return outputs["logits"]

        return self._greedy(input_ids, follow, max_new_tokens)


class OnnxEncoderDecoder(_Writer):
    """An encoder-decoder as two graphs: the encoder, and a step of the decoder."""

    prepare_decoder_input_ids_from_labels: Any = RecurrentSeq2SeqGenerationMixin.prepare_decoder_input_ids_from_labels

    def __init__(self, path: Path, config: Any, generation_config: GenerationConfig | None) -> None:
        super().__init__(path, config, generation_config)
        self.encoder = OnnxModel(path.with_name(path.name.replace("model.onnx", ENCODER)), config)

    def _reader(self, input_ids: Tensor, attention_mask: Tensor | None) -> Any:
        """Reads the sources; returns a function of the next target tokens (batch, 1) to logits (batch, 1, size)."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        encoded = self.encoder(input_ids, mask)
        fixed = {"attention_mask": mask, **({"memory": encoded["memory"]} if "memory" in self.step.inputs else {})}
        known = {name: encoded[name] for name in self.states if name in encoded}
        states = {**self.first_states(len(input_ids)), **known}

        def follow(new: Tensor) -> Tensor:
            outputs = self.step(new, **fixed, **states)
            states.update(self.next_states(outputs))
            return outputs["logits"]

        return follow

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> ModelOutput:
        """`logits` (batch, target, vocabulary) of target tokens, and `loss` with `labels` (-100 is ignored)."""
        if decoder_input_ids is None:
            assert labels is not None
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        follow = self._reader(input_ids, attention_mask)
        logits = torch.cat([follow(token[:, None]) for token in decoder_input_ids.T], dim=1)
        loss = None if labels is None else cross_entropy(logits.flatten(0, 1), labels.flatten())
        return ModelOutput({"loss": loss, "logits": logits} if loss is not None else {"logits": logits})

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        max_new_tokens: int | None = None,
        **settings: Any,
    ) -> Tensor:
        """The ids (batch, time) of targets, which begin with the start token."""
        _refuse({name: value for name, value in settings.items() if name not in ("labels", "decoder_input_ids")})
        longest = self.generation_config.max_length or _NEW_TOKENS
        start = input_ids.new_full((len(input_ids), 1), self.config.decoder_start_token_id)
        follow = self._reader(input_ids, attention_mask)
        return self._greedy(start, follow, max_new_tokens or longest - 1)


def load_graphs(path: Path, config: Any, generation_config: GenerationConfig | None = None) -> nn.Module:
    """The exported model whose last graph is `path`."""
    if path.with_name(path.name.replace("model.onnx", ENCODER)).exists():
        return OnnxEncoderDecoder(path, config, generation_config)
    if writes_texts(config):
        return OnnxLanguageModel(path, config, generation_config)
    return OnnxModel(path, config)


def writes_texts(config: Any) -> bool:
    """Whether the configuration is that of a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    architecture = next(iter(config.architectures or ()), "")
    return architecture.endswith("ForCausalLM") or architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
