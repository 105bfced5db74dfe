"""Bad inputs of every verb: one paragraph, exit code 2, no traceback, within seconds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from tl_toolkit import cli

MOST_SECONDS = 20  # of a case on a busy machine; most take milliseconds
DEEP, DIGITS = 100_000, "9" * 5000
SIZES = "--config_overrides hidden_size=7,embedding_size=5"
TRAIN = f"{{p}}/good.csv --model_type rnn --output_dir {{p}}/out --use_cpu --disable_tqdm --num_train_epochs 1 {SIZES}"
PRETRAIN = f"{{p}}/texts.txt --model_type rnn --output_dir {{p}}/out --use_cpu --disable_tqdm {SIZES}"
COMPARE = "{p}/good.csv --config {p}/grid.yaml --output_dir {p}/out"
PREDICT = "{p}/model --dataset_name {p}/good.csv --output_dir {p}/out --use_cpu"
BERT = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
GRID = """
use_cpu: true
label_budgets: [20]
seeds: [1]
entries:
- {name: one, model_type: rnn, config_overrides: {hidden_size: 7, embedding_size: 5}}
"""


def words(text: str) -> list[str]:
    return text.split()


def bomb(item: str) -> str:
    """YAML of a few lines with 9 ** 9 values: each line repeats the one before it nine times."""
    lines = [f"a: &a {item.replace('*', 'x')}"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(f"{name}: &{name} " + item.replace("*", ", ".join([f"*{before}"] * 9)))
    return "\n".join(lines)


def make_place(place: Path) -> None:
    """Good files, bad ones of every kind, and a model folder."""
    rows = [f"{word} the old {word},{label}" for word, label in [("fig", "fruit"), ("tin", "metal")] * 20]
    deep = "[" * DEEP + "]" * DEEP
    files = {
        "good.csv": "\n".join(["text,label", *rows]),
        "texts.txt": "\n".join(["the cat sat on the mat and saw the dog"] * 90),
        "grid.yaml": GRID,
        "bomb.yaml": bomb("[*]"),
        "merge.yaml": bomb("{<<: [*]}").replace("{<<: [x]}", "{x: 1}", 1),
        "anchor.yaml": "a: &a [*a]\n",
        "anchored.yaml": "config_overrides: &a {hidden_size: *a}\n",
        "deep.yaml": "a: " + "[" * DEEP,
        "deep_map.yaml": "{a: " * DEEP,
        "large.yaml": "a: 1\n" * 300_000,
        "list.yaml": "- a\n",
        "text.yaml": "just text",
        "tab.yaml": "a:\n\t- b",
        "tag.yaml": "!!python/object:os.system [x]",
        "twice.yaml": "seed: 1\nseed: 2\n",
        "old.yaml": "evaluation_strategy: epoch\n",
        "unknown.yaml": "modle_type: rnn\n",
        "digits.yaml": f"seed: {DIGITS}\n",
        "dict.yaml": "seed: {a: 1}\n",
        "two.yaml": "seed: 1\n---\nseed: 2\n",
        "alias.yaml": "seed: *nothing\n",
        "keys.yaml": "? [a, b]\n: 1\n",
        "deep.json": deep,
        "deep_open.json": "[" * DEEP,
        "deep_object.json": '{"a":' * DEEP + "1" + "}" * DEEP,
        "deep_cell.json": f'[{{"text": "a", "label": {deep}}}]',
        "digits.json": f'[{{"text": "a", "label": {DIGITS}}}]',
        "number.json": "7",
        "null.json": "null",
        "cut.json": '[{"text": "a"',
        "text.json": '["a", "b"]',
        "empty.csv": "",
        "header.csv": "text,label\n",
        "one.csv": "text,label\na,b\n",
        "one_class.csv": "text,label\n" + "a b,c\n" * 30,
        "no_label.csv": "text\na\nb\n",
        "ragged.csv": "text,label\na,b\nc,d,e\n",
        "zero.csv": "text,label\na\0b,c\n",
        "same.csv": "text,text\na,b\nc,d\n",
        "digits.csv": "text,label\n" + f"a b,{DIGITS}\nc d,{DIGITS[1:]}\n" * 20,
        "empty_labels.csv": "text,label\na,\nb,\n" * 9,
        "other.csv": "text,label\n" + "a b,nonsense\n" * 9,
        "empty.txt": "",
        "blank.txt": "\n\n\n",
        "empty.jsonl": "",
        "list.jsonl": "[1]\n[2]\n",
        "mixed.jsonl": '{"text": "a", "label": 1}\n7\n',
        "torn.jsonl": '{"text": "a", "label": "b"}\n{"text": ',
        "odd.xyz": "a",
        "vectors.txt": "fig 1 2 3\ntin 1 2\n",
        "vectors_text.txt": "fig a b c\n",
        "empty_vectors.txt": "",
        "file": "a file",
    }
    for name, content in files.items():
        (place / name).write_text(content)
    (place / "latin.csv").write_bytes("text,label\ncafé,a\n".encode("latin-1") * 5)
    (place / "latin.yaml").write_bytes("title: café\n".encode("latin-1"))
    for name in ("bad.parquet", "bad.arrow", "bad.csv.gz", "bad.png", "bad.pth", "bad.pkl", "bad.pt"):
        (place / name).write_bytes(b"PAR1 not really \x00\x01\x02" * 5)
    for name, target in {"loop": "loop", "loop.csv": "loop.csv", "dangling.csv": "nowhere.csv"}.items():
        (place / name).symlink_to(place / target)
    configs = {
        "no_type": "{}",
        "bad_config": "{",
        "list_config": "[]",
        "deep_config": "[" * DEEP,
        "digits_config": f'{{"model_type": "bert", "vocab_size": {DIGITS}}}',
        "odd_type": '{"model_type": "nonsense"}',
        "no_weights": json.dumps(BERT),
        "cut_weights": json.dumps(BERT),
    }
    for name, config in configs.items():
        (place / name).mkdir()
        (place / name / "config.json").write_text(config)
    (place / "cut_weights" / "model.safetensors").write_bytes(b"\x10")
    results = {"torn_results": '{"status": ', "deep_results": deep, "empty_results": "", "number_results": "7\n"}
    for name, content in results.items():
        (place / name).mkdir()
        (place / name / "results.jsonl").write_text(content)
    for name in ("folder", "folder.csv", "pipe_config", "pipe_results", "torn_record", "deep_record"):
        (place / name).mkdir()
    (place / "torn_record" / "result.json").write_text('{"status": ')
    (place / "deep_record" / "result.json").write_text(deep)
    pipes = "pipe pipe.csv pipe.json pipe.yaml pipe.txt pipe.png pipe.pth pipe.pkl"
    for name in (*pipes.split(), "pipe_config/config.json", "pipe_results/results.jsonl"):
        os.mkfifo(place / name)
    assert call("finetune", TRAIN.replace("/out", "/model"), place)[0] == 0


def call(verb: str, line: str, place: Path) -> tuple[object, str, str]:
    """The exit code of a command, and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    known = {"{p}": str(place), "{digits}": DIGITS, "{brackets}": "[" * 5000, "{long}": "x" * 5000, "''": ""}
    argv = line.split()
    for name, value in known.items():
        argv = [part.replace(name, value) for part in argv]
    before, sys.argv = sys.argv, ["tl-toolkit", verb, *argv]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as left:
        code = left.code
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


