"""The base class of the conformance tests of every family."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from fnmatch import fnmatch
from typing import Any, ClassVar
from unittest import mock

import pytest
import transformers_tests
from transformers import PreTrainedConfig
from transformers.models.auto import modeling_auto

try:
    ModelTesterMixin, ConfigTester = transformers_tests.load()
except transformers_tests.Unavailable as reason:
    pytest.skip(str(reason), allow_module_level=True)

# Tests of transformers that do not apply to any family of the toolkit, by reason.
NOT_OURS = {
    "the generation tests are not in the source distribution; tests/models tests generation": [
        "test_generation_tester_mixin_inheritance",
    ],
    "for models of images, audio or video": [
        "test_get_*_features_*",
        "test_vision_axial_rope",
    ],
    "for composite models, whose parts have their own configurations": [
        "test_attn_implementation_composite_models",
        "test_can_set_attention_dynamically_composite_model",
        "test_internal_model_config_and_subconfig_are_same",
        "test_sdpa_can_dispatch_composite_models",
    ],
    "for models with rotary positions": ["test_model_rope_*"],
    "for mixtures of experts": [
        "test_eager_matches_batched_and_grouped_inference*",
        "test_moe_models_record_router_logits",
        "test_output_router_logits_from_config",
    ],
    "for models with a sliding window": ["test_sliding_window_mask"],
    "for models with resize_position_embeddings, which BERT also does not have": [
        "test_resize_position_vector_embeddings",
    ],
    "for models that keep some modules in float32 under half precision": ["test_keep_in_fp32_modules*"],
    "for models with a tensor-parallel plan": ["test_tied_head_has_a_tp_plan_entry", "test_tp_plan_matches_params"],
    "for models whose weights are renamed when loaded": [
        "test_can_load_from_already_mapped_keys",
        "test_reverse_loading_mapping",
    ],
}
# The same for encoder-decoders (True) and for all other models (False).
NOT_OF_THIS_TYPE = {
    True: {"for models whose labels are shifted inside": ["test_causal_lm_loss_honors_shift_labels"]},
    False: {"for encoder-decoder models": ["test_encoder_decoder_loss_no_double_shift"]},
}


class FamilyTests(ModelTesterMixin):  # type: ignore[misc, valid-type]
    """transformers' tests for one family; mixed into a `unittest.TestCase`.

    transformers' tests skip themselves in many places. Here a skip is a failure unless `NOT_OURS` or the family's
    `skips` declare it, so every undeclared test really runs.

    Class attributes:
        names: the family's classes by transformers' name table ("MODEL_MAPPING_NAMES": "RnnModel"), which the tests use
            to find the labels and outputs of a class.
        skips: name patterns of tests that do not apply to the family, by reason.
        minimum_of_tests: the minimum number of tests that must run.
        label_name: the argument with the targets.
    """

    test_can_init_all_missing_weights_before_2023 = True  # needs a copyright line, which our files do not have

    names: ClassVar[dict[str, str]]
    skips: ClassVar[dict[str, list[str]]] = {}
    is_encoder_decoder: ClassVar[bool] = False
    minimum_of_tests: ClassVar[int]
    label_name: ClassVar[str] = "labels"
    config_class: ClassVar[type[PreTrainedConfig]]
    config_fields: ClassVar[dict[str, Any]]

    @pytest.fixture(autouse=True)
    def name_tables(self) -> Iterator[None]:
        with ExitStack() as patches:
            for table, name in self.names.items():
                entry = {self.config_class.model_type: name}
                patches.enter_context(mock.patch.dict(getattr(modeling_auto, table), entry))
            yield

    @classmethod
    def declared_reason(cls, test: str) -> str | None:
        for reason, patterns in cls.declared().items():
            if any(fnmatch(test, pattern) for pattern in patterns):
                return reason
        return None

    @classmethod
    def declared(cls) -> dict[str, list[str]]:
        return {**NOT_OURS, **NOT_OF_THIS_TYPE[cls.is_encoder_decoder], **cls.skips}

    def setUp(self) -> None:
        reason = self.declared_reason(self._testMethodName)
        if reason is not None:
            raise unittest.SkipTest(reason)

    def skipTest(self, reason: Any) -> None:
        raise AssertionError(
            f"the test skipped itself, but NOT_OURS and {type(self).__name__}.skips do not declare it: {reason}"
        )

    def subTest(self, msg: Any = None, **params: Any) -> AbstractContextManager[None]:
        return nullcontext()  # there are more than a thousand, and reporting one takes longer than running it

    def test_config(self) -> None:
        ConfigTester(self, config_class=self.config_class, **self.config_fields).run_common_tests()

    def test_not_vacuous(self) -> None:
        """Enough tests run, every declared pattern matches a test, and every head gets its labels."""
        tests = unittest.TestLoader().getTestCaseNames(type(self))
        # Decorators skip tests that need a GPU or an optional package, independently of the family.
        possible = [test for test in tests if not getattr(getattr(self, test), "__unittest_skip__", False)]
        run = [test for test in possible if self.declared_reason(test) is None]
        self.assertGreaterEqual(len(run), self.minimum_of_tests)
        for patterns in self.declared().values():
            for pattern in patterns:
                self.assertTrue(any(fnmatch(test, pattern) for test in tests), f"{pattern} matches no test")
        _, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            prepared = self._prepare_for_class(inputs, model_class, return_labels=True)
            self.assertEqual(self.label_name in prepared, "For" in model_class.__name__, model_class.__name__)
