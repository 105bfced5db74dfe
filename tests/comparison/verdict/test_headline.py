"""The verdict over three approaches: from scratch, recurrent transfer as in ULMFiT, and transformers."""

from __future__ import annotations

import pytest

from tl_toolkit.comparison.verdict.wording import decide
from tl_toolkit.evaluation import formatting as show
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.baseline import baselines
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.pairwise import contests

GOAL = Goal("accuracy")
ULMFIT = {"model_type": "awd_lstm"}


def judge(folder, goal=GOAL):
    cells, reader = make_cells(read_results(folder / "results.jsonl")), PredictionReader(folder)
    verdict = decide(cells, contests(cells, goal, reader), goal, reader, constant=baselines(cells, reader))
    return verdict.headline, [text.replace(show.SPACE, " ") for text in verdict.sentences], verdict.notes


@pytest.fixture
def grid(tmp_path, make_record, write_lines):
    """Write three runs, 0.01 apart, for each of lstm, ulmfit and minilm at 100 and 500 labels."""

    def write(lstm, ulmfit, minilm, seeds=(1, 2, 3), **changes):
        records = []
        for place, budget in enumerate((100, 500)):
            for name, scores in (("lstm", lstm), ("minilm-ulmfit", ulmfit), ("minilm", minilm)):
                for seed in seeds:
                    if scores[place] is None:
                        continue
                    model = {"model": ULMFIT} if name == "minilm-ulmfit" else {}
                    record = make_record(name, budget, seed, scores[place] + (seed - 2) / 100, **model, **changes)
                    record["entry"] = name.removeprefix("minilm-")
                    records.append(record)
        write_lines(tmp_path, records)
        return judge(tmp_path)

    return write


SCRATCH, RECURRENT, TRANSFORMER = "training from scratch", "ULMFiT-style transfer", "transformer transfer"
NONE = "no significant difference"
YES, NO = "Yes, a pre-trained model pays off: ", "No, training from scratch is enough: "


@pytest.mark.parametrize(
    ("scores", "answer", "said"),
    [
        ((0.3, 0.5, 0.8), YES, f"{TRANSFORMER} is ahead of {RECURRENT}, which is ahead of {SCRATCH}"),
        ((0.8, 0.5, 0.3), NO, f"{SCRATCH} is ahead of {RECURRENT}, which is ahead of {TRANSFORMER}"),
        ((0.8, 0.5, 0.5), NO, f"{SCRATCH} is ahead of {RECURRENT} and {TRANSFORMER}, with {NONE} between those two"),
        ((0.5, 0.5, 0.8), YES, f"{TRANSFORMER} is ahead of {SCRATCH} and {RECURRENT}, with {NONE} between those two"),
        ((0.3, 0.8, 0.8), YES, f"{RECURRENT} and {TRANSFORMER} are ahead of {SCRATCH}, with {NONE} between those two"),
        ((0.5, 0.5, 0.5), "", f"there is {NONE} between {SCRATCH}, {RECURRENT} and {TRANSFORMER}"),
        (
            (0.5, 0.522, 0.545),
            YES,
            f"{TRANSFORMER} is ahead of {SCRATCH}, with {NONE} between {RECURRENT} and either of them",
        ),
        ((0.5, 0.3, 0.5), "", f"{SCRATCH} and {TRANSFORMER} are ahead of {RECURRENT}, with {NONE} between those two"),
    ],
)
def test_the_order_of_approaches(grid, scores, answer, said):
    headline, _, _ = grid(*((score, score) for score in scores))
    assert headline == show.capital(f"{answer}at every label budget tried, from 100 to 500, {said}")