def problem(code: object, err: str) -> str:
    """What is wrong with an answer; empty for one paragraph and exit code 2."""
    before, sign, paragraph = f"\n{err}".rpartition("\nerror: ")
    if code != 2 or "Traceback" in err or not sign:
        return f"exit {code}"
    return "" if "\n\n" not in paragraph.strip() and len(paragraph) < 3000 else "not one paragraph"


FILES = [
    "nowhere.csv",
    "folder",
    "folder.csv",
    "loop",
    "loop.csv",
    "dangling.csv",
    "pipe",
    "pipe.csv",
    "pipe.json",
    "empty.csv",
    "header.csv",
    "one.csv",
    "one_class.csv",
    "no_label.csv",
    "ragged.csv",
    "zero.csv",
    "same.csv",
    "digits.csv",
    "empty.txt",
    "blank.txt",
    "empty.jsonl",
    "list.jsonl",
    "mixed.jsonl",
    "torn.jsonl",
    "odd.xyz",
    "empty_labels.csv",
    "latin.csv",
    "bad.parquet",
    "bad.arrow",
    "bad.csv.gz",
    "deep.json",
    "deep_open.json",
    "deep_object.json",
    "deep_cell.json",
    "digits.json",
    "number.json",
    "null.json",
    "cut.json",
    "text.json",
]
CONFIGS = [
    "nowhere.yaml",
    "folder",
    "loop",
    "pipe.yaml",
    "bomb.yaml",
    "merge.yaml",
    "anchor.yaml",
    "anchored.yaml",
    "deep.yaml",
    "deep_map.yaml",
    "large.yaml",
    "list.yaml",
    "text.yaml",
    "tab.yaml",
    "tag.yaml",
    "twice.yaml",
    "old.yaml",
    "unknown.yaml",
    "digits.yaml",
    "dict.yaml",
    "two.yaml",
    "alias.yaml",
    "keys.yaml",
    "latin.yaml",
]
MODELS = [
    "nowhere/model",
    "folder",
    "file",
    "loop",
    "pipe",
    "no_type",
    "bad_config",
    "list_config",
    "deep_config",
    "digits_config",
    "odd_type",
    "no_weights",
    "pipe_config",
]
FLAGS = """
--warmup_ratio 0.1
--group_by_length
--evaluation_strategy epoch
--no_cuda
--unknown 1
--seed -1
--seed x
--seed {digits}
--learning_rate -1
--learning_rate nan
--learning_rate inf
--num_train_epochs -1
--num_train_epochs nan
--weight_decay -1
--per_device_train_batch_size 0
--per_device_train_batch_size -3
--per_device_eval_batch_size 0
--gradient_accumulation_steps 0
--metric_for_best_model f1
--model_type bag_of_ngrams --gradient_checkpointing
--dataloader_drop_last --per_device_train_batch_size 64
--eval_do_concat_batches false
--label_smoothing_factor 9
--label_smoothing_factor -1
--label_smoothing_factor nan
--lora_r 0
--lora_r -1
--lora_dropout 2
--lora_alpha 0
--lr_decay 0
--lr_decay -1
--dataloader_num_workers -1
--config_overrides num_hidden_layers=100000
--config_overrides hidden_size=1000000000
--config_overrides hidden_size=0
--config_overrides hidden_size=x
--config_overrides nonsense=1
--config_overrides =
--config_overrides cell_type=nonsense
--config_overrides hidden_size={digits}
--config_overrides {brackets}
--config_overrides hidden_size={brackets}
--output_dir ''
--output_dir {p}/file
--output_dir {p}/file/below
--output_dir {p}/loop
--output_dir {p}/pipe
--output_dir {p}/{long}
--output_dir /proc/nowhere/out
--output_dir /dev/null/out
--task nonsense
--text_column nonsense
--label_column nonsense
--label_column text --text_column text
--label_budget 0
--label_budget -1
--label_budget 999999
--validation_budget 0
--test_budget 0
--validation_fraction 0
--validation_fraction 1
--validation_fraction nan
--max_length 0
--max_length -1
--stream_rows 5
--dataset_revision main
--dataset_config_name x
--train_split_name nonsense
--test_split_name nonsense
--class_weight nonsense=1
--class_weight fruit
--class_weight fruit=-1
--class_weight fruit=nan
--main_metric nonsense
--main_metric f1:nonsense
--tokenizer_name {p}/nowhere
--tokenizer_name word --tokenizer_vocab_size 0
--tokenizer_vocab_size 3
--tokenizer_min_frequency 0
--tokenizer_min_frequency 99999
--vectors {p}/nowhere.txt
--vectors {p}/vectors.txt
--vectors {p}/vectors_text.txt
--vectors {p}/empty_vectors.txt
--vectors {p}/folder
--vectors {p}/pipe.txt
--vectors {p}/loop
--model_type nonsense
--model_type lstm
--model_type rnn --model_name_or_path builtin:minilm
--model_name_or_path builtin:nonsense
--pooling nonsense
--strategy nonsense
--strategy frozen
--strategy probe
--strategy full
--strategy lora
--strategy discriminative
--lr_scheduler_type nonsense
--lr_scheduler_type slanted_triangular --cut_fraction 2
--lr_scheduler_type slanted_triangular --warmup_steps 3
--lr_scheduler_type cosine_with_min_lr
--optim nonsense
--optim adamw_bnb_8bit
--optim galore_adamw
--eval_strategy nonsense
--save_strategy nonsense
--eval_strategy no --early_stopping_patience 2
--early_stopping_patience 0
--eval_strategy steps --save_strategy epoch
--eval_steps 0 --eval_strategy steps
--eval_steps -1 --eval_strategy steps
--save_steps 0 --save_strategy steps --eval_strategy steps
--logging_steps 0
--logging_steps -1
--logging_strategy nonsense
--max_grad_norm nan
--adam_beta1 2
--adam_epsilon -1
--warmup_steps -1
--max_steps 0.5
--bf16 --fp16
--tf32 true
--deepspeed {p}/nowhere.json
--fsdp full_shard
--report_to nonsense
--report_to wandb
--resume_from_checkpoint {p}/nowhere
--resume_from_checkpoint {p}/folder
--push_to_hub --hub_model_id a/b/c
--find_lr --find_lr_start 0
--find_lr --find_lr_steps 1
--find_lr --find_lr_end 0
--nt_asgd_interval -1
--generation_num_beams 0
--generation_max_length 0
--torch_compile_backend nonsense
--neftune_noise_alpha x
--remove_unused_columns maybe
--use_cpu maybe
--accelerator_config {p}/nowhere.json
--accelerator_config {
--lr_scheduler_kwargs {
--lr_scheduler_kwargs {"a":1}
--ddp_backend nonsense
--log_level nonsense
--train_sampling_strategy nonsense
--save_total_limit -1
--batch_eval_metrics true
--eval_accumulation_steps 0
--torch_empty_cache_steps 0
--dataloader_prefetch_factor 3
--dataloader_num_workers 1 --dataloader_prefetch_factor -1
--skip_test maybe
--name
extra
--dataset_name {p}/good.csv
--config
--eval_delay -1
--min_train_steps -1
--num_train_epochs 1e400
""".strip().splitlines()
PRETRAINING = """
--evaluation_strategy epoch
--window_length 0
--block_size 0
--mlm_probability 2 --task masked-lm --model_type bert
--max_train_tokens 0
--max_train_tokens 1
--max_eval_tokens 0
--per_device_train_batch_size 9999
--task text-classification
--model_type rnn_encoder_decoder
--strategy probe
--strategy nonsense
--text_column nonsense
--metric_for_best_model f1
--dataset_name {p}/empty.txt
--dataset_name {p}/pipe.txt
--dataset_name {p}/folder
--evaluate_only
--config_overrides num_hidden_layers=100000
--output_dir ''
--output_dir {p}/file
--tokenizer_vocab_size 1
--label_smoothing_factor 9
""".strip().splitlines()
COMPARING = """
--entries nonsense
--label_budgets 0
--label_budgets -1
--label_budgets x
--label_budgets {digits}
--label_budgets 99999
--seeds x
--seeds -1
--margin 0
--margin nan
--parallel_runs 0
--executor nonsense
--ray_address auto
--models {p}/nowhere
--entries ladder --models {p}/cut_weights
--output_dir ''
--output_dir {p}/file
--output_dir {p}/loop
--output_dir {p}/{long}
--output_dir /proc/nowhere
--task nonsense
--text_column nonsense
--warmup_ratio 0.1
--group_by_length
--evaluation_strategy epoch
--label_smoothing_factor 9
--dataloader_num_workers -1
--learning_rate -1
--nonsense 1
--model_name_or_path {p}/nowhere/model
--grid_datasets a
--stage_datasets a=b
--main_metric nonsense
--find_lr
--push_to_hub
--token_budgets 5
--test_split_name nonsense
--target nan --seeds x
""".strip().splitlines()
GRIDS = {
    "no_entries": "entries: []",
    "no_name": "entries: [{model_type: rnn}]",
    "same_name": "entries: [{name: a, model_type: rnn}, {name: a, model_type: rnn}]",
    "number": "entries: 7",
    "texts": "entries: [a, b]",
    "unknown_key": "entries: [{name: a, modle_type: rnn}]",
    "old_key": "warmup_ratio: 0.1\nentries: [{name: a, model_type: rnn}]",
    "no_model": "entries: [{name: a}]",
    "two_models": "entries: [{name: a, model_type: rnn, model_name_or_path: builtin:minilm}]",
    "missing_checkpoint": "entries: [{name: b, model_type: rnn}, {name: a, model_name_or_path: ./nowhere}]",
    "no_weights": "entries: [{name: a, model_name_or_path: '{p}/no_weights'}]",
    "cut_weights": "entries: [{name: a, model_name_or_path: '{p}/cut_weights'}]",
    "pipe_config": "entries: [{name: a, model_name_or_path: '{p}/pipe_config'}]",
    "stage": "entries: [{name: a, model_name_or_path: 'stage:nowhere'}]",
    "loop": "stages: {a: {model_name_or_path: 'stage:a'}}\nentries: [{name: a, model_name_or_path: 'stage:a'}]",
    "seeds": "seeds: none\nentries: [{name: a, model_type: rnn}]",
    "budgets": "label_budgets: [a]\nentries: [{name: a, model_type: rnn}]",
    "search": "entries: [{name: a, model_type: rnn, search: {nonsense: [1]}}]",
    "tuning": "tuning: 7\nentries: [{name: a, model_type: rnn, search: {learning_rate: [1]}}]",
    "lora": "entries: [{name: a, model_type: rnn, strategy: lora}]",
    "smoothing": "entries: [{name: a, model_type: rnn, label_smoothing_factor: 9}]",
    "overrides": "entries: [{name: a, model_type: rnn, config_overrides: {nonsense: 1}}]",
    "datasets": "datasets: 7\nentries: [{name: a, model_type: rnn}]",
    "launch": "entries: [{name: a, model_type: rnn, accelerate_config: ./nowhere.yaml}]",
    "gpus": "entries: [{name: a, model_type: rnn, gpus: 99}]",
}
PREDICTING = """
--split nonsense
--dataset_name {p}/nowhere.csv
--dataset_name {p}/other.csv
--dataset_name {p}/empty.csv
--dataset_name {p}/pipe.csv
--dataset_name {p}/deep.json
--text_column nonsense
--label_column nonsense
--max_length 0
--per_device_eval_batch_size 0
--output_dir ''
--output_dir {p}/file
--output_dir {p}/{long}
--pooling mean
--nonsense
--config {p}/bomb.yaml
""".strip().splitlines()
OTHERS = """
generate {p}/model --text a
generate {p}/nowhere --text a
generate {p}/pipe_config --text a
generate {p}/no_weights --text a
generate --text a
generate {p}/model --text_file {p}/nowhere.txt
generate {p}/model --text_file {p}/pipe.txt
generate {p}/model --text a --text_file {p}/texts.txt
generate {p}/model --text a --num_beams 0
generate {p}/model --text a --temperature -1 --do_sample
generate {p}/model --text a --max_new_tokens 0
generate {p}/model --image {p}/pipe.png
generate {p}/model --image {p}/bad.png
generate {p}/model --nonsense
ensemble
ensemble --forward {p}/model --output_dir {p}/out
ensemble --forward {p}/model --backward {p}/model --output_dir {p}/out
ensemble --forward {p}/nowhere --backward {p}/model --output_dir {p}/out
ensemble --forward {p}/pipe_config --backward {p}/model --output_dir {p}/out
ensemble --forward {p}/model --backward {p}/model
convert
convert --output_dir {p}/out
convert --source fastai --output_dir {p}/out
convert --source fastai --weights {p}/nowhere.pth --vocab {p}/nowhere.pkl --output_dir {p}/out
convert --source fastai --weights {p}/bad.pth --vocab {p}/bad.pkl --output_dir {p}/out
convert --source fastai --weights {p}/bad.pth --vocab {p}/deep.json --output_dir {p}/out
convert --source fastai --weights {p}/pipe.pth --vocab {p}/texts.txt --output_dir {p}/out
convert --source fastai --weights {p}/bad.pth --vocab {p}/pipe.pkl --output_dir {p}/out
convert --source flair --weights {p}/bad.pt --output_dir {p}/out
convert --source flair --weights {p}/folder --output_dir {p}/out
convert --source flair --weights {p}/pipe --output_dir {p}/out
convert --source flair --weights {p}/loop --output_dir {p}/out
convert --source nonsense --output_dir {p}/out
convert --target fastai --model_name_or_path {p}/model --output_dir {p}/out
convert --target fastai --model_name_or_path {p}/nowhere --output_dir {p}/out
convert --target fastai --model_name_or_path {p}/model --output_dir ''
publish
publish {p}/nowhere --repo_id a/b --dry_run
publish {p}/folder --repo_id a/b --dry_run
publish {p}/file --repo_id a/b --dry_run
publish {p}/loop --repo_id a/b --dry_run
publish {p}/pipe --repo_id a/b --dry_run
publish {p}/pipe_config --repo_id a/b --dry_run
publish {p}/no_type --repo_id a/b --dry_run
publish {p}/bad_config --repo_id a/b --dry_run
publish {p}/list_config --repo_id a/b --dry_run
publish {p}/deep_config --repo_id a/b --dry_run
publish {p}/no_weights --repo_id a/b --dry_run
publish {p}/cut_weights --repo_id a/b --dry_run
publish {p}/torn_record --repo_id a/b --dry_run
publish {p}/deep_record --repo_id a/b --dry_run
publish {p}/model --repo_id a/b/c --dry_run
publish {p}/model
publish {p}/model --repo_id a/b --timeout 0
publish {p}/model --repo_id a/b --license NO! --dry_run
publish {p}/model --repo_id a/b --language english --dry_run
publish {p}/model --repo_id a/b --repo_type nonsense --dry_run
publish {p}/model --repo_id a/b --include ../* --dry_run
publish {p}/model --repo_id a/b --repo_type dataset --dry_run
compare
compare --from_results
compare --from_results {p}/nowhere
compare --from_results {p}/folder
compare --from_results {p}/loop
compare --from_results {p}/torn_results --output_dir {p}/out
compare --from_results {p}/deep_results --output_dir {p}/out
compare --from_results {p}/empty_results --output_dir {p}/out
compare --from_results {p}/number_results --output_dir {p}/out
compare --from_results {p}/pipe_results --output_dir {p}/out
compare --from_results {p}/model --label_budgets 5
compare {p}/nowhere.csv
compare {p}/pipe.csv
finetune
finetune {p}/good.csv
finetune {p}/good.csv --model_type rnn
finetune --model_type rnn --output_dir {p}/out
predict
predict {p}/model
pretrain
nonsense
finetun
configs nonsense
""".strip().splitlines()

