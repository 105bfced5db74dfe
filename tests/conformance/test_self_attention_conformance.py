"""transformers' own tests of a model, run on the self-attention family."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from family_tests import FamilyTests
from transformers.testing_utils import torch_device

from tl_toolkit.models import (
    SelfAttentionConfig,
    SelfAttentionForCausalLM,
    SelfAttentionForMaskedLM,
    SelfAttentionForSequenceClassification,
    SelfAttentionForTokenClassification,
    SelfAttentionModel,
)


class SelfAttentionModelTester:
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

    def get_config(self) -> SelfAttentionConfig:
        return SelfAttentionConfig(
            vocab_size=self.vocab_size,
            embedding_size=self.hidden_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            position_embedding_type="learned",
            max_position_embeddings=64,
            pad_token_id=0,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[SelfAttentionConfig, dict[str, Any]]:
        ids = torch.randint(1, self.vocab_size, (self.batch_size, self.seq_length), device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class TestSelfAttention(FamilyTests, unittest.TestCase):
    all_model_classes = (
        SelfAttentionModel,
        SelfAttentionForSequenceClassification,
        SelfAttentionForTokenClassification,
        SelfAttentionForCausalLM,
        SelfAttentionForMaskedLM,
    )
    names = {
        "MODEL_MAPPING_NAMES": "SelfAttentionModel",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "SelfAttentionForSequenceClassification",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": "SelfAttentionForTokenClassification",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "SelfAttentionForCausalLM",
        "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "SelfAttentionForMaskedLM",
    }
    config_class = SelfAttentionConfig
    config_fields = {"vocab_size": 97, "hidden_size": 20, "num_attention_heads": 4, "pooling": "attention"}
    minimum_of_tests = 75

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = SelfAttentionModelTester(self)
