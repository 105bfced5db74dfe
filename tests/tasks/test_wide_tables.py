"""Tables with thousands of columns that have no role."""

from __future__ import annotations

import time


def test_columns_without_a_role_cost_little(tmp_path, task_of):
    lines = [f"words of {row},{row % 2}," + ",".join(f"{row}.{n}" for n in range(3000)) for row in range(60)]
    header = ",".join(["text", "label", *(f"f{n}" for n in range(3000))])
    (tmp_path / "d.csv").write_text("\n".join([header, *lines]))
    began = time.process_time()
    data = task_of(tmp_path / "d.csv", label_column="label").prepare(1)
    assert time.process_time() - began < 8  # quadratic work takes far longer
    assert set(data["train"].column_names) == {"row", "text", "label"}
