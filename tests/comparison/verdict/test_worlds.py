"""The card of a comparison in small worlds whose truth is known."""

from __future__ import annotations

import json
import re

import pytest
from synthetic_records import make_record, write_lines
from worlds import write_language_models, write_world

from tl_toolkit.comparison.verdict.decision import decision_in
from tl_toolkit.comparison.verdict.wording import budget_row, card_text
from tl_toolkit.errors import UserError

AHEAD = {"lstm": (0.6, 0.68, 0.75), "minilm": (0.75, 0.83, 0.9)}


def decided(folder, **asked):
    """The decision and the card of the first dataset, after checks that hold for every text."""
    decision = decision_in(folder, **asked)
    json.dumps(decision, allow_nan=False)
    for facts in decision["panels"]:
        card = facts["card"]
        texts = [card["headline"], card["cost"], card["runner_up"], card["next"], *card["sentences"]]
        texts = [text for text in texts if text]
        said = " ".join(texts)
        assert not re.search(r"None|nan|\binf\b|\{|\}|  |\.\.|\bnot\b.*\b(not|no|without|never)\b", said), said
        assert len(card["headline"].split()) <= 30 and len(card["sentences"]) <= 3
        assert len(set(texts)) == len(texts) and all(text.endswith(".") for text in texts), texts
    text = card_text("Title", decision).replace("\u00a0", " ")
    return decision, text


def row(decision, place=-1):
    return budget_row(decision["budgets"][place], decision["panels"][0])


def test_one_entry_is_ahead(tmp_path):
    write_world(tmp_path, AHEAD)
    decision, text = decided(tmp_path)
    assert decision["recommended"] == "minilm" and {one["status"] for one in decision["budgets"]} == {"ahead"}
    headline = re.search(r"Use minilm: expect ([\d.]+) % accuracy \(95 % interval ([\d.]+) to ([\d.]+)\)", text)
    value, low, high = map(float, headline.groups())
    assert low < 90 < high and low < value < high
    assert "with 1,600 labels." in text and "It costs 10 ms per prediction and 60 s of training; lstm costs" in text
    said = (
        r"Runner-up: lstm is 1[45]\.\d points worse \(95 % interval 1[23]\.\d to 1[67]\.\d\), which is beyond chance\."
    )
    assert re.search(said, text)
    assert re.search(
        r"Next: add training labels. With 3,200 labels in all, expect 9\d\.\d % accuracy .*: [23]\.\d points better\.",
        text,
    )
    assert "On average over the 3 numbers of labels, pre-trained transformers (minilm) are 14." in text
    assert re.search(r"lstm needs about 1,\d00 labels \(95 % interval .* to match minilm with 100 labels\.", text)
    assert " shrinks " not in text and " grows " not in text  # the lead is the same everywhere
    assert row(decision)["status"] == "ahead of all others"


def test_the_cheaper_of_two_equivalent_entries_is_recommended(tmp_path):
    skills = {"tfidf": (0.75, 0.82, 0.886), "minilm": (0.75, 0.824, 0.888)}
    write_world(tmp_path, skills, rows=4999, seeds=5, deviation=0.004)
    decision, text = decided(tmp_path)
    assert decision["recommended"] == "tfidf" and decision["budgets"][-1]["status"] == "equivalent_and_cheaper"
    assert "Use tfidf: expect 88." in text
    assert "Alternative: minilm is 0." in text
    assert "The difference is within the 2 points that count as equal (--margin), and tfidf costs less." in text
    assert "linear models (tfidf) are equivalent to pre-trained transformers (minilm) within 2 points." in text
    narrow, text = decided(tmp_path, margin=0.001)
    assert narrow["margin"] == 0.001 and narrow["budgets"][-1]["status"] == "undecided"


def test_open_comparisons_say_what_would_settle_them(tmp_path):
    write_world(tmp_path, {"lstm": (0.74, 0.8, 0.84), "minilm": (0.75, 0.81, 0.87)}, rows=211, seeds=2, deviation=0.03)
    decision, text = decided(tmp_path)
    assert decision["budgets"][-1]["status"] == "undecided" and "for now: expect" in text
    wanted = r"have \d+ labelled test rows \(now 211\) and run \d+ seeds of each \(now 2; --settle adds these runs\)\."
    assert re.search(rf"Next: to decide between \w+ and \w+, {wanted}", text)
    assert "minilm is on the same score (95 % interval 4.6 worse to 4.6 better). These runs leave open which is" in text
    assert " to match " not in text  # the interval of the equivalent labels includes the labels themselves
    assert row(decision)["status"] == "open"


def test_seeds_alone_can_settle(tmp_path):
    skills = {"lstm": (0.80, 0.83, 0.85), "minilm": (0.81, 0.85, 0.878)}
    write_world(tmp_path, skills, rows=4999, seeds=2, deviation=0.03)
    decision, text = decided(tmp_path)
    (pair,) = decision["budgets"][-1]["comparisons"]
    assert pair["reading"] == "undecided" and pair["to_settle"]["test_rows"] == 4999
    seeds = pair["to_settle"]["seeds"]
    both = f"{pair['a']} and {pair['b']}"
    assert f"Next: to decide between {both}, run {seeds} seeds of each (now 2; --settle adds these runs)." in text


