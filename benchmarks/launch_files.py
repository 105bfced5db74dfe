"""Train each family through each launch file, and compare its losses with those of one process.

    python benchmarks/launch_files.py --output_dir outputs/launch_files

Every run has the same global batch and no dropout, so that its losses are those of one process up to the order of
floating-point sums. Without a GPU the processes run on the CPU, connected by gloo; `multi_node.yaml` starts two
launchers that meet on the loopback address, one for each machine. DeepSpeed is left out if it is not installed. A run
that exists is not repeated. The table is written to the standard output.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LAUNCH_FILES = ("one_cpu", "one_gpu", "two_cpu", "multi_gpu", "multi_node", "fsdp", "deepspeed_zero2")
_TEXTS = {"dataset_name": "builtin:pydocs", "label_budget": 60, "validation_budget": 40, "test_budget": 40}
_SIZES = {"embedding_dropout": 0, "classifier_dropout": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "rnn": {
        **_TEXTS, "model_type": "rnn", "config_overrides": {"embedding_size": 13, "hidden_size": 17, **_SIZES},
        "learning_rate": 5e-3,
    },
    "self_attention": {
        **_TEXTS, "model_type": "self_attention", "learning_rate": 5e-3,
        "config_overrides": {"embedding_size": 12, "hidden_size": 12, "num_attention_heads": 3, "hidden_dropout": 0,
                             "attention_dropout": 0, **_SIZES},
    },
    "MiniLM": {
        **_TEXTS, "model_name_or_path": "builtin:minilm", "learning_rate": 5e-5,
        "config_overrides": {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0, "classifier_dropout": 0},
    },
    "encoder-decoder": {
        **_TEXTS, "task": "translation", "dataset_name": "builtin:dates", "model_type": "rnn_encoder_decoder",
        "tokenizer_name": "char", "learning_rate": 5e-3, "generation_max_length": 13,
        "config_overrides": {"embedding_size": 13, "hidden_size": 17, "attention": "luong"},
    },
}  # fmt: skip
COMMON = {
    "max_length": 24, "num_train_epochs": 2, "min_train_steps": 0, "global_batch_size": 12, "logging_steps": 1,
    "disable_tqdm": True, "overwrite_output_dir": True,
}  # fmt: skip


def work(runs: Path) -> None:
    """Train what the file says (the arguments of `finetune` by output folder), in a process of a launcher."""
    from tl_toolkit import finetune

    for output, settings in json.loads(runs.read_text(encoding="utf-8")).items():
        record = Path(output) / "result.json"
        if not record.exists() or json.loads(record.read_text(encoding="utf-8"))["status"] != "completed":
            finetune(**settings, output_dir=output)


def train(config: str, runs: dict[str, dict[str, Any]], folder: Path, processes: int = 2) -> dict[str, Any]:
    """Train `runs` (arguments by name) in single precision through a launch file, and return their records by name.

    One launcher starts all, because starting takes longer than training. The machines of `multi_node` are two
    launchers. Files that start one process start one.

    Raises:
        RuntimeError: a process failed; a log in `folder` says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked, log_path = folder / f"{config}.json", folder / f"{config}.log"
    outputs = {name: folder / f"{name}-{config}" for name in runs}
    asked.write_text(json.dumps({str(outputs[name]): settings for name, settings in runs.items()}), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", "no", "--config_file"]
    command += [str(ROOT / "recipes" / "accelerate" / f"{config}.yaml"), "--main_process_port", str(_free_port())]
    command += ["--num_processes", str(1 if config.startswith("one_") else processes)]
    machines = [["--num_machines", "2", "--machine_rank", str(rank)] for rank in (0, 1)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    if any(settings.get("use_cpu") for settings in runs.values()):
        environment["DS_ACCELERATOR"] = "cpu"  # read by DeepSpeed
    with open(log_path, "a", encoding="utf-8") as log:
        running = [
            subprocess.Popen([*command, *machine, __file__, "--work", str(asked)], env=environment, stdout=log,
                             stderr=log)
            for machine in (machines if config == "multi_node" else [[]])
        ]  # fmt: skip
        codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"{config} ended with {codes}: see {log_path}")
    return {name: json.loads((output / "result.json").read_text()) for name, output in outputs.items()}


def losses(record: dict[str, Any]) -> list[float]:
    """The training and evaluation losses of a run in their order."""
    return [entry[name] for entry in record["history"] for name in ("loss", "eval_loss") if name in entry]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/launch_files"))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--launch_files", nargs="+", choices=LAUNCH_FILES, default=list(LAUNCH_FILES))
    parser.add_argument("--use_cpu", action="store_true")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        return work(options.work)
    runs = {name: {**FAMILIES[name], **COMMON, "use_cpu": options.use_cpu} for name in options.families}
    print(f"| launch file | family | processes | type | sharded | largest difference of a loss |\n{'|---' * 6}|")
    alone: dict[str, list[float]] = {}
    for config in ["one_cpu", *(name for name in options.launch_files if name != "one_cpu")]:
        if config == "deepspeed_zero2" and importlib.util.find_spec("deepspeed") is None:
            continue
        for family, record in train(config, runs, options.output_dir).items():
            found = losses(record)
            apart = max(map(abs, map(float.__sub__, alone.setdefault(family, found), found)))
            own = record["hardware"]
            cells = [f"`{config}.yaml`", family, own["world_size"], own["distributed_type"]]
            print(f"| {' | '.join(map(str, cells))} | {'yes' if own['sharded'] else 'no'} | {apart:.1e} |", flush=True)


if __name__ == "__main__":
    main()
