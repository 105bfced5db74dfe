"""transformers' own tests of a model, run on the recurrent encoder-decoders."""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

import torch
from family_tests import FamilyTests
from transformers.testing_utils import torch_device

from tl_toolkit.models import RnnEncoderDecoderConfig, RnnEncoderDecoderForConditionalGeneration, RnnEncoderDecoderModel


class RnnEncoderDecoderModelTester:
    """The tiny model and batch for transformers' tests."""

    def __init__(self, parent: unittest.TestCase, **fields: Any) -> None:
        self.parent = parent
        self.fields = fields
        self.batch_size = 5
        self.encoder_seq_length = 6
        self.seq_length = self.decoder_seq_length = 7  # the tests create labels with the first length
        self.vocab_size = 97
        self.hidden_size = 20
        self.num_hidden_layers = 2
        self.is_training = True

    def get_config(self) -> RnnEncoderDecoderConfig:
        return RnnEncoderDecoderConfig(
            vocab_size=self.vocab_size,
            embedding_size=self.hidden_size,  # the tests expect the embeddings to have the hidden size
            hidden_size=self.hidden_size,
            num_encoder_layers=self.num_hidden_layers,
            num_decoder_layers=self.num_hidden_layers,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=2,
            **self.fields,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[RnnEncoderDecoderConfig, dict[str, Any]]:
        ids = torch.randint(3, self.vocab_size, (self.batch_size, self.encoder_seq_length), device=torch_device)
        mask = torch.ones_like(ids)
        mask[1, -2:] = mask[2, :3] = mask[3, 2] = 0
        size = (self.batch_size, self.decoder_seq_length)
        target = torch.randint(3, self.vocab_size, size, device=torch_device)
        target_mask = torch.ones_like(target)
        target_mask[1, -2:] = target_mask[4, :2] = 0
        return self.get_config(), {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": target,
            "decoder_attention_mask": target_mask,
        }


class TestBahdanau(FamilyTests, unittest.TestCase):
    all_model_classes = (RnnEncoderDecoderModel, RnnEncoderDecoderForConditionalGeneration)
    names = {
        "MODEL_MAPPING_NAMES": "RnnEncoderDecoderModel",
        "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": "RnnEncoderDecoderForConditionalGeneration",
    }
    config_class = RnnEncoderDecoderConfig
    config_fields = {
        "vocab_size": 97,
        "embedding_size": 20,
        "hidden_size": 20,
        "attention": "luong",
        "common_properties": ["hidden_size", "num_hidden_layers", "vocab_size"],  # the default adds attention heads
    }
    is_encoder_decoder = True
    has_attentions = False
    minimum_of_tests = 50
    skips = {
        "only the decoder attends, to the source, without layers of attention heads": [
            "test_attention_outputs",
            "test_can_set_attention_dynamically",
            "test_eager_matches_sdpa_inference_*",
            "test_sdpa_can_dispatch_non_composite_models",
        ],
        "hidden states are collected in the forward pass, not by hooks: layers work on tokens moved to the front": [
            "test_can_capture_specific_layers_hidden_states",
            "test_capture_outputs_decorator",
        ],
    }
    fields: ClassVar[dict[str, Any]] = {"attention": "bahdanau", "cell_type": "gru", "bidirectional_encoder": True}

    def setUp(self) -> None:
        super().setUp()
        self.model_tester = RnnEncoderDecoderModelTester(self, **self.fields)


class TestLuong(TestBahdanau):
    fields = {"attention": "luong", "input_feeding": True, "reverse_source": True, "tie_word_embeddings": True}