def test_nothing_beats_the_constant_answer(tmp_path):
    write_world(tmp_path, {"lstm": (0.70, 0.70, 0.705), "minilm": (0.69, 0.70, 0.702)}, constant=0.7)
    decision, text = decided(tmp_path)
    assert decision["recommended"] is None and decision["budgets"][-1]["status"] == "nothing_beats_constant"
    assert "Use none of these entries yet: with 1,600 labels, none clearly beats always predicting the most" in text
    assert ", the constant answer 70.0 % accuracy." in text
    assert "The best of them, lstm, has 71." in text and "better" not in text and "Runner-up" not in text
    assert row(decision)["recommended"] == "–"


def test_single_runs_decide_nothing(tmp_path):
    write_world(tmp_path, AHEAD, seeds=1)
    decision, text = decided(tmp_path)
    assert decision["single_runs"] and decision["recommended"] is None
    assert text.startswith("Title\n\nToo early to decide from single runs: minilm scores best, with 90.")
    assert "Next: run each entry with 3 seeds (--seeds 1 2 3) to see" in text and "worse in these runs." in text
    assert "ahead" not in text and "interval" not in text and row(decision)["status"] == "single runs"


def test_a_lead_that_shrinks_is_said_once(tmp_path):
    write_world(tmp_path, {"lstm": (0.6, 0.7, 0.8), "minilm": (0.75, 0.78, 0.82)}, rows=1821)
    _, text = decided(tmp_path)
    said = (
        r"The lead of pre-trained transformers \(minilm\) over networks from scratch \(lstm\) shrinks by 3\.\d points"
    )
    assert "Next: keep lstm, unless up to 2.8 points are worth the cost of minilm." in text
    assert len(re.findall(said, text)) == 1 and "with each doubling of the labels." in text


def test_a_lead_that_turns_names_the_labels(tmp_path):
    write_world(tmp_path, {"tfidf": (0.78, 0.8, 0.82), "minilm": (0.7, 0.78, 0.9)}, rows=1821)
    decision, text = decided(tmp_path)
    assert re.search(
        r"Below about (3|4|5)\d0 labels, linear models \(tfidf\) are better; with more, pre-trained tra", text
    )
    assert "On average" not in text
    assert [one["recommended"] for one in decision["budgets"]] == ["tfidf", "tfidf", "minilm"]


def test_language_models_count_tokens_and_less_is_better(tmp_path):
    write_language_models(tmp_path, {"lstm": (4.5, 4.2), "minilm": (3.9, 3.8)})
    decision, text = decided(tmp_path)
    assert decision["recommended"] == "minilm" and not decision["greater_is_better"]
    assert "Use minilm: expect a perplexity of 4" in text and "with 40,000 tokens." in text
    assert re.search(r"lstm is 2\d\.\d\d worse \(95 % interval 2\d\.\d\d? to 2\d\.\d\d?\), which is", text)
    assert "labels" not in text and "labelling" not in text
    assert row(decision)["difference"].startswith("+2")  # better is positive
    (pair,) = decision["budgets"][-1]["comparisons"]
    assert pair["difference"] > 0 and pair["reading"] == "behind"  # in the unit of the metric


def test_failed_runs_count(tmp_path):
    write_world(tmp_path, AHEAD, failed={"minilm": (1, 2, 3)})
    decision, text = decided(tmp_path)
    assert decision["recommended"] == "lstm"
    assert "worse (95 % interval " in text and "3 of its 3 runs failed, and a failed run counts as always pred" in text
    entries = {one["entry"]: one for one in decision["budgets"][0]["entries"]}
    assert entries["minilm"]["failed"] == 3 and entries["minilm"]["value"] == pytest.approx(0.5, abs=0.001)


def test_failed_runs_are_repeated_before_more_seeds(tmp_path):
    write_world(tmp_path, AHEAD, failed={"minilm": (1, 2)})
    _, text = decided(tmp_path)
    assert "Runner-up: minilm. 2 of its 3 runs failed, and a failed run counts as always predicting" in text
    assert "Next: find out why 2 of 3 runs of minilm failed (see the report), then repeat them" in text


def test_an_entry_alone(tmp_path):
    write_world(tmp_path, {"lstm": (0.6, 0.68, 0.75)})
    decision, text = decided(tmp_path)
    assert "lstm is the only entry: expect 7" in text and "Next: add entries to compare with" in text
    assert row(decision)["status"] == "the only entry"