def test_the_order_depends_on_the_labels(grid):
    headline, sentences, notes = grid((0.3, 0.7), (0.5, 0.7), (0.5, 0.7))
    assert headline == (
        f"It depends on the number of labels: with 100 a pre-trained model is ahead of {SCRATCH}; with 500 there is "
        f"{NONE} between {SCRATCH} and the best transfer"
    )
    assert sentences[0] == (
        f"With 100 {RECURRENT} and {TRANSFORMER} are ahead of {SCRATCH}, with {NONE} between those two; with 500 there "
        f"is {NONE} between {SCRATCH}, {RECURRENT} and {TRANSFORMER}."
    )
    numbers = [text for text in sentences if "both selected on validation rows" in text]
    assert [text.split(" reaches")[0] for text in numbers] == [
        "With 100 labels, ulmfit", "With 100 labels, minilm", "With 100 labels, minilm",
    ]  # fmt: skip
    assert "50.0 % for ulmfit (ULMFiT-style)" in numbers[2] and "30.0 % for lstm (from scratch)" in numbers[0]
    assert [text.split(" labels (")[0] for text in sentences if "to match" in text] == [
        "Training from scratch needs about 220", "Training from scratch needs about 220",
    ]  # fmt: skip
    assert any("Holm's correction for the 3 comparisons" in note for note in notes)


def test_approaches_with_transfer_are_compared_with_each_other(grid):
    headline, sentences, _ = grid((None, None), (0.5, 0.7), (0.6, 0.8))
    assert headline == f"At every label budget tried, from 100 to 500, {TRANSFORMER} is ahead of {RECURRENT}"
    assert any(text.startswith("ULMFiT-style transfer needs about 220 labels (95 %") for text in sentences)


def test_an_approach_that_is_missing_at_a_budget(grid):
    headline, sentences, _ = grid((0.3, 0.3), (0.5, None), (0.8, 0.8))
    assert headline == "Yes, a pre-trained model pays off at every label budget tried, from 100 to 500"
    assert sentences[0] == (
        f"With 100 {TRANSFORMER} is ahead of {RECURRENT}, which is ahead of {SCRATCH}; with 500 {TRANSFORMER} is ahead "
        f"of {SCRATCH}."
    )


def test_the_costs_of_training_and_inference(tmp_path, grid, make_record, write_lines):
    records = []
    for entry, score, latency in (("lstm", 0.3, 0.0009), ("minilm", 0.6, 0.0126)):
        for seed in (1, 2, 3):
            record = make_record(entry, 100, seed, score + seed / 100)
            record["cost"]["inference"] = {"latency_seconds": latency, "rows_per_second": 100.0}
            records.append(record)
    write_lines(tmp_path, records)
    _, sentences, _ = judge(tmp_path)
    assert sentences[1] == (
        "With 100 labels, minilm took 3.3 times as long to train as lstm (3.2 s against 1.0 s), has 22 times as many "
        "parameters (22.7M against 1.04M) and takes 14 times as long to predict one row (12.6 ms against 0.9 ms)."
    )


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ({"lstm": 7, "minilm": 7}, "Every entry was tuned on the same validation labels, in 7 trials each."),
        ({"lstm": 7}, "Tuned on the same validation labels: lstm in 7 trials, minilm not at all."),
        ({"lstm": 7, "minilm": 11}, "Tuned on the same validation labels: lstm in 7 trials and minilm in 11 trials."),
    ],
)
def test_the_notes_give_the_number_of_trials(tmp_path, make_record, write_lines, trials, said):
    records = []
    for entry in ("lstm", "minilm"):
        tuning = {"tuning": {"trials": trials[entry], "failed": 0}} if entry in trials else {}
        records.append(make_record(entry, 100, 1, 0.5, **tuning))
    write_lines(tmp_path, records)
    assert judge(tmp_path)[2][0].endswith(f"Both need annotation. {said}")


def test_forecasts_that_do_not_beat_a_baseline_are_named(tmp_path, make_record, write_lines):
    task = {"name": "forecasting", "problem_type": "forecasting", "main_metric": "mae", "greater_is_better": False}
    records = []
    for entry, error in (("lstm", 0.9), ("minilm", 0.4)):
        for seed in (1, 2, 3):
            reached = {"mae": error + seed / 100, "naive_mae": 0.8, "seasonal_naive_mae": 0.5}
            metrics = {"validation": reached, "test": reached}
            records.append(make_record(entry, 100, seed, 0.0, task=task, metrics=metrics))
    write_lines(tmp_path, records)
    _, sentences, _ = judge(tmp_path, Goal("mae", greater_is_better=False))
    assert sentences[1].startswith(
        "With 100 labels, lstm (0.920) does not significantly beat always predicting the last value (0.800)"
    )
    said = "lstm (0.920) does not significantly beat always predicting the value of the season before (0.500)"
    assert said in sentences[1]
    assert "minilm (0.420)" not in sentences[1]
