"""The recipes as a user starts them: exit codes, what is printed, and several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tl_toolkit.cli import VERBS, exit_cleanly
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.config.parsing import arguments_from, read_yaml
from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
from tl_toolkit.errors import UserError

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
SIZES = "embedding_size=7,hidden_size=13,num_hidden_layers=1,embedding_dropout=0,classifier_dropout=0"
RNN = ["--model_type", "rnn", "--config_overrides", SIZES, "--use_cpu"]


def start(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def launch(config: str, *arguments: str) -> subprocess.CompletedProcess:
    accelerate = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(RECIPES / "accelerate" / config),
    ]
    port = ["--main_process_port", str(20_000 + os.getpid() % 20_000)]
    return start(*accelerate, *port, *arguments, OMP_NUM_THREADS="1")


def test_bad_input_is_one_paragraph_and_exit_code_2(tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = start(
        sys.executable,
        str(RECIPES / "finetune.py"),
        *RNN,
        "--dataset_name",
        "./nowhere.csv",
        "--output_dir",
        str(output),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    paragraph = done.stderr.strip().split("\n\n")[-1]
    assert paragraph.startswith("error:") and "nowhere.csv" in paragraph
    assert not list(tmp_path.glob("out/*"))


class PanicException(BaseException):
    """What compiled code in Rust raises: no Exception."""


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("odd"), PanicException("odd"), RecursionError("odd"), OSError(7, "odd")]
)
def test_what_a_library_raises_is_one_paragraph(error: BaseException, capsys: pytest.CaptureFixture) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        exit_cleanly(main)  # this file is not the toolkit's either
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith("\nerror: ") and "Traceback" not in said
    assert type(error) in (RecursionError, OSError) or f"{type(error).__name__}: odd" in " ".join(said.split())


def test_a_bug_says_where_to_report_it(capsys: pytest.CaptureFixture) -> None:
    from tl_toolkit import errors

    main = compile("raise ZeroDivisionError('a defect')", errors.__file__, "exec")
    with pytest.raises(SystemExit) as left:
        exit_cleanly(lambda: exec(main))
    said = capsys.readouterr().err
    assert left.value.code == 1 and "ZeroDivisionError: a defect" in said
    assert "This is a bug of tl-toolkit. Report it at https://" in said and "Python 3" in said


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_stop_like_ctrl_c(name: str, code: int, capsys: pytest.CaptureFixture) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as left:
            exit_cleanly(lambda: signal.raise_signal(number), "Run it again.")
    finally:
        signal.signal(number, before)
    assert left.value.code == code and capsys.readouterr().err == "\nStopped. Run it again.\n"


def test_a_full_disk_is_a_user_error(capsys: pytest.CaptureFixture) -> None:
    def main() -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 10)

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(SystemExit) as left:
        exit_cleanly(main)
    assert left.value.code == 2
    assert "disk is full" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_a_recipe_is_the_verb_of_the_command(verb: str) -> None:
    by_recipe = start(sys.executable, str(RECIPES / f"{verb}.py"), "--help")
    assert by_recipe.returncode == 0
    assert by_recipe.stdout == start(sys.executable, "-m", "tl_toolkit", verb, "--help").stdout
    assert by_recipe.stdout.startswith(f"usage: tl-toolkit {verb} ")


@pytest.mark.parametrize("order", ["random", "group_by_length", "random with class weights"])
def test_two_processes_do_what_one_does(dataset_folder: Path, tmp_path: Path, order: str) -> None:
    """Training at the same global batch, every prediction row by row, and the metrics."""
    common = [
        str(RECIPES / "finetune.py"), *RNN, "--dataset_name", str(dataset_folder), "--num_train_epochs", "2",
        "--optim", "sgd", "--learning_rate", "0.5", "--disable_tqdm", "--per_device_eval_batch_size", "5",
        "--train_sampling_strategy", order.split()[0],
    ]  # fmt: skip
    if "weights" in order:
        common += ["--class_weight", "fruit=7,metal=.5", "--main_metric", "recall:fruit"]
    for name, config, batch in (("one", "one_cpu.yaml", "12"), ("two", "two_cpu.yaml", "6")):
        done = launch(config, *common, "--per_device_train_batch_size", batch, "--output_dir", str(tmp_path / name))
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert (one["hardware"]["world_size"], two["hardware"]["world_size"]) == (1, 2)
    for split in ("validation", "test"):
        first, second = (pd.read_parquet(tmp_path / n / f"predictions_{split}.parquet") for n in ("one", "two"))
        assert first["row"].tolist() == second["row"].tolist()
        assert first["text"].tolist() == second["text"].tolist()
        np.testing.assert_allclose(np.stack(first["scores"]), np.stack(second["scores"]), atol=1e-5)
        for metric, value in one["metrics"][split].items():
            assert two["metrics"][split][metric] == pytest.approx(value, abs=1e-5)


def test_layers_unfrozen_late_are_averaged_over_two_processes(dataset_folder: Path, tmp_path: Path) -> None:
    """Each process sees other rows, so that a layer trained on its own rows alone would end elsewhere."""
    recipe, rows = str(RECIPES / "finetune.py"), ["--dataset_name", str(dataset_folder), "--disable_tqdm"]
    base = str(tmp_path / "base")
    assert start(sys.executable, recipe, *RNN, *rows, "--num_train_epochs", "1", "--output_dir", base).returncode == 0
    common = [
        recipe, "--model_name_or_path", base, *rows, "--strategy", "gradual_unfreezing", "--num_train_epochs", "4",
        "--optim", "sgd", "--learning_rate", "2", "--load_best_model_at_end", "false", "--use_cpu",
    ]  # fmt: skip
    for name, config, batch, parts in (("one", "one_cpu.yaml", "12", "1"), ("two", "two_cpu.yaml", "3", "2")):
        sizes = ["--per_device_train_batch_size", batch, "--gradient_accumulation_steps", parts]
        done = launch(config, *common, *sizes, "--output_dir", str(tmp_path / name))
        assert done.returncode == 0, done.stderr[-2000:]
    before, one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "one", "two"))
    for name, weight in one.items():
        assert not torch.allclose(weight, before[name], atol=1e-3), name  # there was something to average
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("strategy", ["probe", "frozen"])
def test_two_processes_read_the_same_features_as_one(
    dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    recipe, rows = str(RECIPES / "finetune.py"), ["--dataset_name", str(dataset_folder), "--disable_tqdm"]
    base = str(tmp_path / "base")
    assert start(sys.executable, recipe, *RNN, *rows, "--num_train_epochs", "1", "--output_dir", base).returncode == 0
    common = [recipe, "--model_name_or_path", base, *rows, "--strategy", strategy, "--use_cpu"]
    for name, config, batch in (("one", "one_cpu.yaml", "12"), ("two", "two_cpu.yaml", "6")):
        monkeypatch.setenv("TL_TOOLKIT_CACHE", str(tmp_path / f"cache_of_{name}"))
        done = launch(config, *common, "--per_device_train_batch_size", batch, "--output_dir", str(tmp_path / name))
        assert done.returncode == 0, done.stderr[-2000:]
    before, one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "one", "two"))
    for name, weight in one.items():
        assert torch.equal(weight, before[name]) == name.startswith("rnn."), name
        torch.testing.assert_close(two[name], weight, atol=1e-5, rtol=1e-4)
    records = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert records[1]["hardware"]["world_size"] == 2
    stored = [
        sum(len(load_file(path)["keys"]) for path in tmp_path.glob(f"cache_of_{name}/**/*.safetensors"))
        for name in ("one", "two")
    ]
    assert stored[0] == stored[1] == records[0]["cost"]["features"]["computed_rows"]  # no row twice
    for split, metrics in records[0]["metrics"].items():
        assert records[1]["metrics"][split] == pytest.approx(metrics, abs=1e-5)


def test_the_module_can_be_launched_on_two_processes(dataset_folder: Path, tmp_path: Path) -> None:
    asked = ["finetune", str(dataset_folder), *RNN, "--num_train_epochs", "1", "--output_dir", str(tmp_path / "out")]
    done = launch("two_cpu.yaml", "-m", "tl_toolkit", *asked)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["hardware"]["world_size"] == 2
    assert done.stdout.count("The model and result.json are in") == 1


def test_an_error_on_two_processes_is_printed_once_and_nobody_waits(tmp_path: Path) -> None:
    missing = ["--dataset_name", "./nowhere.csv", "--output_dir", str(tmp_path / "out")]
    done = launch("two_cpu.yaml", str(RECIPES / "finetune.py"), *RNN, *missing)
    assert done.returncode != 0
    assert done.stderr.count("error: The dataset './nowhere.csv'") == 1
    assert "exitcode  : 2" in done.stderr  # and it ended by itself: `start` waits for minutes at most


@pytest.mark.parametrize("slow_rank", [0, 1])
def test_the_first_process_speaks_however_late_it_meets_the_error(tmp_path: Path, slow_rank: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from tl_toolkit.errors import UserError\n"
        "from tl_toolkit.cli import VERBS, exit_cleanly\n"
        "def main():\n"
        f"    time.sleep(3 * (os.environ['RANK'] == '{slow_rank}'))\n"
        "    raise UserError('Nothing is right, says ' + os.environ['RANK'] + '.')\n"
        "exit_cleanly(main)\n"
    )
    done = launch("two_cpu.yaml", str(script))
    assert done.stderr.count("error: Nothing is right, says 0.") == 1
    assert "says 1." not in done.stderr and "exitcode  : 2" in done.stderr


def test_what_only_another_process_meets_is_said_after_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def main() -> None:
        raise UserError("This process alone has no room.")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("tl_toolkit.cli.PATIENCE_SECONDS", 0.01)
    with pytest.raises(SystemExit) as left:
        exit_cleanly(main)
    assert left.value.code == 2 and "error: This process alone" in capsys.readouterr().err


def test_a_run_killed_with_kill_9_is_resumed(dataset_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, str(RECIPES / "finetune.py"), *RNN, "--dataset_name", str(dataset_folder), "--disable_tqdm",
        "--num_train_epochs", "400", "--output_dir", str(tmp_path / "out"), "--eval_strategy", "steps", "--eval_steps",
        "25", "--save_strategy", "steps", "--save_steps", "25", "--per_device_train_batch_size", "11",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not list(tmp_path.glob("out/checkpoint-*/trainer_state.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "result.json").exists()
    refused = start(*command)
    assert refused.returncode == 2 and "--resume_from_checkpoint" in refused.stderr
    other = start(*command, "--resume_from_checkpoint", "--num_train_epochs", "300")
    assert other.returncode == 2 and "was 2400, is now 1800" in " ".join(other.stderr.split())
    resumed = start(*command, "--resume_from_checkpoint")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    steps = [entry["step"] for entry in record["history"] if "eval_loss" in entry]
    assert steps == list(range(25, 2401, 25))  # as if it had never been killed


def test_another_number_of_processes_resumes_at_the_same_global_batch(dataset_folder: Path, tmp_path: Path) -> None:
    command = [
        str(RECIPES / "finetune.py"), *RNN, "--dataset_name", str(dataset_folder), "--disable_tqdm",
        "--num_train_epochs", "3", "--save_total_limit", "9", "--output_dir",
    ]  # fmt: skip
    done = start(sys.executable, *command, str(tmp_path / "one"), "--per_device_train_batch_size", "22")
    assert done.returncode == 0, done.stderr[-2000:]
    more = ["--resume_from_checkpoint", str(tmp_path / "one" / "checkpoint-3")]
    refused = launch("two_cpu.yaml", *command, str(tmp_path / "two"), *more, "--per_device_train_batch_size", "22")
    assert refused.returncode != 0 and "was 22, is now 44" in " ".join(refused.stderr.split())
    done = launch("two_cpu.yaml", *command, str(tmp_path / "two"), *more, "--per_device_train_batch_size", "11")
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert two["hardware"]["world_size"] == 2 and two["identity"] == one["identity"]
    assert two["metrics"]["test"] == pytest.approx(one["metrics"]["test"], rel=1e-4)


def test_predict_repeats_what_finetune_reported(dataset_folder: Path, tmp_path: Path) -> None:
    finetune = [sys.executable, str(RECIPES / "finetune.py"), *RNN, "--dataset_name", str(dataset_folder)]
    assert start(*finetune, "--max_length", "5", "--output_dir", str(tmp_path / "model")).returncode == 0
    predict = [
        sys.executable,
        str(RECIPES / "predict.py"),
        "--model_name_or_path",
        str(tmp_path / "model"),
        "--use_cpu",
    ]
    done = start(*predict, "--dataset_name", str(dataset_folder), "--output_dir", str(tmp_path / "answers"))
    assert done.returncode == 0, done.stderr[-2000:]
    reported = json.loads((tmp_path / "model" / "result.json").read_text())["metrics"]["test"]
    assert json.loads((tmp_path / "answers" / "metrics.json").read_text())["metrics"] == pytest.approx(reported)
    answers = pd.read_parquet(tmp_path / "answers" / "predictions.parquet")
    tested = pd.read_parquet(tmp_path / "model" / "predictions_test.parquet")
    assert answers["prediction"].tolist() == tested["prediction"].tolist()

    unlabelled = tmp_path / "new.txt"
    unlabelled.write_text("iron and tin\nthe old rhine\n")
    done = start(*predict, "--dataset_name", str(unlabelled), "--output_dir", str(tmp_path / "answers"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "answers" / "metrics.json").exists()  # that of the labelled dataset is gone
    assert len(pd.read_parquet(tmp_path / "answers" / "predictions.parquet")) == 2


CONFIGS = sorted((RECIPES / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_can_be_started(path: Path) -> None:
    content = read_yaml(path)
    if "entries" in content:
        assert make_grid(content, {}, path.name).runs
    else:
        is_language_model = {"window_length", "block_size"} & content.keys()
        arguments = (pretrain_arguments_from if is_language_model else arguments_from)(content, path.name)
        assert arguments.data.dataset_name and (arguments.model.model_type or arguments.model.model_name_or_path)


def test_compare_ends_with_the_path_of_its_report(dataset_folder: Path, tmp_path: Path) -> None:
    entry = {"name": "<b>tiny</b>", "model_type": "rnn", "config_overrides": {"hidden_size": 13}}
    shared = {"dataset_name": str(dataset_folder), "use_cpu": True, "num_train_epochs": 1}
    grid = {**shared, "label_budgets": [12], "seeds": [1], "entries": [entry]}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    command = [sys.executable, str(RECIPES / "compare.py"), "--config", str(tmp_path / "grid.yaml")]
    done = start(*command, "--output_dir", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr[-2000:]
    report = Path(done.stdout.strip().splitlines()[-1].removeprefix("The report: "))
    assert report == tmp_path / "out" / "report.html"
    assert "&lt;b&gt;tiny&lt;/b&gt;" in report.read_text() and "<b>tiny</b>" not in report.read_text()
    assert (tmp_path / "out" / "report.md").exists() and list((tmp_path / "out" / "figures").iterdir())
    assert (tmp_path / "out" / "runs").is_dir()
    wrong = start(*command, "--output_dir", str(tmp_path / "wrong"), "--text_column", "txet")
    assert wrong.returncode == 2 and "'txet'" in wrong.stderr and "Traceback" not in wrong.stderr
