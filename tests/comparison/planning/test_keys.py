from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.planning.keys import state_of
from tl_toolkit.comparison.planning.stages import make_stages

ENTRY = {"name": "a", "model_type": "rnn", "config_overrides": {"hidden_size": 13, "cell_type": "lstm"}}
CONTENT = {"dataset_name": "builtin:pydocs", "learning_rate": "1e-3", "seeds": [1], "entries": [ENTRY]}


def key(content: dict[str, Any] | None = None, **changes: Any) -> str:
    grid = make_grid({**CONTENT, **(content or {})}, {}, "grid.yaml")
    if changes:
        entry = {**ENTRY, **changes}
        grid = make_grid({**CONTENT, "entries": [entry]}, {}, "grid.yaml")
    return grid.runs[0].key("rows")


@pytest.mark.parametrize(
    "content",
    [
        {"learning_rate": "0.001"},
        {"learning_rate": 0.001},
        {"entries": [dict(reversed(ENTRY.items()))]},
        {"entries": [{**ENTRY, "config_overrides": {"cell_type": "lstm", "hidden_size": "13"}}]},
        {"entries": [{**ENTRY, "config_overrides": "cell_type=lstm, hidden_size=13"}]},
        {"entries": [{**ENTRY, "name": "b"}, {"name": "c", "model_type": "rnn"}]},
        {"seeds": [1, 2], "label_budgets": [None, 5], "title": "x", "keep_models": False},
        {"weight_decay": "0.01", "use_cpu": "false", "tokenizer_vocab_size": 30000},
        {"report_to": "none", "logging_steps": 7, "disable_tqdm": True, "save_total_limit": 3},
        {"report_to": "tensorboard", "log_level": "info", "dataloader_num_workers": 2},
    ],
)  # fmt: skip
def test_equivalent_settings_have_the_same_key(content: dict[str, Any]) -> None:
    runs = make_grid({**CONTENT, **content}, {}, "grid.yaml").runs
    assert key() in [run.key("rows") for run in runs]


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": "1.1e-3"},
        {"config_overrides": {"hidden_size": 17, "cell_type": "lstm"}},
        {"config_overrides": {"hidden_size": 13, "cell_type": "gru"}},
        {"use_cpu": True},
        {"save_strategy": "best"},
        {"max_length": None, "max_grad_norm": 0},
        {"lr_scheduler_kwargs": {"num_cycles": 2}},
    ],
)
def test_other_settings_have_another_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_seeds_budgets_rows_and_stages_change_the_key() -> None:
    grid = make_grid({**CONTENT, "seeds": [1, 2], "label_budgets": [5, None]}, {}, "grid.yaml")
    keys = [run.key("rows") for run in grid.runs]
    keys += [grid.runs[0].key("other"), grid.runs[0].key("rows", ["s"]), grid.runs[0].key("rows", ["t"])]
    assert len(set(keys)) == 7


def test_mappings_within_arguments_have_no_order() -> None:
    first, second = {"num_cycles": 2, "min_lr": 0.5}, '{"min_lr": 0.5, "num_cycles": 2}'
    assert key(lr_scheduler_kwargs=first) == key(lr_scheduler_kwargs=second)


def test_a_local_dataset_is_identified_by_its_rows(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text,label\nx,0\n")
    here, there = ({"dataset_name": str(tmp_path / name)} for name in ("a.csv", "b.csv"))
    assert key(here) == key(there)
    assert key({**here, "text_column": "x"}) != key(here)
    assert key({"dataset_name": "builtin:pydocs:unlabelled"}) != key()  # one fingerprint for both configurations


def test_local_texts_without_labels_are_identified_by_their_rows(tmp_path: Path) -> None:
    def of(name: str) -> str:
        return key(strategy="distilled", teacher="user/teacher", unlabelled_dataset=name)

    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("text\nx\ny\n")
    here, there = (str(tmp_path / name) for name in ("a.csv", "b.csv"))
    both, before = f"{here},{there}", of(here)
    assert before == of(there) != of("user/texts")
    together = of(both)
    (tmp_path / "a.csv").write_text("text\nx\nz\n")
    assert before != of(here) and before == of(there) and together != of(both)


def test_a_checkpoint_is_identified_by_its_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "config.json").write_text("{}")
    (first / "model.safetensors").write_bytes(bytes(range(256)) * 300)
    shutil.copytree(first, second)
    os.utime(second / "config.json", (7, 7))
    (second / "README.md").write_text("a comment")
    (second / "result.json").write_text("{}")

    def of(folder: Path) -> str:
        return key(model_type=None, config_overrides=None, model_name_or_path=str(folder))

    assert of(first) == of(second)
    weights = bytearray((second / "model.safetensors").read_bytes())
    weights[40_000] ^= 1
    (second / "model.safetensors").write_bytes(weights)
    assert of(first) != of(second)
    before = of(first)
    (first / "1_Pooling").mkdir()
    (first / "1_Pooling" / "config.json").write_text("{}")
    assert of(first) != before
    assert state_of("google-bert/bert-base-uncased") == state_of(None) == []


def test_the_keys_of_stages_follow_the_same_rules() -> None:
    def of(settings: dict[str, Any], rows: str = "rows", sources: tuple[str, ...] = ()) -> str:
        stages = make_stages({"s": settings}, (), {}, {"entry": ["s"]}, "grid.yaml")
        return stages["s"].key(rows, sources)

    settings = {"model_type": "rnn", "dataset_name": "builtin:pydocs", "window_length": 70, "learning_rate": "1e-3"}
    same = {"learning_rate": 0.001, "dataset_name": "builtin:pydocs", "model_type": "rnn", "logging_steps": 3}
    assert of(settings) == of(same)
    others = [of({**settings, "window_length": 71}), of(settings, "other"), of(settings, sources=("t",))]
    assert len({of(settings), *others}) == 4


def test_keys_of_existing_runs_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of this key would rerun every run of every existing comparison."""
    monkeypatch.setattr("tl_toolkit.comparison.planning.planned_run.__version__", "0.1.0")
    assert key(learning_rate=0.003) == "a5ebd205efca689f"
