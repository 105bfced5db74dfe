from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.jobs import Train
from tl_toolkit.comparison.execution.proposals import Tried, propose
from tl_toolkit.comparison.execution.scheduler import InProcess, execute, jobs_of
from tl_toolkit.comparison.execution.tuning import SearchJob
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.errors import UserError
from tl_toolkit.workflows.compare import train

pytest.importorskip("optuna", reason="searches need the extra 'tuning'")

SPACE = {"config_overrides.hidden_size": [7, 11, 13], "learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}


def best_of(trials: int, seed: int) -> tuple[float, list[Tried]]:
    """The best distance of a search from 0.003 and 11, in powers of ten, and its trials."""
    tried: list[Tried] = []
    for _ in range(trials):
        values = propose(SPACE, tried, seed=seed, trials=trials, greater_is_better=False)
        assert values is not None
        away = abs(math.log10(values["learning_rate"] / 0.003)) + (values["config_overrides.hidden_size"] != 11)
        tried.append(Tried(values, away))
    return min(trial.reached for trial in tried if trial.reached is not None), tried


def test_a_search_approaches_a_known_optimum() -> None:
    reached = [best_of(24, seed)[0] for seed in (3, 5, 7)]
    random = [min(best_of(1, 100 * seed + i)[0] for i in range(24)) for seed in (3, 5, 7)]
    assert max(reached) < 0.25
    assert sum(reached) < sum(random)


def test_a_search_depends_on_its_seed_and_its_history_only() -> None:
    tried = best_of(7, 3)[1]
    assert best_of(7, 3)[1] == tried
    assert best_of(7, 5)[1][0] != tried[0]
    failed = [tried[0], Tried(tried[1].values, None), *tried[2:]]
    arguments: dict[str, Any] = {"seed": 3, "trials": 7, "greater_is_better": False}
    assert propose(SPACE, failed[:2], **arguments) == tried[2].values  # still at random
    worst = [Tried(trial.values, -(trial.reached or 0)) for trial in tried]
    assert propose(SPACE, worst[:5], **arguments) != tried[5].values  # another history leads to other settings


def test_settings_are_tried_once_and_a_small_space_is_exhausted() -> None:
    space = {"a": [2, 3], "b": {"low": 1, "high": 3, "log": False}}
    tried: list[Tried] = []
    while (values := propose(space, tried, seed=0, trials=19, greater_is_better=True)) is not None:
        tried.append(Tried(values, 0.5))
    assert sorted((t.values["a"], t.values["b"]) for t in tried) == [(a, b) for a in (2, 3) for b in (1, 2, 3)]


@pytest.fixture
def content(dataset_folder: Path) -> dict[str, Any]:
    rnn = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1"}
    return {
        "dataset_name": str(dataset_folder), "use_cpu": True, "num_train_epochs": 1, "label_budgets": [12],
        "seeds": [1, 2], "keep_models": False, "tuning": {"trials": 3, "seed": 5},
        "entries": [
            {"name": "tuned", **rnn, "search": {"learning_rate": {"low": "1e-4", "high": "1e-1", "log": True},
                                                "config_overrides.hidden_size": [3, 5]}},
            {"name": "plain", **rnn},
        ],
    }  # fmt: skip


def run(
    content: dict[str, Any], output: Path, retry_failed: bool = False, train: Train = train
) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    execute(
        make_grid(content, {}, "the grid"),
        output,
        retry_failed=retry_failed,
        executor=InProcess(train),
        say=lines.append,
    )
    records = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    return {f"{record['entry']}-{record['seed']}": record for record in records}, lines


def trials_in(output: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((output / "searches" / "tuned-12").glob("trial-*/result.json"))]


def test_a_grid_is_tuned_on_validation_rows_and_records_it(content: dict[str, Any], tmp_path: Path) -> None:
    records, _ = run(content, tmp_path / "a")
    trials = trials_in(tmp_path / "a")
    assert len(trials) == 3
    for trial in trials:
        assert trial["metrics"].keys() == {"validation"} and trial["predictions"] == {} and trial["seed"] == 5
        assert not any("test" in name for entry in trial["history"] for name in entry)
        assert "inference" not in trial["cost"] and "confusion" not in trial
    folder = tmp_path / "a" / "searches" / "tuned-12"
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {"result.json", *(f"trial-{n}/result.json" for n in range(3))}
    told = records["tuned-1"]["tuning"]
    assert told == records["tuned-2"]["tuning"] and "tuning" not in records["plain-1"]
    reached = [trial["metrics"]["validation"] for trial in trials]
    best = trials[max(range(len(trials)), key=lambda place: (reached[place]["accuracy"], -reached[place]["loss"]))]
    assert told["chosen"] == best["values"] and told["best"] == best["metrics"]["validation"]["accuracy"]
    assert (told["trials"], told["failed"], told["metric"], told["label_budget"]) == (3, 0, "accuracy", 12)
    assert told["seconds"] == pytest.approx(sum(trial["seconds"] for trial in trials))
    asked = records["tuned-1"]["arguments"]
    assert asked["learning_rate"] == told["chosen"]["learning_rate"] and "skip_test" not in asked
    assert f"hidden_size={told['chosen']['config_overrides.hidden_size']}" in asked["config_overrides"]
    assert "embedding_size=7" in asked["config_overrides"]

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("result.json")}
    _, lines = run({**content, "seeds": [1, 2, 3]}, tmp_path / "a")  # another seed uses the chosen values
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert sum("cached" in line for line in lines) == 5  # four runs and the search


