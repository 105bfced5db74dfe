"""The section of a model card on the comparison that the model comes from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from comparison_folder import make_comparison  # noqa: E402
from huggingface_hub import HfApi  # noqa: E402
from server import HubServer  # noqa: E402

from tl_toolkit.comparison.publishing.arguments import parse_comparison_arguments  # noqa: E402
from tl_toolkit.comparison.publishing.publish import publish_comparison  # noqa: E402
from tl_toolkit.errors import UserError  # noqa: E402
from tl_toolkit.hub.arguments import CardArguments  # noqa: E402
from tl_toolkit.hub.card import model_card  # noqa: E402

TABLE = r"""
| Training labels | all 66 |
|---|---:|
| LSTM \<b\> | 50.0 |
| **LSTM \| two** | 50.0 |
"""


def test_a_run_of_a_comparison_shows_its_table(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    text = str(model_card(folder / "runs" / "run-1", "user/two"))
    assert TABLE in text and "Accuracy, %, on the test rows" in text
    assert "huggingface.co/datasets/" not in text
    assert str(model_card(folder / "runs" / "run-0", "user/one")).count("**LSTM") == 1


def test_a_copied_run_needs_the_name_of_its_comparison(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    alone = (folder / "runs" / "run-1").rename(tmp_path / "run-1")
    assert "Comparison with other approaches" not in str(model_card(alone))
    assert TABLE in str(model_card(alone, arguments=CardArguments(comparison=str(folder))))


def test_a_published_comparison_is_linked_and_its_table_read(tmp_path: Path, hub: HubServer) -> None:
    folder = make_comparison(tmp_path / "comparison")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    flags = ["--repo_id", "user/fruit", "--repo_type", "dataset"]
    publish_comparison(parse_comparison_arguments([str(folder), *flags]), api, lambda line: None)
    alone = (folder / "runs" / "run-1").rename(tmp_path / "run-1")
    text = str(model_card(alone, "user/two", CardArguments(comparison="user/fruit"), api=api))
    assert TABLE in text and "[user/fruit](https://huggingface.co/datasets/user/fruit)" in text
    absent = str(model_card(alone, "user/two", CardArguments(comparison="user/gone"), api=api))
    assert "https://huggingface.co/datasets/user/gone" in absent and "| Training labels |" not in absent


def test_an_invalid_comparison_is_refused(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    with pytest.raises(UserError, match="--comparison must be"):
        model_card(folder / "runs" / "run-0", arguments=CardArguments(comparison="no/such/folder"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        model_card(folder / "runs" / "run-0", arguments=CardArguments(comparison=str(tmp_path / "empty")))
