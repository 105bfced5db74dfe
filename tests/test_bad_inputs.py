"""Bad inputs of every verb: one paragraph, exit code 2, no traceback, within seconds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path

from tl_toolkit import cli

MOST_SECONDS = 20  # of a case on a busy machine; most take milliseconds
ROWS = "\n".join(["text,label", *(f"{word} the old {word},{label}" for word, label in [("fig", "fruit"), ("tin", "metal")] * 20)])
SIZES = "--config_overrides hidden_size=7,embedding_size=5"

TRAIN = "{p}/good.csv --model_type rnn --output_dir {p}/out --use_cpu --num_train_epochs 1 " + SIZES
COMPARE = "{p}/good.csv --config {p}/grid.yaml --output_dir {p}/out"


def make_place(place: Path) -> None:
    """Good files, and bad ones of every kind."""
    good = place / "good.csv"
    good.write_text(ROWS)
    (place / "grid.yaml").write_text(
        "use_cpu: true\nnum_train_epochs: 1\nlabel_budgets: [20]\nseeds: [1]\n"
        "entries:\n- {name: one, model_type: rnn, config_overrides: {hidden_size: 7, embedding_size: 5}}\n"
    )
    bombs = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    bombs += [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in zip("abcdefghi", "bcdefghij", strict=True)]
    merges = ["a: &a {x: 1}", *(f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 9)}]}}" for before, name in zip("abcdefghi", "bcdefghij", strict=True))]
    deep = 100_000
    files = {
        "bomb.yaml": "\n".join(bombs), "merge.yaml": "\n".join(merges), "anchor.yaml": "a: &a [*a]\n",
        "anchored.yaml": "config_overrides: &a {hidden_size: *a}\n", "deep.yaml": "a: " + "[" * deep, "deep_map.yaml": "{a: " * deep,
        "large.yaml": "a: 1\n" * 300_000, "list.yaml": "- a\n", "text.yaml": "just text", "tab.yaml": "a:\n\t- b", "tag.yaml": "!!python/object:os.system [x]",
        "twice.yaml": "seed: 1\nseed: 2\n", "old.yaml": "evaluation_strategy: epoch\n", "unknown.yaml": "modle_type: rnn\n", "digits.yaml": "seed: " + "9" * 5000 + "\n",
        "dict.yaml": "seed: {a: 1}\n", "two.yaml": "seed: 1\n---\nseed: 2\n", "alias.yaml": "seed: *nothing\n", "keys.yaml": "? [a, b]\n: 1\n",
        "deep.json": "[" * deep + "]" * deep, "deep_open.json": "[" * deep, "deep_object.json": '{"a":' * deep + "1" + "}" * deep, "deep_cell.json": json.dumps([{"text": "a", "label": "b"}]).replace('"b"', "[" * deep + "]" * deep),
        "digits.json": '[{"text": "a", "label": ' + "9" * 5000 + "}]", "number.json": "7", "null.json": "null", "cut.json": '[{"text": "a"', "text.json": '["a", "b"]', "nan.json": '[{"text": NaN, "label": 1}]',
        "empty.csv": "", "header.csv": "text,label\n", "one.csv": "text,label\na,b\n", "one_class.csv": "text,label\n" + "a b,c\n" * 30, "no_label.csv": "text\na\nb\n", "quote.csv": 'text,label\n"a,b\nc,d\n' * 3, "ragged.csv": "text,label\na,b\nc,d,e\n",
        "zero.csv": "text,label\na\0b,c\n", "same.csv": "text,text\na,b\nc,d\n", "digits.csv": "text,label\n" + f"a b,{'9' * 5000}\nc d,{'8' * 5000}\n" * 20, "empty.txt": "", "blank.txt": "\n\n\n", "empty.jsonl": "", "list.jsonl": "[1]\n[2]\n", "mixed.jsonl": '{"text": "a", "label": 1}\n7\n',
        "torn.jsonl": '{"text": "a", "label": "b"}\n{"text": ', "odd.xyz": "a", "numbers.csv": "text,label\n1,2\n3,4\n" * 9, "empty_labels.csv": "text,label\na,\nb,\n" * 9,
        "vectors.txt": "fig 1 2 3\ntin 1 2\n", "vectors_text.txt": "fig a b c\n", "vectors_nan.txt": "fig nan nan\n", "empty_vectors.txt": "", "tokens.txt": "a b\n",
    }  # fmt: skip
    for name, content in files.items():
        (place / name).write_text(content)
    (place / "latin.csv").write_bytes("text,label\ncafé,a\n".encode("latin-1") * 5)
    (place / "latin.yaml").write_bytes("title: café\n".encode("latin-1"))
    for name in ("bad.parquet", "bad.arrow", "bad.csv.gz", "bad.png", "bad.pth", "bad.pkl", "bad.pt"):
        (place / name).write_bytes(b"PAR1 not really \x00\x01\x02" * 5)
    (place / "loop").symlink_to(place / "loop")
    (place / "loop.csv").symlink_to(place / "loop.csv")
    (place / "dangling.csv").symlink_to(place / "nowhere.csv")
    for name in ("pipe", "pipe.csv", "pipe.json", "pipe.yaml", "pipe.txt", "pipe.png", "pipe.pth", "pipe.pkl"):
        os.mkfifo(place / name)
    (place / "folder").mkdir()
    (place / "folder.csv").mkdir()
    (place / "file").write_text("a file")
    for name, config in {
        "no_type": "{}", "bad_config": "{", "list_config": "[]", "deep_config": "[" * deep, "digits_config": '{"model_type": "bert", "vocab_size": ' + "9" * 5000 + "}",
        "odd_type": '{"model_type": "nonsense"}', "no_weights": '{"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9, "intermediate_size": 8}',
    }.items():  # fmt: skip
        (place / name).mkdir()
        (place / name / "config.json").write_text(config)
    (place / "pipe_config").mkdir()
    os.mkfifo(place / "pipe_config" / "config.json")


def call(verb: str, line: str, place: Path) -> tuple[object, str, str]:
    """The exit code of a command, and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    argv = [part.replace("{p}", str(place)).replace("~", " ") if part != "''" else "" for part in line.split(" ") if part]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    before, sys.argv = sys.argv, ["tl-toolkit", verb, *argv]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as left:
        code = left.code
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code, out.getvalue(), err.getvalue()


