"""What is used where the user names no setting, and that a named one stands."""

from __future__ import annotations

import pytest

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.strategies import STRATEGIES
from tl_toolkit.strategies.recommended import Recommended, architecture, recommended, settle

RULE = Recommended(0.25, epochs=3, head_learning_rate=0.5, warmup=0.125, updates=70, patience=4)


def settled(tmp_path, updates=7, least_epochs=0.0, **given):
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, **given)
    return args, settle(args, RULE, updates, least_epochs)


def test_the_rule_fills_in_everything(tmp_path):
    args, head = settled(tmp_path)
    assert (args.learning_rate, head, args.warmup_steps) == (0.25, 0.5, 0.125)
    assert args.num_train_epochs == 10  # 70 updates, 7 in an epoch
    assert (args.eval_strategy, args.eval_steps, args.save_strategy, args.save_steps) == ("steps", 7, "steps", 7)
    assert args.early_stopping_patience == 4


def test_many_rows_need_no_more_epochs(tmp_path):
    args, _ = settled(tmp_path, updates=100)
    assert args.num_train_epochs == 3 and args.eval_steps == 30


def test_a_named_learning_rate_stands_without_the_rates_of_the_rule(tmp_path):
    args, head = settled(tmp_path, learning_rate=0.125)
    assert (args.learning_rate, head, args.warmup_steps) == (0.125, None, 0)
    assert args.num_train_epochs == 10


@pytest.mark.parametrize("named", [{"num_train_epochs": 2.0}, {"max_steps": 5}])
def test_a_named_length_stands_with_an_evaluation_every_epoch(tmp_path, named):
    args, _ = settled(tmp_path, **named)
    assert args.num_train_epochs == named.get("num_train_epochs", 3)
    assert args.eval_strategy == args.save_strategy == "epoch" and args.early_stopping_patience is None


def test_a_named_floor_prolongs_named_epochs(tmp_path):
    assert settled(tmp_path, num_train_epochs=2.0, min_train_steps=29)[0].num_train_epochs == 5
    assert settled(tmp_path, min_train_steps=0)[0].num_train_epochs == 3


def test_named_evaluations_and_patience_stand(tmp_path):
    args, _ = settled(tmp_path, eval_strategy="epoch", early_stopping_patience=2)
    assert args.eval_strategy == args.save_strategy == "epoch" and args.early_stopping_patience == 2
    args, _ = settled(tmp_path, eval_strategy="no", save_strategy="no")
    assert args.eval_strategy == "no" and args.early_stopping_patience is None


def test_schedules_that_warm_up_themselves_get_no_warm_up(tmp_path):
    assert settled(tmp_path, lr_scheduler_type="slanted_triangular")[0].warmup_steps == 0


def test_a_strategy_that_needs_more_epochs_gets_them(tmp_path):
    assert settled(tmp_path, updates=100, least_epochs=11)[0].num_train_epochs == 11


def test_every_strategy_has_a_rule_for_every_task():
    for task in ("text-classification", "token-classification", "regression", "translation", None):
        assert {name for name in STRATEGIES if recommended(name, task)} == set(STRATEGIES)
    assert recommended("full", "text-classification").updates > recommended("full", None).updates == 0


def test_architectures_change_only_for_classification():
    assert architecture("rnn", "AutoModelForSequenceClassification")["pooling"] == "max"
    assert architecture("bag_of_ngrams", "AutoModelForSequenceClassification", "char")["ngram_range"] == (1, 4)
    assert architecture("rnn", "AutoModelForCausalLM") == architecture("bert", "AutoModelForTokenClassification") == {}


def test_recurrent_models_are_tuned_at_the_rate_of_ulmfit():
    assert recommended("gradual_unfreezing", "text-classification", "awd_lstm").learning_rate == 1e-2
    assert recommended("gradual_unfreezing", "text-classification", "bert").learning_rate == 1e-3
    assert recommended("full", "text-classification", "awd_lstm") == recommended("full", "text-classification", "bert")


def test_the_batch_is_that_of_the_rule_unless_it_is_named(tmp_path):
    assert recommended("full", "regression").batch_size == 16 != recommended("scratch", "regression").batch_size
    for given, by_rule, size in (({}, True, 32), ({"per_device_train_batch_size": 32}, False, 32)):
        args = RunArguments(output_dir=str(tmp_path), use_cpu=True, **given)
        assert (args.batch_by_rule, args.per_device_train_batch_size) == (by_rule, size)


def test_families_have_their_own_rates_for_labelled_texts_only():
    rates = {
        kind: recommended("scratch", "regression", kind).learning_rate for kind in ("rnn", "self_attention", "bert")
    }
    assert rates == {"rnn": 5e-3, "self_attention": 3e-3, "bert": 1e-3}
    assert recommended("scratch", "translation", "rnn").learning_rate == 1e-3
