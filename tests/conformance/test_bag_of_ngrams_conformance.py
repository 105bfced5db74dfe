"""transformers' own tests of a model, run on the bag-of-n-grams family."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from family_tests import FamilyTests
from transformers.testing_utils import torch_device

from tl_toolkit.models import BagOfNgramsConfig, BagOfNgramsForSequenceClassification


class BagOfNgramsModelTester:
    """The tiny model and batch for transformers' tests."""

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size = 5
        self.seq_length = 7
        self.vocab_size = 13
        self.is_training = True

    def get_config(self) -> BagOfNgramsConfig:
        # All tokens and many pairs, so that texts have features.
        return BagOfNgramsConfig(vocab_size=self.vocab_size, num_ngrams=101, pad_token_id=0)

    def prepare_config_and_inputs_for_common(self) -> tuple[BagOfNgramsConfig, dict[str, Any]]:
        ids = torch.randint(1, self.vocab_size, (self.batch_size, self.seq_length), device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class TestBagOfNgrams(FamilyTests, unittest.TestCase):
    all_model_classes = (BagOfNgramsForSequenceClassification,)
    has_attentions = False
    names = {"MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "BagOfNgramsForSequenceClassification"}
    config_class = BagOfNgramsConfig
    config_fields = {"vocab_size": 13, "ngram_range": [1, 3], "common_properties": []}
    minimum_of_tests = 40
    skips = {
        "no attention, hidden states or layers: a text is one sum of weights": [
            "test_attention_outputs",
            "test_can_capture_specific_layers_hidden_states",
            "test_can_set_attention_dynamically",
            "test_capture_outputs_decorator",
            "test_eager_matches_sdpa_inference_*",
            "test_enable_input_require_grads_with_gradient_checkpointing",
            "test_hidden_states_output",
            "test_retain_grad_hidden_states_attentions",
            "test_sdpa_can_dispatch_non_composite_models",
        ],
        "no embeddings: token ids are only counted": [
            "test_inputs_embeds",
            "test_model_get_set_embeddings",
            "test_resize_tokens_embeddings",
        ],
        "no body to load with AutoModel": ["test_load_with_mismatched_shapes", "test_torch_save_load"],
        "the test looks for a head that is an nn.Linear": ["test_can_load_ignoring_mismatched_shapes"],
        "for language models": ["test_causal_lm_loss_honors_shift_labels"],
    }

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = BagOfNgramsModelTester(self)
