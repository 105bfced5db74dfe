from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["datasets", "evaluate", "peft", "sklearn", "matplotlib", "scipy", "pandas"]


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "baseline"),
    [
        ("import tl_toolkit", "import torch; from transformers import AutoModel"),
        ("from tl_toolkit.config.parsing import make_parser", "from transformers import TrainingArguments"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str, baseline: str) -> None:
    added = modules_after(statement) - modules_after(baseline)
    assert added.isdisjoint(HEAVY)
    assert "transformers.trainer" not in added
    assert len(added) < 60
