"""transformers' own tests of a model, run on the AWD-LSTM."""

from __future__ import annotations

import unittest

from family_tests import FamilyTests
from test_rnn_conformance import RnnModelTester, TestLstm

from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification, AwdLstmModel


class AwdLstmModelTester(RnnModelTester):
    def get_config(self) -> AwdLstmConfig:
        return AwdLstmConfig(
            vocab_size=self.vocab_size,
            embedding_size=self.hidden_size,  # the tests expect the embeddings to have the hidden size
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            pad_token_id=0,
        )


class TestAwdLstm(FamilyTests, unittest.TestCase):
    all_model_classes = (AwdLstmModel, AwdLstmForSequenceClassification, AwdLstmForCausalLM)
    names = {
        "MODEL_MAPPING_NAMES": "AwdLstmModel",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "AwdLstmForSequenceClassification",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "AwdLstmForCausalLM",
    }
    config_class = AwdLstmConfig
    config_fields = {
        "vocab_size": 97,
        "embedding_size": 20,
        "hidden_size": 20,
        "common_properties": ["hidden_size", "num_hidden_layers", "vocab_size"],  # the default adds attention heads
    }
    has_attentions = False
    minimum_of_tests = 50
    skips = TestLstm.skips

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = AwdLstmModelTester(self)


del TestLstm, FamilyTests  # pytest would collect them here again
