from __future__ import annotations

import json
import re

import pytest

from tl_toolkit.comparison.verdict.wording import decide
from tl_toolkit.evaluation import formatting as show
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.pairwise import best, contests

GOAL = Goal("accuracy")


def judge(folder, goal=GOAL):
    results = read_results(folder / "results.jsonl")
    cells, reader = make_cells(results), PredictionReader(folder)
    rounds = contests(cells, goal, reader)
    failed = sum(not result.completed for result in results)
    verdict = decide(cells, rounds, goal, reader, failed)
    said = [verdict.headline, *verdict.sentences, *verdict.notes]
    assert not any(re.search(r"None|nan|inf\b|\{|  ", text) for text in said), said
    return verdict, rounds


def test_transfer_ahead_everywhere(tmp_path, comparison):
    comparison()
    verdict, rounds = judge(tmp_path)
    assert [contest.outcome for contest in rounds] == ["transfer"] * 3
    assert verdict.headline == (
        "Yes, a pre-trained model pays off: it is ahead at every label budget tried, from 100 to 2,000"
    )
    numbers, cost, worth = (text.replace(show.SPACE, " ") for text in verdict.sentences)
    first = rounds[0]
    scores = [100 * cell.test["accuracy"].mean for cell in (first.second, first.first)]
    assert numbers.startswith(
        f"With 100 labels, minilm reaches {scores[0]:.1f} % accuracy on the test rows against {scores[1]:.1f} % for "
        f"bilstm-attention (from scratch), both selected on validation rows: {100 * first.difference:.1f} points more "
        "(95 % interval "
    )
    assert re.search(r"; with 2,000 labels it reaches 6\d\.\d % against 5\d\.\d %: 1\d\.\d points more \(95 %", numbers)
    assert cost == (
        "With 2,000 labels, minilm took 12 times as long to train as bilstm-attention (49 s against 4.0 s) and has "
        "22 times as many parameters (22.7M against 1.04M)."
    )
    assert re.fullmatch(
        r"Training from scratch needs about (8|9|1,0|1,1)\d0 labels \(95 % \d{3} to 1,\d{3}\) to match minilm with 100 "
        r"labels\.",
        worth,
    )
    assert verdict.notes[0].startswith(
        "Labels per run, for training + for checkpoint selection (validation): 100 + 100, 500 + 500 and 2,000 + 1,000."
    )


def test_a_difference_within_the_noise_has_no_winner(tmp_path, comparison):
    comparison(skills={"lstm": (0.40,), "minilm": (0.405,)}, budgets=(100,), seeds=(5,))
    verdict, (contest,) = judge(tmp_path)
    assert contest.outcome == "none"
    assert verdict.headline == (
        "With 100 labels there is no significant difference between training from scratch and transfer"
    )
    assert "no significant difference (95" in verdict.sentences[0]
    assert " ahead" not in verdict.headline and "more (" not in verdict.sentences[0]


def test_a_large_variance_between_seeds_prevents_a_winner(tmp_path, make_record, write_lines):
    """A difference of means is not significant if the seeds disagree, whatever the rows show."""
    scattered = [make_record("minilm", 100, seed, value) for seed, value in enumerate((0.3, 0.7, 0.5))]
    write_lines(tmp_path, [make_record("lstm", 100, seed, 0.40 + seed / 1000) for seed in range(3)] + scattered)
    _, (contest,) = judge(tmp_path)
    assert contest.difference == pytest.approx(0.099)
    assert contest.over_rows is None and contest.outcome == "none"


def test_scratch_ahead(tmp_path, comparison):
    comparison(skills={"lstm": (0.6, 0.7), "minilm": (0.4, 0.5)}, budgets=(100, 500), seeds=(3, 3))
    verdict, _ = judge(tmp_path)
    assert verdict.headline == (
        "No, training from scratch is enough: it is ahead at every label budget tried, from 100 to 500"
    )
    assert "points less (95" in verdict.sentences[0]
    low, high = re.search(r"points less \(95\u00a0% interval ([\d.]+) to ([\d.]+)\)", verdict.sentences[0]).groups()
    assert float(low) < float(high)
    assert len(verdict.sentences) == 2  # no label equivalence


def test_it_depends_on_the_labels(tmp_path, comparison):
    skills = {"lstm": (0.2, 0.4, 0.7), "minilm": (0.4, 0.6, 0.7)}
    comparison(skills=skills, seeds=(3, 3, 3))
    verdict, _ = judge(tmp_path)
    assert verdict.headline == (
        "It depends on the number of labels: with 100 and 500 the pre-trained model is ahead; "
        "with 2,000 there is no significant difference"
    )


