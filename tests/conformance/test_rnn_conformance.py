"""transformers' own tests of a model, run on the recurrent family."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from family_tests import FamilyTests
from transformers.testing_utils import torch_device

from tl_toolkit.models import (
    RnnConfig,
    RnnForCausalLM,
    RnnForMaskedLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
)


class RnnModelTester:
    """The tiny model and batch for transformers' tests."""

    cell_type = "lstm"

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size = 5
        self.seq_length = 7
        self.vocab_size = 97
        self.hidden_size = 20
        self.num_hidden_layers = 2
        self.is_training = True

    def get_config(self) -> RnnConfig:
        return RnnConfig(
            vocab_size=self.vocab_size,
            embedding_size=self.hidden_size,  # the tests expect the embeddings to have the hidden size
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            cell_type=self.cell_type,
            pad_token_id=0,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[RnnConfig, dict[str, Any]]:
        ids = torch.randint(1, self.vocab_size, (self.batch_size, self.seq_length), device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class GruModelTester(RnnModelTester):
    cell_type = "gru"


class TwoWayModelTester(RnnModelTester):
    def get_config(self) -> RnnConfig:
        config = super().get_config()
        config.update({"bidirectional": True, "hidden_size": self.hidden_size // 2})  # of each direction
        return config


class TaggerModelTester(RnnModelTester):
    def get_config(self) -> RnnConfig:
        config = super().get_config()
        config.update({"bidirectional": True, "crf": True, "character_encoder": "cnn", "character_vocabulary": "abcde"})
        config.update({"embedding_size": 13, "character_feature_size": 7})  # their sum is the hidden size
        return config

    def prepare_config_and_inputs_for_common(self) -> tuple[RnnConfig, dict[str, Any]]:
        config, inputs = super().prepare_config_and_inputs_for_common()
        inputs["character_ids"] = torch.randint(7, (self.batch_size, self.seq_length, 3), device=torch_device)
        return config, inputs


class TestLstm(FamilyTests, unittest.TestCase):
    all_model_classes = (RnnModel, RnnForSequenceClassification, RnnForTokenClassification, RnnForCausalLM)
    names = {
        "MODEL_MAPPING_NAMES": "RnnModel",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "RnnForSequenceClassification",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "RnnForTokenClassification",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "RnnForCausalLM",
        "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "RnnForMaskedLM",
    }
    config_class = RnnConfig
    config_fields = {
        "vocab_size": 97,
        "embedding_size": 20,
        "hidden_size": 20,
        "pooling": "attention",
        "common_properties": ["hidden_size", "num_hidden_layers", "vocab_size"],  # the default adds attention heads
    }
    has_attentions = False
    minimum_of_tests = 50
    skips = {
        "a recurrent network has no attention between tokens, like Mamba": [
            "test_attention_outputs",
            "test_can_set_attention_dynamically",
            "test_eager_matches_sdpa_inference_*",
            "test_sdpa_can_dispatch_non_composite_models",
        ],
    }
    model_tester_class = RnnModelTester

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = self.model_tester_class(self)


class TestGru(TestLstm):
    model_tester_class = GruModelTester


class TestMaskedLm(TestLstm):
    """With a layer for each direction, which only masked language models need."""

    all_model_classes = (RnnModel, RnnForMaskedLM)
    model_tester_class = TwoWayModelTester
    skips = {**TestLstm.skips, "for causal language models": ["test_causal_lm_loss_honors_shift_labels"]}


class TestTagger(TestLstm):
    """With a conditional random field and characters, which only token classification uses."""

    all_model_classes = (RnnForTokenClassification,)
    model_tester_class = TaggerModelTester
    minimum_of_tests = 40
    skips = {**TestLstm.skips, "for language models": ["test_causal_lm_loss_honors_shift_labels"]}
