from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tl_toolkit.cli import VERBS, main
from tl_toolkit.config.generate_arguments import parse_generate_arguments
from tl_toolkit.config.help import Help
from tl_toolkit.config.parsing import arguments_from, parse_arguments
from tl_toolkit.config.shipped import describe_configs, shipped_files
from tl_toolkit.errors import UserError


def test_flags_override_the_file_and_the_file_overrides_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("model_type: rnn\nseed: 7\nlearning_rate: 1e-3\nweight_decay: 0.5\n")
    arguments = parse_arguments(["--seed", "11", "--config", str(config)])
    assert arguments.run.seed == 11
    assert arguments.run.learning_rate == 1e-3  # PyYAML reads a string
    assert arguments.run.weight_decay == 0.5
    assert arguments.run.per_device_train_batch_size == 32


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--sede", "3"], ["--sede", "--seed"]),
        (["--see", "3"], ["--see"]),  # abbreviations are not flags
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
def test_nan_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"--{name} must be a number, but is nan"):
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
    with pytest.raises(UserError, match=f"--{name} must be {expected}, but is {value}"):
        parse_arguments([f"--{name}={value}"])


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("seed: 1\nmodel_type: rnn\nseed: 2\n")
    with pytest.raises(UserError, match="run.yaml' .*the key 'seed' is repeated.*line 3"):
        parse_arguments(["--config", str(config)])


def test_a_wrong_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("modeltype: rnn\n")
    with pytest.raises(UserError, match="'modeltype'.*'model_type'"):
        parse_arguments(["--config", str(config)])


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "\t:"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
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
        "report_to": ["tensorboard", "trackio"],
        "label_column": ["a", "b"],
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "label_budget": None,
        "bf16": False,
    }
    arguments = arguments_from(settings, "the test")
    assert arguments.model.config_overrides == "bidirectional=true,sizes=[1,2],x=none"
    assert arguments.run.report_to == ["tensorboard", "trackio"]
    assert arguments.data.label_budget is None
    assert arguments.data.label_column == "a,b"
    assert arguments.run.lr_scheduler_kwargs == {"num_cycles": 2}


def test_text_that_yaml_converts_stays_text(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("label_column: yes\ndataset_revision: 0123457\neval_strategy: no\nseed: 5\nbf16: false\n")
    arguments = parse_arguments(["--config", str(config)])
    assert (arguments.data.label_column, arguments.data.dataset_revision) == ("yes", "0123457")
    assert (arguments.run.eval_strategy.value, arguments.run.seed, arguments.run.bf16) == ("no", 5, False)


def test_a_flag_can_undo_a_setting_of_the_file(tmp_path: Path) -> None:
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


def test_bf16_needs_no_gpu() -> None:
    run = parse_arguments(["--model_type", "rnn", "--dataset_name", "x.csv", "--output_dir", "o", "--bf16"]).run
    assert run.bf16 and run.use_cpu == (not torch.accelerator.is_available()) and "use_cpu" not in run.as_given


def test_python_arguments_are_read_as_flags_are() -> None:
    arguments = parse_arguments(
        {"model_type": "rnn", "config_overrides": {"hidden_size": 7}, "label_column": ("a", "b"), "max_length": None,
         "label_budget": None, "learning_rate": 1e-3, "fp16": False, "report_to": ["tensorboard"]}
    )  # fmt: skip
    assert arguments.model.config_overrides == "hidden_size=7" and arguments.data.label_column == "a,b"
    assert arguments.data.max_length is None  # None in Python sets None, not the default of 256
    assert (arguments.data.label_budget, arguments.run.learning_rate) == (None, 1e-3)
    with pytest.raises(UserError, match=r"'model_typ' in the arguments of finetune\(\). Did you mean 'model_type'"):
        parse_arguments({"model_typ": "rnn"})


def test_python_arguments_beat_their_configuration(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model_type: rnn\nseed: 7\n")
    arguments = parse_arguments({"config": tmp_path / "run.yaml", "seed": 11})
    assert (arguments.model.model_type, arguments.run.seed) == ("rnn", 11)


def test_texts_that_look_like_flags_are_texts() -> None:
    assert parse_generate_arguments({"model_name_or_path": "m", "text": ["-5 degrees", "--x"]}).text == [
        "-5 degrees",
        "--x",
    ]


def test_the_first_argument_stands_for_the_main_flag() -> None:
    help = Help("finetune", main_flag="dataset_name")
    assert parse_arguments(["rows.csv", "--seed", "3"], help).data.dataset_name == "rows.csv"
    assert parse_arguments(["--dataset_name", "rows.csv"], help).data.dataset_name == "rows.csv"
    with pytest.raises(
        UserError, match="Leave out 'rows.csv' or --dataset_name=b.csv: .* is the value of --dataset_name"
    ):
        parse_arguments(["rows.csv", "--dataset_name=b.csv"], help)
    with pytest.raises(UserError, match="Unknown argument 'more.csv'"):
        parse_arguments(["rows.csv", "more.csv"], help)


def test_a_shipped_file_is_found_by_name_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_arguments(["--config", "stocks.yaml"]).data.dataset_name == "builtin:stocks"
    assert parse_arguments(["--config", "stocks"]).data.dataset_name == "builtin:stocks"
    (tmp_path / "stocks.yaml").write_text("dataset_name: own.csv\n")
    assert parse_arguments(["--config", "stocks.yaml"]).data.dataset_name == "own.csv"  # the user's own comes first
    with pytest.raises(UserError, match="'stock.yaml' cannot be read.*Did you mean 'stocks.yaml'.*tl-toolkit configs"):
        parse_arguments(["--config", "stock.yaml"])


def test_every_shipped_configuration_is_listed_with_a_line_that_says_what_it_does() -> None:
    lines = describe_configs().splitlines()
    for name, path in shipped_files().items():
        (line,) = [line.split(maxsplit=1)[1] for line in lines if line.strip().startswith(f"{name} ")]
        assert 20 < len(line) < 100, name
        assert describe_configs(name) == str(path)
    with pytest.raises(UserError, match="No shipped file is named 'demos.yaml'. Did you mean 'demo.yaml'"):
        describe_configs("demos.yaml")


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_on_two_screens_and_names_every_flag_of_the_toolkit(
    verb: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["tl-toolkit", verb, "--help"])
    with pytest.raises(SystemExit) as left:
        main()
    short = capsys.readouterr().out
    assert left.value.code == 0
    assert short.count("\n") <= 80 and "--help_all" in short
    monkeypatch.setattr("sys.argv", ["tl-toolkit", verb, "--help_all"])
    with pytest.raises(SystemExit):
        main()
    whole = capsys.readouterr().out
    own, _, inherited = whole.partition("Options of transformers' TrainingArguments:")
    flags = set(re.findall(r"^  (--\w+)", own, re.MULTILINE))
    assert flags <= set(re.findall(r"--\w+", short)), flags - set(re.findall(r"--\w+", short))
    assert set(VERBS[verb].common) <= {flag[2:] for flag in flags}  # each flag that is common is one of the verb
    assert ("--max_steps" in inherited) == (verb not in ("generate", "convert", "publish", "explain"))


def test_the_verbs_are_listed_with_a_line_each(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tl-toolkit", "--help"])
    main()
    said = capsys.readouterr().out
    assert all(re.search(rf"^  {verb} +[A-Z].*\.$", said, re.MULTILINE) for verb in [*VERBS, "configs"])
    monkeypatch.setattr("sys.argv", ["tl-toolkit", "fintune"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and "Did you mean 'finetune'" in capsys.readouterr().err