def test_scratch_does_not_match_at_any_budget(tmp_path, comparison):
    comparison(skills={"lstm": (0.2, 0.22, 0.25), "minilm": (0.6, 0.7, 0.75)}, seeds=(3, 3, 3))
    verdict, rounds = judge(tmp_path)
    expected = "Even with 2,000 labels, training from scratch does not match minilm with 100 labels."
    assert verdict.sentences[-1] == expected


def test_scratch_matches_within_the_noise(tmp_path, make_record, write_lines):
    """With 500 labels lstm is half a point below minilm with 100, which is within the spread of the seeds."""
    records = [
        make_record(entry, budget, seed, middle + (seed - 2) / 100)
        for entry, curve in (("lstm", (0.2, 0.595)), ("minilm", (0.6, 0.8)))
        for budget, middle in zip((100, 500), curve, strict=True)
        for seed in (1, 2, 3)
    ]
    write_lines(tmp_path, records)
    verdict, rounds = judge(tmp_path)
    assert verdict.sentences[-1] == (
        "With 500 labels, training from scratch shows no significant difference from minilm with 100 labels."
    )


def test_the_learning_curve_includes_budgets_of_scratch_only(tmp_path, make_record, write_lines):
    """minilm reaches 0.6 with 100 labels; lstm reaches 0.7 at a budget without a run of minilm."""
    records = [
        make_record(entry, budget, seed, middle + (seed - 2) / 1000)
        for entry, curve in (("lstm", (0.3, 0.5, 0.7)), ("minilm", (0.6, 0.8)))
        for budget, middle in zip((100, 500, 2000), curve, strict=False)
        for seed in (1, 2, 3)
    ]
    write_lines(tmp_path, records)
    verdict, rounds = judge(tmp_path)
    assert [contest.budget for contest in rounds] == [100, 500]
    # Half-way between 500 and 2,000 on a logarithmic scale.
    assert verdict.sentences[-1].startswith("Training from scratch needs about 1,000 labels (95")


def test_an_unknown_interval_is_not_called_no_significant_difference(tmp_path, make_record, write_lines):
    """At its largest budget lstm has a single run without predictions, so its variance is unknown."""
    records = [make_record("lstm", 500, 1, 0.41)] + [
        make_record(entry, 100, seed, middle + (seed - 2) / 1000)
        for entry, middle in (("lstm", 0.3), ("minilm", 0.6))
        for seed in (1, 2, 3)
    ]
    write_lines(tmp_path, records)
    assert judge(tmp_path)[0].sentences[-1] == (
        "With 500 labels, training from scratch does not match minilm with 100 labels, without a confidence interval."
    )


def test_a_falling_learning_curve_gives_no_label_equivalence(tmp_path, make_record, write_lines):
    """lstm falls from 0.9 to 0.4: its monotone curve is above minilm's 0.6 everywhere, but lstm is behind at 500."""
    records = [
        make_record(entry, budget, seed, middle + (seed - 2) / 1000)
        for entry, curve in (("lstm", (0.9, 0.4, 0.8)), ("minilm", (0.5, 0.6, 0.7)))
        for budget, middle in zip((100, 500, 2000), curve, strict=True)
        for seed in (1, 2, 3)
    ]
    write_lines(tmp_path, records)
    verdict, rounds = judge(tmp_path)
    assert [contest.better for contest in rounds] == ["first", "second", "first"]
    assert not any("match" in text or "scratch shows" in text for text in verdict.sentences)


def test_the_best_is_selected_on_validation_rows(tmp_path, make_record, write_lines):
    lucky = make_record("lstm", 100, 1, 0.50)
    solid = make_record("gru", 100, 1, 0.45)
    lucky["metrics"]["validation"]["accuracy"], solid["metrics"]["validation"]["accuracy"] = 0.40, 0.47
    write_lines(tmp_path, [lucky, solid])
    chosen = best(make_cells(read_results(tmp_path / "results.jsonl")), GOAL)
    assert chosen is not None and chosen.entry == "gru"


def test_less_can_be_better(tmp_path, make_record, write_lines):
    task = {"name": "regression", "problem_type": "regression", "labels": None, "main_metric": "mse"}
    records = []
    for seed in (1, 2, 3):
        for entry, error in (("lstm", 0.9), ("gru", 1.2), ("minilm", 0.4)):
            metrics = {"mse": error + seed / 100, "pearson": 0.8}
            records.append(
                make_record(
                    entry, 100, seed, 0.0,
                    task=task | {"greater_is_better": False}, metrics={"validation": metrics, "test": metrics},
                )
            )  # fmt: skip
    write_lines(tmp_path, records)
    verdict, (contest,) = judge(tmp_path, Goal("mse", greater_is_better=False))
    assert (contest.first.entry, contest.outcome) == ("lstm", "transfer")
    assert verdict.sentences[0].startswith(
        "With 100 labels, minilm reaches a mean squared error of 0.420 on the test rows against 0.920 for lstm "
        "(from scratch), both selected on validation rows: 0.500 less (less is better) (95"
    )


