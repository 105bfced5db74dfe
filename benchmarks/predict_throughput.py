"""Rows per second of `tl-toolkit predict` on a csv file against transformers' pipeline, and its memory.

    python benchmarks/predict_throughput.py [--rows 1000000] [--device cuda]

A small LSTM is trained on docstrings. A csv file has `--rows` texts of mixed length in random order: one to sixteen
docstrings. `predict` reads the file and writes it back with predictions. The pipeline predicts the first rows in
batches of 64, as `pipeline(batch_size=64)` does, without reading or writing a file. Each runs alone in a process of its
own; loading libraries and the model is not counted. The memory of `predict` is shown for a tenth of the rows, too.
Takes about a minute for 50,000 rows on one CPU core.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path


def write_rows(path: Path, rows: int) -> None:
    """A csv file of docstrings of mixed length, in random order."""
    from tl_toolkit.config.arguments import DataArguments
    from tl_toolkit.data.sources import load_source

    texts = load_source(DataArguments(dataset_name="builtin:pydocs")).dataset["train"]["text"][:]
    chance = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "note"])
        for row in range(rows):
            parts = min(16, 1 + int(chance.expovariate(0.5)))
            writer.writerow([f"{row:07}", " ".join(chance.choices(texts, k=parts)), 'as, "written"'])


def run_predict(model: str, path: str, device: str) -> float:
    """Seconds for the whole file."""
    from tl_toolkit.workflows import predict

    with tempfile.TemporaryDirectory() as folder:
        given = {"model_name_or_path": model, "dataset_name": path, "output_dir": folder}
        arguments = predict.parse_predict_arguments({**given, "use_cpu": device == "cpu"})
        loaded = predict.Predictor(arguments)
        predict.Predictor = lambda _: loaded  # type: ignore[assignment,misc]
        start = time.perf_counter()
        predict.write_predictions(arguments)
        return time.perf_counter() - start


def run_pipeline(model: str, path: str, device: str, rows: int) -> float:
    """Seconds for the first rows."""
    from transformers import pipeline

    import tl_toolkit  # noqa: F401  registers the family

    pipe = pipeline("text-classification", model=model, device=device)
    with open(path, newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in islice(csv.DictReader(file), rows)]
    list(pipe((text for text in texts[:64]), batch_size=64, truncation=True))  # warms up
    start = time.perf_counter()
    list(pipe((text for text in texts), batch_size=64, truncation=True))
    return time.perf_counter() - start


def measured(*arguments: object) -> tuple[float, float]:
    """Seconds and peak megabytes of a run of this script in another process."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--pipeline_rows", type=int, default=10_000)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)  # what, and the folder of model and rows
    options = parser.parse_args()
    if options.run:
        what, place = options.run[0], Path(options.run[1])
        own = (str(place / "model"), str(place / f"{options.rows}.csv"), options.device)
        seconds = run_predict(*own) if what == "predict" else run_pipeline(*own, options.pipeline_rows)
        print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
        return
    from tl_toolkit import finetune

    with tempfile.TemporaryDirectory() as folder:
        finetune(
            "builtin:pydocs", model_type="rnn", label_budget=2000, num_train_epochs=1, use_cpu=options.device == "cpu",
            skip_test=True, disable_tqdm=True, log_level="error", output_dir=f"{folder}/model",
        )  # fmt: skip
        tenth = options.rows // 10
        for rows in (tenth, options.rows):
            write_rows(Path(folder) / f"{rows}.csv", rows)
        same = ("--device", options.device, "--pipeline_rows", min(options.pipeline_rows, options.rows))
        _, small = measured("--run", "predict", folder, "--rows", tenth, *same)
        seconds, large = measured("--run", "predict", folder, "--rows", options.rows, *same)
        other, _ = measured("--run", "pipeline", folder, "--rows", options.rows, *same)
    rate, base = options.rows / seconds, min(options.pipeline_rows, options.rows) / other
    print(f"predict                   {rate:8.0f} rows/s   {rate / base:5.2f} x")
    print(f"pipeline(batch_size=64)   {base:8.0f} rows/s   {1:5.2f} x")
    print(f"peak memory of predict: {small:,.0f} MB for {tenth:,} rows, {large:,.0f} MB for {options.rows:,} rows")


if __name__ == "__main__":
    main()