def test_a_killed_search_ends_like_an_uninterrupted_one(content: dict[str, Any], tmp_path: Path) -> None:
    content = {**content, "entries": content["entries"][:1], "seeds": [1]}
    whole, _ = run(content, tmp_path / "a")
    shutil.copytree(tmp_path / "a" / "searches", tmp_path / "b" / "searches")
    folder = tmp_path / "b" / "searches" / "tuned-12"
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "trial-2")
    (folder / "trial-1" / "result.json").write_text("{")
    stamp = (folder / "trial-0" / "result.json").stat().st_mtime_ns
    again, _ = run(content, tmp_path / "b")
    assert (folder / "trial-0" / "result.json").stat().st_mtime_ns == stamp
    values = [trial["values"] for trial in trials_in(tmp_path / "a")]
    assert [trial["values"] for trial in trials_in(tmp_path / "b")] == values
    assert len({json.dumps(one) for one in values}) == 3
    same = ("key", "metrics", "arguments")
    assert [again["tuned-1"][name] for name in same] == [whole["tuned-1"][name] for name in same]

    shorter = {**content, "tuning": {"trials": 2, "seed": 5}}
    records, _ = run(shorter, tmp_path / "b")
    assert len(trials_in(tmp_path / "b")) == 2 and records["tuned-1"]["tuning"]["trials"] == 2
    assert records["tuned-1"]["key"] != whole["tuned-1"]["key"]


def test_failed_trials_count_and_a_search_fails_if_all_trials_fail(content: dict[str, Any], tmp_path: Path) -> None:
    content = {**content, "entries": content["entries"][:1], "seeds": [1]}
    made: list[Any] = []

    def sometimes(arguments: Any) -> dict[str, Any]:
        made.append(arguments.run.learning_rate)
        if len(made) in broken:
            raise MemoryError("no room")
        return train(arguments)

    broken = {1, 2}
    records, _ = run(content, tmp_path / "a", train=sometimes)
    told = records["tuned-1"]["tuning"]
    assert (told["trials"], told["failed"], told["chosen"]["learning_rate"]) == (3, 2, made[2])
    states = [trial["status"] for trial in trials_in(tmp_path / "a")]
    assert states == ["failed", "failed", "completed"] and len(made) == 4

    made.clear()
    broken = set(range(1, 4))
    records, lines = run(content, tmp_path / "b", train=sometimes)
    assert records["tuned-1"]["status"] == "failed" and "no room" in records["tuned-1"]["error"]
    assert len(made) == 3 and any("The tuning of 'tuned'" in line for line in lines)
    run(content, tmp_path / "b", train=sometimes)
    assert len(made) == 3  # not repeated without retry_failed
    records, _ = run(content, tmp_path / "b", retry_failed=True, train=sometimes)
    assert len(made) == 7 and records["tuned-1"]["status"] == "completed"


