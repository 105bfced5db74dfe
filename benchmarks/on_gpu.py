"""Check and measure what only a GPU can show, in at most twelve minutes, and write it as JSON.

    python benchmarks/on_gpu.py --output_dir outputs/on_gpu --imdb stanfordnlp/imdb
    python benchmarks/on_gpu.py --device cpu --output_dir outputs/toy      # the same at toy sizes, for tests

Each part is one entry of `on_gpu.json`, written when it has ended: its `seconds`, `passed` and what it measured, or its
`error`; the next part is run all the same. The same command continues: parts that passed are not repeated, and the
language model resumes from its last checkpoint. The exit code is 1 if a part failed.

| part | |
|---|---|
| `families` | every family trains in bf16, resumes from a checkpoint to the same losses, and predicts |
| `language_models` | the same for language models, which then write a text |
| `dropped_weights` | the LSTM with dropped weights does not re-pack them; its speed beside fastai's and a plain stack |
| `decoders` | greedy and beam search give the texts of a CPU; speed of training and searching |
| `sharded` | FSDP in one process has the losses of unsharded training |
| `loops` | the LSTM and BERT under our trainer beside plain loops |
| `loss_memory` | memory of the language-model loss by vocabulary size, in chunks and whole |
| `imdb` | ULMFiT's language model at fastai's sizes (400, 1152, 3 layers) on the reviews, for the time that is left |

On a machine without a network, bring wheels of what its image lacks (transformers, tokenizers, datasets, evaluate, dill
and multiprocess are 17 MB; pyarrow, pandas and scikit-learn together 80 MB) and the files `train.parquet` and
`unsupervised.parquet` of IMDb (34 MB) as `--imdb FOLDER`. Without `--imdb`, that part is left out. No checkpoint of the
language model (240 MB with its optimiser's states) has to leave the machine: only `on_gpu.json` and the curve in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import launch_files  # noqa: E402
import lstm_throughput  # noqa: E402

ROOT = Path(__file__).parents[1]
MINUTES = 12.0
_TEXTS = launch_files.FAMILIES["rnn"]
_ROWS = {"label_budget": 60, "validation_budget": 40, "test_budget": 40}
_SMALL = {"embedding_size": 16, "hidden_size": 24}
FAMILIES: dict[str, dict[str, Any]] = {
    **launch_files.FAMILIES,
    "bidirectional rnn": {**_TEXTS, "config_overrides": {**_SMALL, "bidirectional": True, "pooling": "attention"}},
    "awd_lstm": {**_TEXTS, "model_type": "awd_lstm", "config_overrides": {**_SMALL, "num_hidden_layers": 2}},
    "tagger": {
        **_ROWS, "task": "token-classification", "dataset_name": "builtin:pytokens", "model_type": "rnn",
        "config_overrides": {**_SMALL, "bidirectional": True, "crf": True}, "learning_rate": 5e-3,
    },
    "captioner": {
        **_ROWS, "task": "captioning", "dataset_name": "builtin:digits", "model_type": "rnn_image_captioner",
        "config_overrides": {"encoder_channels": [8, 16], "encoder_stride": 4, **_SMALL, "attention": "bahdanau"},
        "learning_rate": 5e-3,
    },
    "forecaster": {
        "task": "forecasting", "dataset_name": "builtin:stocks", "value_columns": "IBM,MSFT", "model_type": "rnn",
        "config_overrides": {"hidden_size": 24}, "context_length": 12, "prediction_length": 3, "learning_rate": 5e-3,
    },
}  # fmt: skip
LANGUAGE_MODELS = {
    "rnn": {**_SMALL},
    "awd_lstm": {**_SMALL, "num_hidden_layers": 2},
    "self_attention": {"embedding_size": 24, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2},
}


class Options(argparse.Namespace):
    """What was asked, and until when parts may run (`deadline`, on the clock of `time.monotonic`)."""

    device: str
    output_dir: Path
    imdb: str | None
    families: list[str]
    deadline: float

    @property
    def toy(self) -> bool:
        return self.device == "cpu"

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()


def families(options: Options) -> dict[str, Any]:
    from tl_toolkit import finetune

    common = launch_files.COMMON
    return {name: _resumed(finetune, name, FAMILIES[name] | common, options) for name in options.families}


def language_models(options: Options) -> dict[str, Any]:
    from tl_toolkit import generate, pretrain

    found: dict[str, Any] = {}
    texts = [f"{first} {second} and the old {third}" for first in _WORDS for second in _WORDS for third in _WORDS]
    for name in [name for name in LANGUAGE_MODELS if name in options.families]:
        settings = {
            "dataset_name": texts, "model_type": name, "config_overrides": LANGUAGE_MODELS[name],
            "window_length": 10, "block_size": 16, "per_device_train_batch_size": 8, "learning_rate": 5e-3,
            "random_window_lengths": False, "logging_steps": 1, "disable_tqdm": True,
        }  # fmt: skip
        found[name] = _resumed(pretrain, f"lm-{name}", settings, options)
        if not found[name]["passed"]:
            continue
        use_cpu = {"use_cpu": True} if options.toy else {}
        written = generate(str(options.output_dir / "runs" / f"lm-{name}"), "the", max_new_tokens=5, **use_cpu)
        found[name]["text"] = written[0].generated
        found[name]["passed"] &= written[0].generated.startswith("the")
    return found


_WORDS = ["cat", "dog", "king", "queen", "river", "stone", "apple", "plum"]


def _resumed(train: Callable[..., Any], name: str, settings: dict[str, Any], options: Options) -> dict[str, Any]:
    """Train in bf16, then again from the checkpoint in the middle, and compare the losses after it."""
    folder = options.output_dir / "runs" / name
    common = settings | {"bf16": True, "use_cpu": options.toy, "output_dir": str(folder), "overwrite_output_dir": True}
    common |= {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 4, "eval_steps": 4, "max_steps": 8}
    common |= {"save_total_limit": 9, "load_best_model_at_end": False}
    try:
        first = train(**common).record
        whole = launch_files.losses(first)
        again = launch_files.losses(train(**common, resume_from_checkpoint=str(folder / "checkpoint-4")).record)
    except Exception as error:  # the other models are tried all the same
        return {"passed": False, "error": f"{type(error).__name__}: {error}"}
    apart = max(map(abs, map(float.__sub__, whole, again)))
    cost = first["cost"]
    return {
        "passed": apart < (1e-6 if options.toy else 0.02) and math.isfinite(sum(whole)),
        "losses": [whole[0], whole[-1]], "largest_difference_after_resuming": apart, "metrics": first["metrics"],
        "device": first["hardware"]["device"], "peak_memory_bytes": cost["peak_memory_bytes"],
    }  # fmt: skip


def dropped_weights(options: Options) -> dict[str, Any]:
    """cuDNN copies weights that are not one block of memory in every call, and torch warns of it."""
    from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM

    model = AwdLstmForCausalLM(AwdLstmConfig(vocab_size=101, embedding_size=24, hidden_size=32)).to(options.device)
    ids = torch.randint(0, 101, (4, 20), device=options.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            model(input_ids=ids, labels=ids).loss.backward()
    packed = [str(one.message) for one in caught if "contiguous" in str(one.message)]
    sizes = ["--hidden_size", "32", "--embedding_size", "24", "--windows", "2", "--vocab_size", "101"]
    real = ["--hidden_size", "1152", "--embedding_size", "400", "--batch_size", "64", "--vocab_size", "30000"]
    output = _script("awd_lstm_throughput.py", options, *(sizes if options.toy else real))
    return {"passed": not packed, "warnings": packed[:1], "output": output}


def decoders(options: Options) -> dict[str, Any]:
    from tl_toolkit.models import RnnEncoderDecoderConfig, RnnEncoderDecoderForConditionalGeneration

    found: dict[str, Any] = {"passed": True}
    ids = torch.randint(4, 97, (5, 13), generator=torch.Generator().manual_seed(1))
    for attention in ("none", "bahdanau", "luong"):
        torch.manual_seed(1)
        sizes = {"vocab_size": 97, "embedding_size": 24, "hidden_size": 32}
        config = RnnEncoderDecoderConfig(**sizes, attention=attention, decoder_start_token_id=1, eos_token_id=2)
        model = RnnEncoderDecoderForConditionalGeneration(config).eval()
        for beams in (1, 4):
            settings = {"num_beams": beams, "max_new_tokens": 11, "do_sample": False}
            expected = model.cpu().generate(input_ids=ids, **settings)
            got = model.to(options.device).generate(input_ids=ids.to(options.device), **settings).cpu()
            found[f"{attention}, {beams} beams"] = equal = bool(torch.equal(expected, got))
            found["passed"] &= equal
    toy = ["--hidden_size", "16", "--embedding_size", "16", "--batch_size", "2", "--batches", "1", "--kinds", "luong"]
    found["output"] = _script("seq2seq_throughput.py", options, *(toy if options.toy else ["--hidden_size", "512"]))
    return found


def sharded(options: Options) -> dict[str, Any]:
    runs = {
        name: FAMILIES[name] | launch_files.COMMON | {"use_cpu": options.toy} for name in ("rnn", "self_attention")
    }  # fmt: skip
    folder = options.output_dir / "sharded"
    alone = launch_files.train("one_cpu" if options.toy else "one_gpu", runs, folder)
    found: dict[str, Any] = {"passed": True}
    for name, record in launch_files.train("fsdp", runs, folder, processes=1).items():
        pairs = zip(launch_files.losses(alone[name]), launch_files.losses(record), strict=True)
        apart = max(abs(one - other) for one, other in pairs)
        found[name] = {"type": record["hardware"]["distributed_type"], "largest_difference": apart}
        found["passed"] &= apart < 1e-4 and record["hardware"]["sharded"]
    return found


def loops(options: Options) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import BertConfig, BertForSequenceClassification

    from tl_toolkit.data.tokenizers import build_tokenizer

    rounds = ["--rounds", "1", "--batches", "2"] if options.toy else ["--rounds", "5"]
    found: dict[str, Any] = {"passed": True, "lstm": _script("lstm_throughput.py", options, *rounds)}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = BertConfig(vocab_size=lstm_throughput.VOCABULARY, **(sizes if options.toy else {}))
    model = BertForSequenceClassification(config).to(options.device)
    rows = lstm_throughput.make_rows((2 if options.toy else 60) * lstm_throughput.BATCH, torch.Generator())
    size = lstm_throughput.BATCH
    encoded = Dataset.from_list(rows)
    tokenizer = build_tokenizer("word", ["a b"] * 2, max_length=lstm_throughput.LONGEST)
    batches = [lstm_throughput.collate(rows[start : start + size]) for start in range(0, len(rows), size)]
    for _ in range(2):  # the first round warms up
        plain = lstm_throughput.train(model, batches, options.device)
        ours = lstm_throughput.train_with_trainer(model, encoded, tokenizer, options.device)
    found["bert"] = {"plain_rows_per_second": len(rows) / plain, "trainer_rows_per_second": len(rows) / ours}
    return found


def loss_memory(options: Options) -> dict[str, Any]:
    from tl_toolkit.models.chunked_cross_entropy import chunked_cross_entropy

    found: dict[str, Any] = {"passed": True}
    tokens, size = (64, 8) if options.toy else (64 * 70, 400)
    for words in (101, 211) if options.toy else (10_000, 60_000, 250_000):
        torch.manual_seed(1)
        hidden, weight = (torch.randn(rows, size, device=options.device) / size**0.5 for rows in (tokens, words))
        targets = torch.randint(0, words, (tokens,), device=options.device)
        losses, peaks = [], []
        for chunks in (True, False):
            states, matrix = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
            before = _peak(options, start=True)
            if chunks:
                loss = chunked_cross_entropy(states, matrix, None, targets)
            else:
                loss = torch.nn.functional.cross_entropy(states @ matrix.T, targets, reduction="sum")
            loss.backward()
            losses.append(float(loss.detach()) / tokens)
            peaks.append(_peak(options) - before)
        found[f"{words} words"] = {"losses": losses, "chunked_bytes": peaks[0], "whole_bytes": peaks[1]}
        found["passed"] &= abs(losses[0] - losses[1]) < 1e-3
    return found


def imdb(options: Options) -> dict[str, Any]:
    """Train the language model until the time is over; the next call resumes it."""
    if options.imdb is None:
        return {"passed": True, "left_out": "--imdb names no data"}
    folder = options.output_dir / "imdb"
    sizes = "embedding_size=16,hidden_size=24" if options.toy else "embedding_size=400,hidden_size=1152"
    flags = {
        "dataset_name": options.imdb, "train_split_name": "train" if options.toy else "unsupervised",
        "model_type": "awd_lstm", "config_overrides": f"{sizes},num_hidden_layers=3", "tokenizer_name": "fastai",
        "tokenizer_vocab_size": 60_000, "validation_fraction": 0.02, "per_device_train_batch_size": 64,
        "num_train_epochs": 1, "learning_rate": 4e-3, "max_eval_tokens": 500_000, "eval_strategy": "steps",
        "eval_steps": 500, "save_strategy": "steps", "save_steps": 500, "logging_steps": 50, "skip_test": True,
        "output_dir": folder, "resume_from_checkpoint": True, "disable_tqdm": True, "bf16": True,
    }  # fmt: skip
    flags |= {"use_cpu": True, "per_device_train_batch_size": 2, "max_steps": 4} if options.toy else {}
    command = [sys.executable, "-m", "tl_toolkit", "pretrain"]
    process = subprocess.Popen(
        command + [part for name, value in flags.items() for part in (f"--{name}", str(value))],
        env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=max(10.0, options.seconds_left - 15))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    record, states = folder / "result.json", sorted(folder.glob("checkpoint-*/trainer_state.json"))
    if record.exists():
        done = json.loads(record.read_text())
        return {"passed": True, "finished": True, "metrics": done["metrics"], "cost": done["cost"]}
    history = json.loads(states[-1].read_text())["log_history"] if states else []
    stopped = process.returncode == 128 + signal.SIGTERM
    error = {} if stopped else {"error": output[-2000:]}
    return {"passed": stopped, "finished": False, "history": history[-20:], **error}


PARTS: list[Callable[[Options], dict[str, Any]]] = [
    families, language_models, dropped_weights, decoders, sharded, loops, loss_memory, imdb,
]  # fmt: skip


def _script(name: str, options: Options, *arguments: str) -> list[str]:
    """The lines that another benchmark prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), "--device", options.device, *arguments]
    limit = max(30.0, options.seconds_left)
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=limit)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return done.stdout.splitlines()


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def _peak(options: Options, start: bool = False) -> int:
    """Bytes on the GPU: the peak so far, or from now on; 0 on a CPU."""
    if options.toy:
        return 0
    torch.cuda.synchronize()
    if start:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--imdb", help="IMDb on the Hub, or a folder with its parquet files")
    parser.add_argument("--parts", nargs="+", choices=[part.__name__ for part in PARTS])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args(namespace=Options())
    options.deadline = time.monotonic() + 60 * options.minutes
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU: --device cpu runs everything at toy sizes")
    options.output_dir.mkdir(parents=True, exist_ok=True)
    path = options.output_dir / "on_gpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    name = platform.processor() if options.toy else torch.cuda.get_device_name()
    found["on"] = {"device": options.device, "name": name, "torch": torch.__version__, "toy": options.toy}
    print(f"on {options.device} ({name})", flush=True)
    for part in PARTS:
        title = part.__name__
        before = found.get(title, {})
        done = before.get("passed") and before.get("finished", True)
        if done or (options.parts and title not in options.parts):
            continue
        if options.seconds_left < 20:
            print(f"{title:<16} no time is left", flush=True)
            continue
        began = time.monotonic()
        try:
            result = part(options)
            nested = [one["passed"] for one in result.values() if isinstance(one, dict) and "passed" in one]
            result["passed"] = bool(result.get("passed", True) and all(nested))
        except Exception as error:
            result = {"passed": False, "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        found[title] = {"seconds": round(time.monotonic() - began, 1), **result}
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
        temporary.replace(path)
        print(f"{title:<16} {'passed' if result['passed'] else 'FAILED'} in {found[title]['seconds']} s", flush=True)
    shutil.rmtree(options.output_dir / "runs", ignore_errors=True)
    sys.exit(0 if all(found.get(part.__name__, {}).get("passed", True) for part in PARTS) else 1)


if __name__ == "__main__":
    main()
