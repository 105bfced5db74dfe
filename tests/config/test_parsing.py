from __future__ import annotations

from pathlib import Path

import pytest

from tl_toolkit.config.parsing import arguments_from, make_parser, parse_arguments
from tl_toolkit.errors import UserError


def test_flags_beat_the_file_and_the_file_beats_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("model_type: rnn\nseed: 7\nlearning_rate: 1e-3\nweight_decay: 0.5\n")
    arguments = parse_arguments(["--seed", "11", "--config", str(config)])
    assert arguments.run.seed == 11
    assert arguments.run.learning_rate == 1e-3  # which PyYAML itself reads as a string
    assert arguments.run.weight_decay == 0.5
    assert arguments.run.per_device_train_batch_size == 32


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--sede", "3"], ["--sede", "--seed"]),
        (["--see", "3"], ["--see"]),  # abbreviations are no flags
        (["--seed", "three"], ["--seed", "three"]),
        (["--strategy", "ful"], ["ful", "full"]),
        (["--lr_scheduler_type", "lineal"], ["lineal", "linear"]),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_arguments(flags)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize("name", ["num_train_epochs", "learning_rate", "weight_decay", "max_grad_norm", "lr_ratio"])
def test_numbers_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"--{name} is nan, where a number is expected"):
        parse_arguments([f"--{name}", "nan"])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_train_epochs", "inf", "a finite number of 0 or more"),
        ("learning_rate", "inf", "a finite number of 0 or more"),
        ("learning_rate", "-1.5", "a finite number of 0 or more"),
        ("seed", "-1", "a whole number from 0 to 4294967295"),
        ("seed", "4294967296", "a whole number from 0 to 4294967295"),
        ("data_seed", "-3", "a whole number from 0 to 4294967295"),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, value: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"--{name} is {value}, where {expected} is expected"):
        parse_arguments([f"--{name}={value}"])


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("seed: 1\nmodel_type: rnn\nseed: 2\n")
    with pytest.raises(UserError, match="run.yaml' .*the key 'seed' stands twice.*line 3"):
        parse_arguments(["--config", str(config)])


def test_a_wrong_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("modeltype: rnn\n")
    with pytest.raises(UserError, match="'modeltype'.*'model_type'"):
        parse_arguments(["--config", str(config)])


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "\t:"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    with pytest.raises(UserError, match="run.yaml"):
        parse_arguments(["--config", str(config)])
    with pytest.raises(UserError, match="missing.yaml"):
        parse_arguments(["--config", str(tmp_path / "missing.yaml")])


def test_mappings_lists_and_none_reach_their_flags() -> None:
    settings = {
        "model_type": "rnn",
        "config_overrides": {"bidirectional": True, "sizes": [1, 2], "x": None},
        "report_to": ["tensorboard"],
        "label_column": ["a", "b"],
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "label_budget": None,
        "bf16": False,
    }
    arguments = arguments_from(settings, "the test")
    assert arguments.model.config_overrides == "bidirectional=true,sizes=[1,2],x=none"
    assert arguments.run.report_to == ["tensorboard"]
    assert arguments.data.label_budget is None
    assert arguments.data.label_column == "a,b"
    assert arguments.run.lr_scheduler_kwargs == {"num_cycles": 2}


def test_words_that_yaml_takes_for_other_things_stay_words(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("label_column: yes\ndataset_revision: 0123457\neval_strategy: no\nseed: 5\nbf16: false\n")
    arguments = parse_arguments(["--config", str(config)])
    assert (arguments.data.label_column, arguments.data.dataset_revision) == ("yes", "0123457")
    assert (arguments.run.eval_strategy.value, arguments.run.seed, arguments.run.bf16) == ("no", 5, False)


def test_a_flag_can_take_back_what_the_file_says(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("max_length: 17\nlabel_budget: 5\n")
    arguments = parse_arguments(["--config", str(config), "--max_length", "none"])
    assert (arguments.data.max_length, arguments.data.label_budget) == (None, 5)


def test_resume_without_a_value_means_the_last_checkpoint() -> None:
    assert parse_arguments(["--resume_from_checkpoint"]).run.resume_from_checkpoint == "true"
    assert (
        parse_arguments(["--resume_from_checkpoint", "x/checkpoint-3"]).run.resume_from_checkpoint == "x/checkpoint-3"
    )
    assert parse_arguments([]).run.resume_from_checkpoint is None


def test_help_keeps_the_lines_of_its_description_and_shows_what_is_inherited_last() -> None:
    text = make_parser("What it does.\n\n    how to start it\n").format_help()
    usage, description, example, own, inherited = text.split("\n\n")
    assert usage.count("\n") == 0 and description == "What it does." and example == "    how to start it"
    assert own.startswith("options:") and inherited.startswith("options of transformers' TrainingArguments:")
    for flag in ("--config", "--output_dir", "--seed", "--learning_rate", "--find_lr", "--strategy"):
        assert f"  {flag} " in own and f"  {flag} " not in inherited
    for flag in ("--max_steps", "--bf16"):
        assert f"  {flag} " in inherited and f"  {flag} " not in own
    assert "(default: 0.01)" in own and "(default: -1)" in inherited