CASES: list[tuple[str, str]] = [
    *(("finetune", f"{{p}}/{name} {TRAIN.partition(' ')[2]}") for name in FILES),
    *(("finetune", f"{TRAIN} --config {{p}}/{name}") for name in CONFIGS),
    *(("finetune", f"{{p}}/good.csv --output_dir {{p}}/out --model_name_or_path {{p}}/{name}") for name in MODELS),
    *(("finetune", f"{TRAIN} {flags}") for flags in FLAGS),
    *(("pretrain", f"{PRETRAIN} {flags}") for flags in PRETRAINING),
    *(("compare", f"{COMPARE} {flags}") for flags in COMPARING),
    *(("compare", f"{{p}}/good.csv --config {{p}}/{name} --output_dir {{p}}/out") for name in CONFIGS),
    *(("compare", f"{{p}}/good.csv --config {{p}}/grid-{name}.yaml --output_dir {{p}}/out") for name in GRIDS),
    *(("predict", f"{PREDICT} {flags}") for flags in PREDICTING),
    *(("predict", f"{{p}}/{name} --dataset_name {{p}}/good.csv --output_dir {{p}}/out") for name in MODELS),
    *((verb, line) for verb, _, line in (other.partition(" ") for other in OTHERS)),
]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad_inputs")
    make_place(folder)
    for name, content in GRIDS.items():
        (folder / f"grid-{name}.yaml").write_text(content.replace("{p}", str(folder)))
    return folder


@pytest.mark.parametrize(("verb", "line"), CASES, ids=lambda text: text[-60:])
def test_a_bad_input_is_one_paragraph(verb: str, line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    shutil.rmtree("out", ignore_errors=True)
    began = time.monotonic()
    code, _, err = call(verb, line, place)
    assert not problem(code, err), err[-2000:]
    assert time.monotonic() - began < MOST_SECONDS
    assert not list(place.glob("out/**/*.safetensors"))  # nothing was trained
    assert len(CASES) >= 300