def test_there_is_one_search_for_each_budget_or_one_for_all(content: dict[str, Any], tmp_path: Path) -> None:
    def searches(**tuning: Any) -> dict[str, SearchJob]:
        grid = make_grid({**content, "label_budgets": [11, 12], "tuning": {"trials": 2, **tuning}}, {}, "grid.yaml")
        return {job.name: job for job in jobs_of(grid, tmp_path) if isinstance(job, SearchJob)}

    assert list(searches()) == ["searches/tuned-11", "searches/tuned-12"]
    assert len({job.key for job in searches().values()}) == 2
    assert [job.planned.label_budget for job in searches(label_budget="all").values()] == [None]
    assert list(searches(label_budget=7)) == ["searches/tuned-7"]


def test_a_search_changes_the_key_of_its_own_runs_alone(content: dict[str, Any]) -> None:
    def keys(**search: Any) -> list[str]:
        entries = [{**content["entries"][0], "search": search}, content["entries"][1]]
        return [run.key("rows") for run in make_grid({**content, "entries": entries}, {}, "grid.yaml").runs][:2]

    first = keys(num_train_epochs=[1, 2], learning_rate={"low": 1, "high": "2.5"})
    assert keys(learning_rate={"high": 2.5, "low": "1.0", "log": False}, num_train_epochs=["1", 2]) == first
    for other in (keys(num_train_epochs=[1, 2]), keys(num_train_epochs=[1, 3], learning_rate={"low": 1, "high": 2.5})):
        assert other[0] != first[0] and other[1] == first[1]


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ([], ["'search'", "'tuned'", "mapping"]),
        ({"lerning_rate": [1, 2]}, ["'lerning_rate'", "'learning_rate'"]),
        ({"test_budget": [1, 2]}, ["'test_budget'"]),
        ({"seed": [1, 2]}, ["'seed'"]),
        ({"hidden_size": [1, 2]}, ["'hidden_size'", "config_overrides.hidden_size"]),
        ({"config_overrides.hiden_size": [1, 2]}, ["hiden_size", "hidden_size"]),
        ({"config_overrides.hidden_size": [3, "wide"]}, ["hidden_size", "wide"]),
        ({"learning_rate": [1]}, ["two or more"]),
        ({"learning_rate": ["1e-3", "0.001"]}, ["two or more"]),
        ({"learning_rate": 3}, ["learning_rate", "low and high"]),
        ({"learning_rate": {"low": 1}}, ["low and high"]),
        ({"learning_rate": {"low": 2, "high": 1}}, ["low < high"]),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, ["above 0"]),
        ({"learning_rate": {"low": 1, "high": 2, "log": "yes"}}, ["true or false"]),
        ({"learning_rate": {"low": 1, "high": 2, "step": 3}}, ["step"]),
        ({"learning_rate": {"low": -1, "high": 2}}, ["--learning_rate", "-1"]),
        ({"optim": ["adamw_torch", "adam"]}, ["optim"]),
        ({"strategy": ["scratch", "lora"]}, ["lora"]),
    ],
)
def test_a_wrong_search_is_refused(content: dict[str, Any], search: Any, names: list[str]) -> None:
    content["entries"][0]["search"] = search
    with pytest.raises(UserError) as caught:
        make_grid(content, {}, "grid.yaml")
    assert all(name in str(caught.value) for name in names), str(caught.value)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"tuning": None}, ["'tuning'", "trials"]),
        ({"tuning": {}}, ["'trials'", "None"]),
        ({"tuning": {"trials": 0}}, ["'trials'"]),
        ({"tuning": {"trials": 2, "seeds": 1}}, ["'seeds'", "'seed'"]),
        ({"tuning": {"trials": 2, "label_budget": "some"}}, ["'label_budget'", "some"]),
        ({"tuning": {"trials": 2, "seed": -1}}, ["'seed'"]),
    ],
)
def test_a_wrong_tuning_is_refused(content: dict[str, Any], change: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        make_grid({**content, **change}, {}, "grid.yaml")
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_no_entry_has_more_trials_than_another(content: dict[str, Any]) -> None:
    for own in ({"trials": 9}, {"tuning": {"trials": 9}}):
        entries = [{**content["entries"][0], **own}, content["entries"][1]]
        with pytest.raises(UserError, match="'tuned'.*same number of trials"):
            make_grid({**content, "entries": entries}, {}, "grid.yaml")
    with pytest.raises(UserError, match="Leave out --learning_rate"):
        make_grid(content, {"learning_rate": 0.5}, "grid.yaml")


def test_without_optuna_nothing_starts(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"tl-toolkit\[tuning\]"):
        run(content, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("result.json"))