def test_one_seed_without_predictions_has_no_winner(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", None, 1, 0.2), make_record("minilm", None, 1, 0.9)])
    verdict, (contest,) = judge(tmp_path)
    assert contest.interval is None and contest.outcome == "none"
    assert verdict.headline.startswith("With all 6,920 labels there is no significant difference")
    assert "without a confidence interval" in verdict.sentences[0]
    assert any("at least one side has a single run" in note for note in verdict.notes)


def test_one_seed_with_predictions_uses_the_interval_over_rows(tmp_path, comparison):
    comparison(skills={"lstm": (0.3,), "minilm": (0.6,)}, budgets=(100,), seeds=(1,))
    verdict, (contest,) = judge(tmp_path)
    assert contest.over_seeds is None and contest.over_rows is not None and contest.outcome == "transfer"
    assert verdict.headline == "In single runs, a pre-trained model pays off: it is ahead with 100 labels"


@pytest.mark.parametrize(
    ("skills", "seeds", "headline"),
    [
        (
            {"lstm": (0.2, 0.3), "minilm": (0.6, 0.7)}, (3, 1),
            "Yes, a pre-trained model pays off: it is ahead at every label budget tried, from 100 to 500; with 500 "
            "labels in single runs",
        ),
        (
            {"lstm": (0.6, 0.7), "minilm": (0.2, 0.3)}, (1, 1),
            "In single runs, training from scratch is enough: it is ahead at every label budget tried, from 100 to "
            "500",
        ),
        (
            {"lstm": (0.2, 0.7), "minilm": (0.6, 0.7)}, (1, 1),
            "It depends on the number of labels: with 100 (single runs) the pre-trained model is ahead; with 500 there "
            "is no significant difference",
        ),
    ],
)  # fmt: skip
def test_the_headline_names_budgets_with_single_runs(tmp_path, comparison, skills, seeds, headline):
    comparison(skills=skills, budgets=(100, 500), seeds=seeds)
    verdict, _ = judge(tmp_path)
    assert verdict.headline == headline


@pytest.mark.parametrize(
    ("entries", "headline"),
    [
        (("lstm", "gru"), "All finished runs are trained from scratch, so there is no result for transfer yet"),
        (("minilm",), "All finished runs use transfer, so there is no result for training from scratch yet"),
    ],
)
def test_one_approach_only(tmp_path, make_record, write_lines, entries, headline):
    write_lines(tmp_path, [make_record(entry, 100, 1, 0.2) for entry in entries])
    verdict, _ = judge(tmp_path)
    assert verdict.headline == headline
    chosen = "the entry with the best validation score is lstm, which" if len(entries) > 1 else "minilm"
    assert verdict.sentences == [f"With 100 labels {chosen} reaches 20.0\u00a0% accuracy on the test rows."]


def test_with_one_approach_the_leader_is_compared_with_the_others(tmp_path, comparison):
    skills = {"lstm": (0.6,), "gru": (0.59,), "elman": (0.3,), "cnn": (0.3,)}
    comparison(skills=skills, budgets=(100,), seeds=(3,))
    verdict, _ = judge(tmp_path)
    (said,) = verdict.sentences
    assert re.sub(r"\d\d\.\d", "X", said.replace(show.SPACE, " ")) == (
        "With 100 labels the entry with the best validation score is lstm, which reaches X % accuracy on the test "
        "rows, significantly ahead of elman and cnn, with no significant difference from gru."
    )


def test_approaches_at_different_budgets(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.2), make_record("minilm", 500, 1, 0.2)])
    verdict, _ = judge(tmp_path)
    assert verdict.headline == "No label budget has finished runs both from scratch and with transfer yet"


