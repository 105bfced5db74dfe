"""The pages about the entries of a comparison, and their links in its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tl_toolkit import UserError, explain
from tl_toolkit.comparison.report.entries import EXPLAINED
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.models import RnnConfig, RnnForSequenceClassification

TEXT = "the cat sat on the mat"


def test_a_report_links_the_pages_of_kept_models(tmp_path: Path, make_record: Any, write_lines: Any) -> None:
    records = [make_record(entry, budget, 1, 0.5) for entry in ("lstm", "gru") for budget in (10, 100)]
    write_lines(tmp_path, records)
    with pytest.raises(UserError, match="keep_models"):
        explain(text=TEXT, from_results=tmp_path)
    torch.manual_seed(1)
    tokenizer = build_tokenizer("word", [TEXT], min_frequency=1)
    model = RnnForSequenceClassification(RnnConfig(vocab_size=len(tokenizer), embedding_size=5, hidden_size=7))
    for record in records[:2]:
        model.save_pretrained(tmp_path / record["folder"])
        tokenizer.save_pretrained(tmp_path / record["folder"])
    found = explain(text=TEXT, from_results=tmp_path, views=["attributions"])
    assert isinstance(found.entries["gru"], UserError) and found.page == (tmp_path / "report.html").resolve()
    page = f"{records[1]['folder']}/{EXPLAINED}"  # of the largest budget
    assert found.entries["lstm"].page == tmp_path / page
    assert (
        f'<a href="{page}">' in found.page.read_text() and f"- [lstm]({page})" in (tmp_path / "report.md").read_text()
    )
    assert found.page.read_text().count("Look inside this model") == 1
    with pytest.raises(UserError, match="output_dir.*from_results"):
        explain(text=TEXT)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"words": "the {word}", "n": 0.5}}\n' for word in TEXT.split()))
    rows: dict[str, Any] = {"dataset_name": tmp_path / "rows.jsonl", "text_column": "words", "rows": 3}
    inside = explain(tmp_path / records[0]["folder"], **rows, views=["attributions"], output_dir=tmp_path / "inside")
    first = inside.numbers["attributions"].query("place == 0")
    assert set(first["text"]) == {0, 1, 2} and set(first["word"]) == {"the"}
