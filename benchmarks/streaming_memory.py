"""Peak memory of `pretrain --streaming` while it reads a generated corpus.

    python benchmarks/streaming_memory.py [--gigabytes 10] [--format parquet] [--read_only]

Writes shards of random words to a temporary folder, and trains a tiny GPT-2 on all of them in one process, with
`--max_train_tokens` as the end. Prints the peak resident memory of the process after 0 (before the first update), 1,
10, 25, 50 and 100 % of the updates. With `--read_only` the batches are read and tokenised, but
the model is not trained, which is faster. Uses as much disk as the corpus.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SHARES = (1, 10, 25, 50, 100)
SYLLABLES = [
    f"{first}{middle}{last}" for first in "bdfgklmnprst" for middle in "aeiou" for last in ("", "n", "s", "rt")
]
WORDS = [f"{first}{last}" for first, last in zip(SYLLABLES, reversed(SYLLABLES), strict=True)]
DOCUMENT = 400  # words
SHARD = 2**26  # bytes


def write_corpus(folder: Path, size: int, suffix: str) -> int:
    """Write shards of together `size` bytes of text and a short validation file. Returns the number of words."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words, written, shard = 0, 0, 0
    while written < size:
        texts: list[str] = []
        chance, end = np.random.default_rng(shard), min(size, written + SHARD)
        while written < end:
            texts.append(" ".join([WORDS[word] for word in chance.integers(0, len(WORDS), DOCUMENT).tolist()]))
            written += len(texts[-1])
        words += DOCUMENT * len(texts)
        parts = {f"train-{shard:05}": texts} if shard else {"train-00000": texts, "validation": texts[:20]}
        for name, own in parts.items():
            if suffix == "parquet":
                pq.write_table(pa.table({"text": own}), folder / f"{name}.parquet", row_group_size=1000)
            else:
                lines = own if suffix == "txt" else [json.dumps({"text": text}) for text in own]
                (folder / f"{name}.{suffix}").write_text("".join(f"{line}\n" for line in lines))
        shard += 1
    return words


def peak() -> float:
    """Peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="bytes of text / 1e9")
    parser.add_argument("--format", choices=("parquet", "jsonl", "txt"), default="parquet")
    parser.add_argument("--read_only", action="store_true")
    parser.add_argument("--folder", help="where the corpus and the model are written for the time of the run")
    given = parser.parse_args()
    if given.folder:
        Path(given.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        corpus, tokenizer = Path(name, "corpus"), Path(name, "tokenizer")
        corpus.mkdir()
        with ProcessPoolExecutor(1) as other:  # whose memory is not measured
            words = other.submit(write_corpus, corpus, int(given.gigabytes * 1e9), given.format).result()
        run(corpus, tokenizer, words, given)


def run(corpus: Path, tokenizer: Path, words: int, given: argparse.Namespace) -> None:
    """Train or read, and print one line for each share of the updates."""
    from transformers import TrainerCallback

    from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
    from tl_toolkit.data.tokenizers import build_tokenizer
    from tl_toolkit.workflows.pretrain import pretraining

    build_tokenizer("whitespace", [" ".join(WORDS)], min_frequency=1).save_pretrained(tokenizer)
    tokens = words + words // DOCUMENT
    settings = {
        "dataset_name": str(corpus), "streaming": True, "max_train_tokens": tokens, "tokenizer_name": str(tokenizer),
        "model_type": "gpt2", "config_overrides": "n_embd=4,n_layer=1,n_head=1", "block_size": 257,
        "per_device_train_batch_size": 256, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
        "eval_strategy": "no", "load_best_model_at_end": False, "logging_strategy": "no",
        "output_dir": str(tokenizer.parent / "model"), "learning_rate": 0.001,
    }  # fmt: skip
    training = pretraining(pretrain_arguments_from(settings, "the benchmark"))
    training.set_up()
    batches: Any = training.datasets["train"]
    start = time.process_time()
    print(f"{given.gigabytes:g} GB of text, {tokens:,} tokens, {len(batches):,} batches")
    print("| read | peak MiB | processor seconds |")
    print(f"|---|---|---|\n| 0 % | {peak():,.0f} | 0 |", flush=True)

    def show(done: int) -> None:
        for share in SHARES:
            if done == max(1, len(batches) * share // 100):
                print(f"| {share} % | {peak():,.0f} | {time.process_time() - start:,.0f} |", flush=True)

    class Show(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            show(state.global_step)

    if given.read_only:
        for index in range(len(batches)):
            _ = batches[index]
            show(index + 1)
    else:
        training.trainer.add_callback(Show())
        training.trainer.train()


if __name__ == "__main__":
    main()
