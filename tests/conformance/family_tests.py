"""What the conformance tests of every family share."""

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

# Tests of transformers that say nothing about any family of ours, by the reason why.
NOT_OURS = {
    "its generation tests are not in the source distribution; tests/models has generation tests of our own": [
        "test_generation_tester_mixin_inheritance",
    ],
    "for models of images, audio or video": [
        "test_get_*_features_*",
        "test_vision_axial_rope",
    ],
    "for composite models, whose parts have configurations of their own": [
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
    "for models that grow their positions by resize_position_embeddings, which BERT has not either": [
        "test_resize_position_vector_embeddings",
    ],
    "for models that keep some modules in float32 under half precision": ["test_keep_in_fp32_modules*"],
    "for models with a tensor-parallel plan": ["test_tied_head_has_a_tp_plan_entry", "test_tp_plan_matches_params"],
    "for models whose weights are renamed when loaded": [
        "test_can_load_from_already_mapped_keys",
        "test_reverse_loading_mapping",
    ],
}
# The same for encoder-decoders and for all others.
NOT_OF_THIS_KIND = {
    True: {"for models whose labels are shifted inside": ["test_causal_lm_loss_honors_shift_labels"]},
    False: {"for encoder-decoder models": ["test_encoder_decoder_loss_no_double_shift"]},
}


class FamilyTests(ModelTesterMixin):  # type: ignore[misc, valid-type]
    """transformers' tests for one family; mixed into a `unittest.TestCase`.

    transformers' tests skip themselves in many places. Here that is a failure, unless `NOT_OURS` or the family's
    `skips` declare it: a test that is not declared has really run.

    Class attributes:
        names: the family's classes by transformers' name tables ("MODEL_MAPPING_NAMES": "RnnModel"), by which these
            tests find out which labels and outputs a class has.
        skips: name patterns of tests that do not apply to the family, by reason.
        minimum_of_tests: at least so many tests must be left to run.
        label_name: the argument with the targets.
    """

    test_can_init_all_missing_weights_before_2023 = True  # found by a copyright line, which our files have not

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
        return {**NOT_OURS, **NOT_OF_THIS_KIND[cls.is_encoder_decoder], **cls.skips}

    def setUp(self) -> None:
        reason = self.declared_reason(self._testMethodName)
        if reason is not None:
            raise unittest.SkipTest(reason)

    def skipTest(self, reason: Any) -> None:
        raise AssertionError(
            f"skipped itself without being declared in NOT_OURS or {type(self).__name__}.skips: {reason}"
        )

    def subTest(self, msg: Any = None, **params: Any) -> AbstractContextManager[None]:
        return nullcontext()  # there are more than a thousand, and reporting each takes longer than running it

    def test_config(self) -> None:
        ConfigTester(self, config_class=self.config_class, **self.config_fields).run_common_tests()

    def test_not_vacuous(self) -> None:
        """Enough tests are left, every declared pattern still names one, and every head is given its labels."""
        tests = unittest.TestLoader().getTestCaseNames(type(self))
        # Decorators skip what needs a GPU or an optional package: no claim about the family.
        possible = [test for test in tests if not getattr(getattr(self, test), "__unittest_skip__", False)]
        run = [test for test in possible if self.declared_reason(test) is None]
        self.assertGreaterEqual(len(run), self.minimum_of_tests)
        for patterns in self.declared().values():
            for pattern in patterns:
                self.assertTrue(any(fnmatch(test, pattern) for test in tests), f"{pattern} names no test")
        _, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            prepared = self._prepare_for_class(inputs, model_class, return_labels=True)
            self.assertEqual(self.label_name in prepared, "For" in model_class.__name__, model_class.__name__)
