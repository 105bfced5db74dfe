"""A comparison in which an entry learns from another one."""

from __future__ import annotations

import json
from pathlib import Path

from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.workflows.compare import train

SMALL = "embedding_size=5,hidden_size=7,num_hidden_layers=1"
STUDENT = {"name": "student", "model_type": "rnn", "strategy": "distilled", "teacher": "linear", "label_weight": 0.5}


def test_a_student_learns_from_the_run_of_its_teacher_which_is_trained_once(
    dataset_folder: Path, tmp_path: Path
) -> None:
    """The teacher is not a network, so any model that `finetune` leaves can teach."""

    def run(**changes: object) -> None:
        student = {**STUDENT, "config_overrides": SMALL, "num_train_epochs": 2, "unlabelled_budget": 30, **changes}
        entries = [student, {"name": "linear", "model_type": "bag_of_ngrams"}]
        content = {"dataset_name": str(dataset_folder), "label_budgets": [12], "seeds": [1], "use_cpu": True}
        grid = make_grid({**content, "keep_models": False, "entries": entries}, {}, "the grid")
        assert execute(grid, output, retry_failed=False, executor=InProcess(train), say=str) == 0

    output = tmp_path / "out"
    run()
    record, teacher = (
        json.loads((output / "runs" / f"{name}-12-seed1" / "result.json").read_text()) for name in ("student", "linear")
    )
    assert record["kind"] == "distilled"
    assert record["strategy"]["teacher"] == {"name": "linear", "train_seconds": teacher["cost"]["train_seconds"]}
    assert record["arguments"]["teacher"] == str(output / "runs" / "linear-12-seed1")
    assert (output / "runs" / "linear-12-seed1" / "model.safetensors").exists()
    assert not (output / "runs" / "student-12-seed1" / "model.safetensors").exists()
    before = (output / "runs" / "linear-12-seed1" / "model.safetensors").stat().st_mtime_ns
    run(label_weight=0.2)  # only the student is trained again
    assert (output / "runs" / "linear-12-seed1" / "model.safetensors").stat().st_mtime_ns == before
    page = write_report(output, "Taught").read_text().replace("\u00a0", " ")
    assert "With 12 labels, student needs the teacher linear" in page
    assert "30 texts made from the labelled ones" in page