def test_an_entry_alone_with_most_labels(tmp_path):
    write_world(tmp_path, AHEAD)
    results = tmp_path / "results.jsonl"
    lines = results.read_text().splitlines(keepends=True)
    most = max(json.loads(line)["budget"]["label_budget"] for line in lines)
    kept = [line for line in lines if json.loads(line)["entry"] == "minilm" or f'"label_budget": {most}' not in line]
    results.write_text("".join(kept))
    _, text = decided(tmp_path)
    assert re.search(
        r"(?s)minilm is the only entry: .*With \S+ labels, lstm is \d+\.\d points worse \(.*\) than minilm", text
    )
    assert "Next: run the others with" in text


def test_a_target(tmp_path):
    write_world(tmp_path, {"lstm": (0.6, 0.68, 0.75), "minilm": (0.75, 0.83, 0.88)})
    decision, text = decided(tmp_path, target=0.9)
    assert re.search(r"Next: to reach 90\.0 % accuracy, minilm needs about [\d,]+ labels \(95 % interval ", text)
    assert decision["asked"]["target"] == 0.9


def test_each_dataset_has_its_card(tmp_path):
    records = write_world(tmp_path, {"tfidf": (0.6, 0.68, 0.75), "minilm": (0.75, 0.83, 0.9)})
    records += write_world(
        tmp_path, {"tfidf": (0.7, 0.74, 0.8), "minilm": (0.71, 0.745, 0.81)}, dataset="news", rows=499
    )
    write_lines(tmp_path, records)
    decision, text = decided(tmp_path)
    assert len(decision["budgets"]) == 6 and len(decision["panels"]) == 2
    assert text.startswith("Title\n\nIf one entry must serve both datasets, use minilm")
    assert "reviews: Use minilm" in text and "news: Use tfidf" in text


def test_different_test_rows_under_one_name_are_kept_apart(tmp_path):
    records = write_world(tmp_path, {"lstm": (0.6,)}, budgets=(100,))
    other = write_world(tmp_path / "other", {"minilm": (0.75,)}, budgets=(100,), rows=499)
    for record in other:
        record["dataset"]["fingerprint"] = "fedcba9876543210"
        record["folder"] = f"other/{record['folder']}"
    write_lines(tmp_path, [*records, *other])
    decision, text = decided(tmp_path)
    names = [facts["dataset"] for facts in decision["panels"]]
    assert names == [
        "reviews (data 0123456789abcdef, 997 test rows)", "reviews (data fedcba9876543210, 499 test rows)",
    ]  # fmt: skip
    assert [len(one["entries"]) for one in decision["budgets"]] == [1, 1]


def test_predictions_for_other_rows_are_left_out_with_a_note(tmp_path):
    import pandas as pd

    records = write_world(tmp_path, AHEAD)
    path = tmp_path / records[0]["folder"] / "predictions_test.parquet"
    pd.read_parquet(path).assign(row=lambda frame: frame["row"] + 1).to_parquet(path)
    (tmp_path / records[1]["folder"] / "predictions_test.parquet").unlink()
    decision, _ = decided(tmp_path)
    notes = decision["panels"][0]["notes"]
    assert len(notes) == 2 and "1 run is left out of the decision, because there are no predictions" in notes[0]
    assert "other test rows: lstm, 100 labels, seed 1." in notes[1]
    runs = {one["entry"]: one["runs"] for one in decision["budgets"][0]["entries"]}
    assert runs == {"lstm": 1, "minilm": 3}


def test_without_predictions_there_is_no_decision(tmp_path):
    write_lines(tmp_path, [make_record(entry, 100, 1, 0.5) for entry in ("lstm", "minilm")])
    decision, text = decided(tmp_path)
    assert decision["budgets"] == [] and "No decision: the predictions of these runs are missing." in text


def test_the_margin_and_the_target_stay_with_the_folder(tmp_path):
    from tl_toolkit.comparison.report.writing import write_report
    from tl_toolkit.comparison.verdict.decision import asked_in

    write_world(tmp_path, AHEAD, budgets=(100, 400))
    write_report(tmp_path, "Title", asked=asked_in(tmp_path, margin=0.05))
    written = json.loads((tmp_path / "decision.json").read_text())
    assert written["margin"] == 0.05 and written == decision_in(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_damaged_decision_asks_for_nothing(tmp_path):
    from tl_toolkit.comparison.verdict.decision import asked_in

    nothing = {"margin": None, "target": None, "settle": {}}
    for content in ("{", "[]", '{"asked": []}', '{"asked": {"margin": "wide", "settle": [1], "target": null}}'):
        (tmp_path / "decision.json").write_text(content)
        assert asked_in(tmp_path) == nothing


def test_decision_json_begins_as_documented(tmp_path):
    write_world(tmp_path, AHEAD, budgets=(100,))
    first = [
        "schema_version",
        "verified",
        "metric",
        "greater_is_better",
        "margin",
        "confidence",
        "headline",
        "recommended",
    ]
    assert list(decision_in(tmp_path))[: len(first)] == first


def test_a_margin_must_be_above_zero(tmp_path):
    write_world(tmp_path, AHEAD, budgets=(100,))
    with pytest.raises(UserError, match="--margin must be a number above 0, in the unit of the main metric, but is 0"):
        decision_in(tmp_path, margin=0.0)