def problem(code: object, err: str) -> str:
    """What is wrong with an answer; empty for one paragraph and exit code 2."""
    paragraph = err.rpartition("\nerror: ")[2].strip()
    if code != 2 or "Traceback" in err or "\nerror: " not in f"\n{err}":
        return f"exit {code}"
    if "\n\n" in paragraph or len(paragraph) > 3000:
        return "not one paragraph"
    return ""


FILES = ["nowhere.csv", "folder", "folder.csv", "loop", "loop.csv", "dangling.csv", "pipe", "pipe.csv", "pipe.json", "empty.csv", "header.csv", "one.csv", "one_class.csv", "no_label.csv", "ragged.csv", "zero.csv", "same.csv", "digits.csv", "empty.txt", "blank.txt", "empty.jsonl", "list.jsonl", "mixed.jsonl", "torn.jsonl", "odd.xyz", "empty_labels.csv", "latin.csv", "bad.parquet", "bad.arrow", "bad.csv.gz", "deep.json", "deep_open.json", "deep_object.json", "deep_cell.json", "digits.json", "number.json", "null.json", "cut.json", "text.json", "quote.csv"]
CONFIGS = ["nowhere.yaml", "folder", "loop", "pipe.yaml", "bomb.yaml", "merge.yaml", "anchor.yaml", "anchored.yaml", "deep.yaml", "deep_map.yaml", "large.yaml", "list.yaml", "text.yaml", "tab.yaml", "tag.yaml", "twice.yaml", "old.yaml", "unknown.yaml", "digits.yaml", "dict.yaml", "two.yaml", "alias.yaml", "keys.yaml", "latin.yaml"]
MODELS = ["nowhere/model", "folder", "file", "loop", "pipe", "no_type", "bad_config", "list_config", "deep_config", "digits_config", "odd_type", "no_weights", "pipe_config"]
LONG = "x" * 5000
FLAGS = [
    "--warmup_ratio 0.1", "--group_by_length", "--evaluation_strategy epoch", "--no_cuda", "--unknown 1", "--seed -1", "--seed x", f"--seed {'9' * 5000}",
    "--learning_rate -1", "--learning_rate nan", "--learning_rate inf", "--num_train_epochs -1", "--num_train_epochs nan", "--weight_decay -1",
    "--per_device_train_batch_size 0", "--per_device_train_batch_size -3", "--per_device_eval_batch_size 0", "--gradient_accumulation_steps 0",
    "--metric_for_best_model f1", "--gradient_checkpointing", "--dataloader_drop_last --per_device_train_batch_size 64", "--eval_do_concat_batches false",
    "--label_smoothing_factor 9", "--label_smoothing_factor -1", "--label_smoothing_factor nan", "--lora_r 0", "--lora_r -1", "--lora_dropout 2", "--lora_alpha 0", "--lr_decay 0", "--lr_decay -1",
    "--dataloader_num_workers -1", "--config_overrides num_hidden_layers=100000", "--config_overrides hidden_size=1000000000", "--config_overrides hidden_size=0", "--config_overrides hidden_size=x",
    "--config_overrides nonsense=1", "--config_overrides =", "--config_overrides cell_type=nonsense", f"--config_overrides hidden_size={'9' * 5000}", f"--config_overrides {'[' * 5000}", "--config_overrides hidden_size=" + "[" * 5000,
    "--output_dir ''", "--output_dir {p}/file", "--output_dir {p}/file/below", "--output_dir {p}/loop", "--output_dir {p}/pipe", f"--output_dir {{p}}/{LONG}", "--output_dir /proc/nowhere/out", "--output_dir /dev/null/out",
    "--task nonsense", "--text_column nonsense", "--label_column nonsense", "--label_column text --text_column text", "--label_budget 0", "--label_budget -1", "--label_budget 1", "--label_budget 999999", "--validation_budget 0", "--test_budget 0", "--validation_fraction 0", "--validation_fraction 1", "--validation_fraction nan",
    "--max_length 0", "--max_length -1", "--stream_rows 5", "--dataset_revision main", "--dataset_config_name x", "--train_split_name nonsense", "--test_split_name nonsense", "--class_weight nonsense=1", "--class_weight fruit", "--class_weight fruit=-1", "--class_weight fruit=nan", "--main_metric nonsense", "--main_metric f1:nonsense",
    "--tokenizer_name {p}/nowhere", "--tokenizer_name word --tokenizer_vocab_size 0", "--tokenizer_vocab_size 3", "--tokenizer_min_frequency 0", "--tokenizer_min_frequency 99999", "--vectors {p}/nowhere.txt", "--vectors {p}/vectors.txt", "--vectors {p}/vectors_text.txt", "--vectors {p}/empty_vectors.txt", "--vectors {p}/folder", "--vectors {p}/pipe.txt", "--vectors {p}/loop",
    "--model_type nonsense", "--model_type lstm", "--model_type rnn --model_name_or_path builtin:minilm", "--model_name_or_path builtin:nonsense", "--pooling nonsense", "--strategy nonsense", "--strategy frozen", "--strategy probe", "--strategy full", "--strategy lora", "--strategy discriminative",
    "--lr_scheduler_type nonsense", "--lr_scheduler_type slanted_triangular --cut_fraction 2", "--lr_scheduler_type slanted_triangular --warmup_steps 3", "--lr_scheduler_type cosine_with_min_lr", "--optim nonsense", "--optim adamw_bnb_8bit", "--optim galore_adamw", "--optim_args a=b", "--eval_strategy nonsense", "--save_strategy nonsense", "--eval_strategy no --early_stopping_patience 2", "--early_stopping_patience 0",
    "--eval_strategy steps --save_strategy epoch", "--eval_steps 0 --eval_strategy steps", "--eval_steps -1 --eval_strategy steps", "--save_steps 0 --save_strategy steps --eval_strategy steps", "--logging_steps 0", "--logging_steps -1", "--logging_strategy nonsense", "--max_grad_norm nan", "--adam_beta1 2", "--adam_epsilon -1", "--warmup_steps -1", "--max_steps 0.5",
    "--bf16 --fp16", "--fp16", "--tf32 true", "--deepspeed {p}/nowhere.json", "--fsdp full_shard", "--report_to nonsense", "--report_to wandb", "--resume_from_checkpoint", "--resume_from_checkpoint {p}/nowhere", "--resume_from_checkpoint {p}/folder", "--push_to_hub --hub_model_id a/b/c", "--find_lr --find_lr_start 0", "--find_lr --find_lr_steps 1", "--find_lr --find_lr_end 0",
    "--nt_asgd_interval -1", "--generation_num_beams 0", "--generation_max_length 0", "--torch_compile_backend nonsense", "--neftune_noise_alpha x", "--remove_unused_columns maybe", "--use_cpu maybe", "--accelerator_config {p}/nowhere.json", "--accelerator_config {", "--lr_scheduler_kwargs {", "--lr_scheduler_kwargs {\"a\":1}", "--ddp_backend nonsense", "--log_level nonsense", "--train_sampling_strategy nonsense", "--save_total_limit 0", "--save_total_limit -1",
    "--batch_eval_metrics true", "--eval_accumulation_steps 0", "--torch_empty_cache_steps 0", "--dataloader_prefetch_factor 3", "--dataloader_num_workers 1 --dataloader_prefetch_factor -1", "--skip_test maybe", "--name", "extra", "--dataset_name {p}/good.csv", "--config", "--label_names nonsense", "--eval_delay -1", "--min_train_steps -1", "--num_train_epochs 1e400",
]  # fmt: skip

CASES: list[tuple[str, str]] = [
    *(("finetune", f"{{p}}/{name} {TRAIN.partition(' ')[2]}") for name in FILES),
    *(("finetune", f"{TRAIN} --config {{p}}/{name}") for name in CONFIGS),
    *(("finetune", f"{{p}}/good.csv --output_dir {{p}}/out --model_name_or_path {{p}}/{name}") for name in MODELS),
    *(("finetune", f"{TRAIN} {flags}") for flags in FLAGS),
]
