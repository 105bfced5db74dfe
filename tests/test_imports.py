from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["datasets", "evaluate", "peft", "sklearn", "matplotlib", "scipy", "pandas"]


def printed_by(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def modules_after(statement: str) -> set[str]:
    return set(printed_by(f"import sys\n{statement}\nprint(' '.join(sys.modules))").split())


@pytest.mark.parametrize(
    ("statement", "baseline"),
    [
        ("import tl_toolkit.models", "import torch; from transformers import AutoModel"),
        ("from tl_toolkit.config.parsing import make_parser", "from transformers import TrainingArguments"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str, baseline: str) -> None:
    added = modules_after(statement) - modules_after(baseline)
    assert added.isdisjoint(HEAVY)
    assert "transformers.trainer" not in added
    assert len(added) < 60


@pytest.mark.parametrize(
    "module",
    [
        "tl_toolkit",
        "tl_toolkit.evaluation.results",
        "tl_toolkit.evaluation.statistics.pairwise",
        "tl_toolkit.data.splits",
    ],
)
def test_what_needs_numbers_alone_does_not_wait_for_torch(module: str) -> None:
    assert modules_after(f"import {module}").isdisjoint({"torch", "transformers", "datasets"})


@pytest.mark.parametrize(
    "imports",
    [
        "import tl_toolkit, transformers",
        "import transformers, tl_toolkit",
        "import tl_toolkit, importlib.util; importlib.util.find_spec('transformers'); import transformers",
        "import tl_toolkit.models, transformers",
    ],
)
def test_the_families_are_registered_whichever_is_imported_first(imports: str) -> None:
    assert printed_by(f"{imports}\nprint(transformers.AutoConfig.for_model('rnn').model_type)").strip() == "rnn"
