from __future__ import annotations

from tl_toolkit.comparison.planning.planned_run import PlannedRun
from tl_toolkit.comparison.planning.time_plan import SAFETY, curve_budgets, in_order, plan_within, with_curve

LINEAR = {"model_type": "bag_of_ngrams"}
CONSTANT = {**LINEAR, "config_overrides": {"max_ngrams": 0}}
COST = {"constant": 1.0, "linear": 2.0, "probe": 7.0, "lstm": 13.0, "tuned": 101.0}
KINDS = {
    "constant": CONSTANT,
    "linear": LINEAR,
    "probe": {"strategy": "probe"},
    "lstm": {"model_type": "rnn"},
    "tuned": {},
}


def runs(*entries: str) -> list[PlannedRun]:
    own = [PlannedRun(entry, None, seed, KINDS[entry]) for seed in (1, 2, 3) for entry in entries or COST]
    return with_curve(own, [500, 1000])


def seconds(run: PlannedRun, known: bool) -> float:
    return 3.0 if known and run.entry == "probe" else COST[run.entry]


def names(planned: list[PlannedRun]) -> list[str]:
    return [f"{run.entry} {run.label_budget or 'all'} {run.seed}" for run in planned]


def test_the_cheapest_and_most_informative_runs_come_first() -> None:
    told = names(in_order(runs(), seconds, 600.0))
    assert told[:2] == ["constant all 1", "linear all 1"]
    assert told[2:9] == [
        "linear all 2",
        "linear all 3",
        "probe all 1",
        "probe all 2",
        "probe all 3",
        "lstm all 1",
        "tuned all 1",
    ]
    assert told[9:13] == ["lstm all 2", "tuned all 2", "lstm all 3", "tuned all 3"]
    assert told[13:17] == ["linear 1000 1", "probe 1000 1", "lstm 1000 1", "tuned 1000 1"]
    assert told[17] == "linear 500 1" and "constant 500 1" not in told and "constant all 2" not in told
    dear = names(in_order(runs(), seconds, 150.0))  # two per cent are 3 s: further seeds of the probe wait
    assert dear[:6] == ["constant all 1", "linear all 1", "linear all 2", "linear all 3", "probe all 1", "lstm all 1"]


def test_entries_that_are_dear_with_all_labels_are_compared_with_fewer() -> None:
    def by_labels(run: PlannedRun, known: bool) -> float:
        return COST[run.entry] * (run.label_budget or 4000) / 1000

    order = in_order(runs(), by_labels, 300.0)  # all labels: 28 s of the probe, 52 s of the LSTM, 404 s of tuning
    told = names(order)
    assert told[:8] == [
        "constant all 1",
        "linear all 1",
        "probe all 1",
        "lstm all 1",
        "tuned 500 1",  # 50 s; with 1,000 labels it is too dear
        "linear 500 1",
        "probe 500 1",
        "lstm 500 1",
    ]
    assert told[-3:] == ["tuned all 1", "tuned all 2", "tuned all 3"]

    def final(run: PlannedRun) -> float:
        return 1.2 * by_labels(run.with_budget(None), False)

    planned = plan_within(order, 300.0, by_labels, final).runs
    assert "tuned 500 1" in names(planned)  # no model on all labels will be trained of it
    assert names(in_order(runs(), by_labels, 20.0))[:2] == ["constant all 1", "linear all 1"]


def test_the_time_of_the_final_model_is_kept_and_what_does_not_fit_is_named() -> None:
    order = in_order(runs("linear", "probe", "tuned"), seconds, 600.0)

    def final(run: PlannedRun) -> float:
        return 2 * COST[run.entry]

    plan = plan_within(order, 100.0, seconds, final)
    assert not any(run.entry == "tuned" for run in plan.runs)  # 101 s and 202 s of the final model
    assert plan.reserve == SAFETY * 14
    assert plan.total + plan.reserve <= 100 and plan.seconds["runs/probe-all-seed2"] == SAFETY * 3
    assert [own for _, own in plan.left_out if own == 101.0]
    whole = plan_within(order, 10_000.0, seconds, final)
    assert len(whole.runs) == len(order) and not whole.left_out and whole.reserve == SAFETY * 202
    done = {run.folder for run in order if run.entry == "tuned"}
    again = plan_within(order, 300.0, seconds, final, done)
    assert again.reserve == SAFETY * 202 and not any(run.folder in done for run in again.runs)
    unknown = plan_within(order, 10_000.0, lambda run, known: None, final)
    assert not unknown.runs and len(unknown.left_out) == len(order)


def test_budgets_of_the_curve() -> None:
    assert curve_budgets(2160, 4) == [540, 1000]
    assert curve_budgets(216, 2) == [54, 100]  # two significant digits
    assert curve_budgets(216, 20) == [100]
    assert curve_budgets(99, 2) == []
    assert curve_budgets(18_000, 2) == [1100, 4500, 9000]
