"""transformers' own tests of a model, run on the image captioners."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from family_tests import FamilyTests
from transformers.testing_utils import torch_device

from tl_toolkit.models import RnnImageCaptionerConfig, RnnImageCaptionerForConditionalGeneration, RnnImageCaptionerModel


class RnnImageCaptionerModelTester:
    """The tiny model and batch for transformers' tests."""

    attention = "bahdanau"

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent
        self.batch_size = 5
        self.seq_length = 7  # of the captions
        self.vocab_size = 97
        self.hidden_size = 20
        self.num_hidden_layers = 2
        self.is_training = True

    def get_config(self) -> RnnImageCaptionerConfig:
        return RnnImageCaptionerConfig(
            vocab_size=self.vocab_size,
            image_size=[12, 8],
            num_channels=3,
            encoder_channels=[8, 20],
            encoder_stride=4,
            embedding_size=self.hidden_size,
            hidden_size=self.hidden_size,
            num_decoder_layers=self.num_hidden_layers,
            attention=self.attention,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=1,
            decoder_start_token_id=2,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[RnnImageCaptionerConfig, dict[str, Any]]:
        size = (self.batch_size, self.seq_length)
        ids = torch.randint(3, self.vocab_size, size, device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        pixels = torch.rand(self.batch_size, 3, 12, 8, device=torch_device)
        inputs = {"pixel_values": pixels, "decoder_input_ids": ids, "decoder_attention_mask": mask}
        return self.get_config(), inputs


class TestRnnImageCaptioner(FamilyTests, unittest.TestCase):
    all_model_classes = (RnnImageCaptionerModel, RnnImageCaptionerForConditionalGeneration)
    names = {
        "MODEL_MAPPING_NAMES": "RnnImageCaptionerModel",
        "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES": "RnnImageCaptionerForConditionalGeneration",
    }
    config_class = RnnImageCaptionerConfig
    config_fields = {
        "vocab_size": 97,
        "embedding_size": 20,
        "hidden_size": 20,
        "common_properties": ["hidden_size", "num_hidden_layers", "vocab_size"],  # the default adds attention heads
    }
    has_attentions = False
    is_encoder_decoder = True
    minimum_of_tests = 43
    skips = {
        "the decoder's states attend to the image grid, not to tokens": [
            "test_attention_outputs",
            "test_can_set_attention_dynamically",
            "test_eager_matches_sdpa_inference_*",
            "test_sdpa_can_dispatch_non_composite_models",
        ],
        "hidden states are collected in the forward pass, not by hooks": [
            "test_can_capture_specific_layers_hidden_states",
            "test_capture_outputs_decorator",
        ],
        "an image encoder's hidden states have different shapes; tests/models tests those of the decoder": [
            "test_hidden_states_output",
            "test_retain_grad_hidden_states_attentions",
        ],
        "for models that read token ids; tests/models tests resizing and decoder_inputs_embeds": [
            "test_inputs_embeds",
            "test_inputs_embeds_matches_input_ids",
            "test_resize_embeddings_untied",
            "test_resize_tokens_embeddings",
        ],
        "an encoder-decoder's logits are aligned with the labels": ["test_causal_lm_loss_honors_shift_labels"],
    }

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = RnnImageCaptionerModelTester(self)
