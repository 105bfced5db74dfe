"""transformers' own tests of a model, run on the pooled encoders."""

from __future__ import annotations

import json
import unittest
from typing import Any

import torch
from family_tests import FamilyTests
from transformers import BertConfig
from transformers.testing_utils import torch_device

from tl_toolkit.models import PooledEncoderConfig, PooledEncoderForSequenceClassification, PooledEncoderModel

SAVED = json.loads(PooledEncoderConfig(encoder_config=BertConfig(hidden_size=20)).to_json_string())


class PooledEncoderModelTester:
    """The tiny model and batch for transformers' tests."""

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size = 5
        self.seq_length = 7
        self.vocab_size = 97
        self.hidden_size = 20
        self.num_hidden_layers = 2
        self.num_attention_heads = 4
        self.is_training = True

    def get_config(self) -> PooledEncoderConfig:
        encoder = BertConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            max_position_embeddings=64,
        )
        return PooledEncoderConfig(encoder_config=encoder, normalize=True)

    def prepare_config_and_inputs_for_common(self) -> tuple[PooledEncoderConfig, dict[str, Any]]:
        ids = torch.randint(1, self.vocab_size, (self.batch_size, self.seq_length), device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class TestPooledEncoder(FamilyTests, unittest.TestCase):
    all_model_classes = (PooledEncoderModel, PooledEncoderForSequenceClassification)
    names = {
        "MODEL_MAPPING_NAMES": "PooledEncoderModel",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "PooledEncoderForSequenceClassification",
    }
    config_class = PooledEncoderConfig
    config_fields = {"encoder_config": SAVED["encoder_config"], "pooling": "max"}
    skips = {"the family has no language model": ["test_causal_lm_loss_honors_shift_labels"]}
    minimum_of_tests = 75

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = PooledEncoderModelTester(self)
