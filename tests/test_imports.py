from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
        ("from tl_toolkit import RnnConfig, UserError", "import torch; from transformers import AutoModel"),
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
        "tl_toolkit.api",
        "tl_toolkit.cli",
        "tl_toolkit.evaluation.results",
        "tl_toolkit.evaluation.decision",
        "tl_toolkit.evaluation.scored_panels",
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


def test_every_public_name_is_an_attribute_and_known_to_type_checkers() -> None:
    import tl_toolkit
    from tl_toolkit import models

    assert set(tl_toolkit.__all__) <= set(dir(tl_toolkit))
    assert {"finetune", "compare", "UserError", "RnnConfig", "RnnForCausalLM"} <= set(tl_toolkit.__all__)
    assert all(getattr(tl_toolkit, name) is not None for name in tl_toolkit.__all__)
    stub = (Path(tl_toolkit.__file__).parent / "__init__.pyi").read_text()
    known = {line.split()[-1] for line in stub.splitlines() if " as " in line} | set(models.__all__)
    assert known == {*tl_toolkit.__all__, "models"}
    with pytest.raises(AttributeError, match="finetun"):
        tl_toolkit.finetun  # noqa: B018
