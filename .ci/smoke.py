"""What a user does first, in an environment that has the package alone: by command, and from Python.

    cd /anywhere && python /path/to/.ci/smoke.py

It writes a csv to the current folder, trains, predicts, compares, and lists what would be published.
"""

import csv
import random
import subprocess
import sys
from pathlib import Path

GOOD, BAD = ["fine", "lovely", "moving", "bright"], ["dull", "tired", "clumsy", "flat"]
ON_CPU = ["--use_cpu", "--num_train_epochs", "2", "--disable_tqdm"]


def run(*command: str) -> str:
    print("$", *command, flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, done.stderr if done.returncode else "", flush=True)
    done.check_returncode()
    return done.stdout


def main() -> None:
    draw = random.Random(1)
    rows = [(f"a {draw.choice(GOOD if good else BAD)} film", "good" if good else "bad") for good in [True, False] * 60]
    with open("reviews.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "label"), *rows])

    command = str(Path(sys.executable).with_name("tl-toolkit"))
    assert "finetune" in run(command, "--help") and "demo.yaml" in run(command, "configs")
    lstm = ["--model_type", "rnn", "--output_dir", "outputs/lstm"]
    run(command, "finetune", "reviews.csv", *lstm, *ON_CPU)
    run(sys.executable, "-m", "tl_toolkit", "predict", "outputs/lstm", "--dataset_name", "reviews.csv", "--output_dir",
        "outputs/predictions", "--use_cpu")  # fmt: skip
    Path("grid.yaml").write_text(
        "label_budgets: [40]\nseeds: [1, 2]\nentries:\n"
        "  - {name: LSTM, model_type: rnn}\n  - {name: Self-attention, model_type: self_attention}\n"
    )
    run(command, "compare", "reviews.csv", "--config", "grid.yaml", "--output_dir", "outputs/comparison", *ON_CPU)
    assert "Nothing was sent" in run(command, "publish", "outputs/lstm", "--repo_id", "user/lstm", "--dry_run")

    from tl_toolkit import RnnConfig, compare, finetune, predict, publish

    assert RnnConfig().model_type == "rnn"
    how = {"use_cpu": True, "num_train_epochs": 2, "disable_tqdm": True}
    trained = finetune(rows, model_type="rnn", output_dir="outputs/python", **how)
    print(trained, trained.predict(["a lovely film"]))
    assert len(predict(trained, rows, use_cpu=True).predictions) == len(rows)
    entries = [{"name": "LSTM", "model_type": "rnn"}, {"name": "Elman", "model_type": "rnn",
               "config_overrides": {"cell_type": "rnn_tanh"}}]  # fmt: skip
    found = compare(rows, entries=entries, label_budgets=[40], seeds=[1, 2], output_dir="outputs/compared", **how)
    assert found is not None and found.results["completed"].all() and found.report_path.exists()
    print(found)
    publish(trained, repo_id="user/lstm", dry_run=True)


main()
