"""transformers' own tests of a model, run on the prompted language models."""

from __future__ import annotations

import json
import unittest
from typing import Any
from unittest import mock

import torch
from family_tests import ConfigTester, FamilyTests
from transformers import LlamaConfig
from transformers.testing_utils import torch_device

from tl_toolkit.models import PromptedConfig, PromptedForSequenceClassification

SAVED = json.loads(PromptedConfig(language_model_config=LlamaConfig(hidden_size=64)).to_json_string())


class PromptedModelTester:
    """The tiny model and batch for transformers' tests."""

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size = 5
        self.seq_length = 7
        self.vocab_size = 97
        self.hidden_size = 20
        self.num_hidden_layers = 2
        self.num_attention_heads = 2
        self.is_training = True

    def get_config(self) -> PromptedConfig:
        language_model = LlamaConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            max_position_embeddings=41,
        )
        return PromptedConfig(
            language_model_config=language_model, before=[3, 5], after=[7], verbalizer_ids=[[11], [13, 17]],
            pad_token_id=0,
        )  # fmt: skip

    def prepare_config_and_inputs_for_common(self) -> tuple[PromptedConfig, dict[str, Any]]:
        ids = torch.randint(1, self.vocab_size, (self.batch_size, self.seq_length), device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class TestPrompted(FamilyTests, unittest.TestCase):
    all_model_classes = (PromptedForSequenceClassification,)
    names = {"MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "PromptedForSequenceClassification"}
    config_class = PromptedConfig
    config_fields = {"language_model_config": SAVED["language_model_config"], "prompt": "Text: {text}"}
    skips = {
        "the family returns logits of classes alone: states would be those of the prompt, too": [
            "test_attention_outputs",
            "test_can_capture_specific_layers_hidden_states",
            "test_causal_lm_loss_honors_shift_labels",
            "test_hidden_states_output",
            "test_retain_grad_hidden_states_attentions",
        ],
        "the number of classes is that of the verbalizers": [
            "test_can_load_ignoring_mismatched_shapes",
            "test_load_with_mismatched_shapes",
            "test_problem_types",
        ],
        "the family has no model without the classes": ["test_correct_missing_keys", "test_torch_save_load"],
        "texts are read between the tokens of the prompt, as tokens": ["test_inputs_embeds*"],
        "the configuration of the language model says whether its weights are tied": ["test_tied_weights_keys"],
        "nothing is trained": ["test_enable_input_require_grads_with_gradient_checkpointing"],
    }
    minimum_of_tests = 60

    def test_config(self) -> None:
        with mock.patch.object(ConfigTester, "create_and_test_config_with_num_labels"):  # that of the verbalizers
            super().test_config()

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = PromptedModelTester(self)