def test_nothing_finished(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [])
    assert judge(tmp_path)[0].headline == "No run has finished yet"
    failed = [make_record("lstm", 100, seed, 0, status="failed", metrics={}) for seed in (1, 2)]
    write_lines(tmp_path, failed[:1])
    assert judge(tmp_path)[0].headline == "The only run failed"
    write_lines(tmp_path, failed)
    assert judge(tmp_path)[0].headline == "All 2 runs failed"
    write_lines(tmp_path, [failed[0], make_record("minilm", 100, 1, 0.2)])
    assert judge(tmp_path)[0].notes[-1] == "1 run failed and is left out."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (show.parameters(22_713_216), "22.7M"),
        (show.parameters(999_900), "1M"),
        (show.parameters(4_235), "4.24k"),
        (show.parameters(84), "84"),
        (show.seconds(3.44), "3.4\u00a0s"),
        (show.seconds(300), "5.0\u00a0min"),
        (show.seconds(7500), "2.1\u00a0h"),
        (show.memory(880e6), "880\u00a0MB"),
        (show.memory(999_600), "1\u00a0MB"),
        (show.memory(125_410), "125\u00a0kB"),
        (show.significant(1284), "1,300"),
        (show.significant(96), "96"),
        (show.times(2.04), "twice"),
        (show.times(12.3), "12 times"),
        (show.times(1234), "1,200 times"),
        (show.gap(-0.01, "accuracy"), "1.0\u00a0point"),
        (show.signed_gap(-0.012, "accuracy"), "−1.2"),
        (show.plain_score(-0.0001, "pearson"), "0.000"),
        (show.budget(500, 412), "500 (412 found)"),
        (show.joined(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_formatted_numbers(text, expected):
    assert text == expected


def test_pre_trained_word_vectors_are_noted(tmp_path, comparison):
    comparison(budgets=(100,))
    path = tmp_path / "results.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        if record["entry"] == "bilstm-attention":
            record["arguments"]["vectors"] = "glove.6B.50d.txt"
    before, _ = judge(tmp_path)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    verdict, rounds = judge(tmp_path)
    assert rounds[0].first.entry == "bilstm-attention"
    assert not any("word vectors" in note for note in before.notes)
    assert any(note.startswith("bilstm-attention starts from pre-trained word vectors") for note in verdict.notes)


def test_classes_that_no_run_of_an_entry_predicts_are_named(tmp_path, comparison, write_lines):
    records = comparison(skills={"lstm": (0.4, 0.5), "minilm": (0.6, 0.7)}, budgets=(100, 500), seeds=(2, 1))
    for record in records:
        if record["entry"] == "lstm" and record["budget"]["label_budget"] == 100:
            record["never_predicted"] = ["yaml", "zlib"] if record["seed"] == 1 else ["numpy", "yaml"]
        elif record["budget"]["label_budget"] == 500:
            record["never_predicted"] = [] if record["entry"] == "lstm" else [*"abcdefg"]
    write_lines(tmp_path, records)
    notes = [note for note in judge(tmp_path)[0].notes if "never predict" in note]
    assert notes == [
        "These never predict a class that occurs in the test rows: lstm with 100 labels (yaml); minilm with 500 labels "
        "(a, b, c, d, e and 2 more)."
    ]


def test_the_score_of_a_class_decides(tmp_path, comparison, write_lines):
    """The intervals and tests are those of the class; all numbers carry its name."""
    import numpy as np
    from sklearn.metrics import recall_score

    records = comparison(skills={"lstm": (0.3,), "minilm": (0.6,)}, budgets=(100,), seeds=(3,))
    reader = PredictionReader(tmp_path)
    for result, record in zip(read_results(tmp_path / "results.jsonl"), records, strict=True):
        rows = reader.labels(result)
        record["task"] = {**record["task"], "main_metric": "recall:numpy"}
        own = recall_score(rows.label == 2, rows.prediction == 2)
        for split in ("validation", "test"):
            record["metrics"][split]["recall:numpy"] = own
    write_lines(tmp_path, records)
    verdict, (contest,) = judge(tmp_path, Goal("recall:numpy"))
    assert contest.over_rows is not None and contest.p_rows is not None and contest.outcome == "transfer"
    assert np.isfinite([contest.over_rows.low, contest.over_rows.high]).all()
    means = [100 * cell.test["recall:numpy"].mean for cell in (contest.second, contest.first)]
    said = verdict.sentences[0].replace(show.SPACE, " ")
    assert f"minilm reaches {means[0]:.1f} % recall of numpy on the test rows against {means[1]:.1f} %" in said
    assert "points more (95 % interval" in said


def test_the_lower_validation_loss_is_selected_among_equals(tmp_path, comparison, write_lines):
    records = comparison(skills={"lstm": (0.4,), "gru": (0.5,), "elman": (0.3,)}, budgets=(100,), seeds=(2,))
    loss = {"lstm": 1.2, "gru": 0.9, "elman": 1.1}
    for record in records:
        record["metrics"]["validation"] = {"accuracy": 0.5, "loss": loss[record["entry"]]}
    write_lines(tmp_path, records)
    cells = make_cells(read_results(tmp_path / "results.jsonl"))
    assert best(cells, GOAL).entry == "gru" and best(cells[::-1], GOAL).entry == "gru"
    assert best([cell for cell in cells if cell.entry != "gru"], GOAL).entry == "elman"
    for record in records:
        del record["metrics"]["validation"]["loss"]
    write_lines(tmp_path, records)
    assert best(make_cells(read_results(tmp_path / "results.jsonl")), GOAL).entry == "lstm"  # the first
