"""transformers' own tests of a model, run on the forecasting head, which reads numbers."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from family_tests import FamilyTests
from transformers.testing_utils import torch_device

from tl_toolkit.models import RnnConfig, RnnForTimeSeriesPrediction


class ForecastModelTester:
    """The tiny model and batch for transformers' tests."""

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size = 5
        self.seq_length = 7
        self.hidden_size = 20
        self.num_hidden_layers = 2
        self.is_training = True
        self.future = self.values(3)

    def get_config(self) -> RnnConfig:
        return RnnConfig(
            num_input_features=self.hidden_size,  # the tests expect inputs to have the hidden size
            prediction_length=3,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            forecast_type="many_to_many",
            subtract_last_value=True,
        )

    def values(self, steps: int) -> torch.Tensor:
        return torch.randn(self.batch_size, steps, self.hidden_size, device=torch_device)

    def prepare_config_and_inputs_for_common(self) -> tuple[RnnConfig, dict[str, Any]]:
        past = self.values(self.seq_length)
        observed = torch.ones_like(past)
        observed[1, -2:] = observed[2, :3] = observed[3, 2, 5] = 0
        return self.get_config(), {"past_values": past, "past_observed_mask": observed}


class TestForecast(FamilyTests, unittest.TestCase):
    all_model_classes = (RnnForTimeSeriesPrediction,)
    names = {"MODEL_FOR_TIME_SERIES_PREDICTION_MAPPING_NAMES": "RnnForTimeSeriesPrediction"}
    config_class = RnnConfig
    config_fields = {
        "hidden_size": 20,
        "num_input_features": 20,
        "prediction_length": 3,
        "common_properties": ["hidden_size", "num_hidden_layers"],
    }
    has_attentions = False
    label_name = "future_values"
    minimum_of_tests = 30
    skips = {
        "a recurrent network has no attention between steps, like Mamba": [
            "test_attention_outputs",
            "test_can_set_attention_dynamically",
            "test_eager_matches_sdpa_inference_*",
            "test_sdpa_can_dispatch_non_composite_models",
        ],
        "the model reads numbers and has no embedding, like PatchTST": [
            "test_inputs_embeds",
            "test_model_get_set_embeddings",
            "test_resize_tokens_embeddings",
            "test_enable_input_require_grads_with_gradient_checkpointing",
            "test_training_gradient_checkpointing_use_reentrant_true",  # needs inputs with gradients
        ],
        "the first hidden states are the scaled data, which have no gradient": [
            "test_retain_grad_hidden_states_attentions",
        ],
        "for language models": ["test_causal_lm_loss_honors_shift_labels"],
    }

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = ForecastModelTester(self)

    def _prepare_for_class(self, inputs_dict: Any, model_class: Any, return_labels: bool = False) -> dict[str, Any]:
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels:
            inputs["future_values"] = self.model_tester.future  # equal in every call, because outputs are compared
        return inputs
