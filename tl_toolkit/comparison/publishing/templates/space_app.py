"""Classify a text with every model of a comparison, side by side.

`models.json` lists the models: folders next to this file, or repositories of the Hub at a commit. Custom code of a
model is run only if its `trust_remote_code` is true, which is set only for models of the Space's owner.
"""

from __future__ import annotations

import html
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SPACE = json.loads((HERE / "models.json").read_text(encoding="utf-8"))
LONGEST = 20_000  # maximum number of characters of a text
SHOWN = 5  # maximum number of labels shown for a model


@cache
def load(number: int) -> tuple[Any, Any]:
    """The tokenizer and the model of an entry, loaded on first use."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    entry = SPACE["models"][number]
    is_here = (HERE / entry["model"]).is_dir()
    place = str(HERE / entry["model"]) if is_here else entry["model"]
    options = {"trust_remote_code": entry["trust_remote_code"], "revision": entry["revision"] or "main"}
    if is_here:
        del options["revision"]
    model = AutoModelForSequenceClassification.from_pretrained(place, **options)
    return AutoTokenizer.from_pretrained(place, **options), model.eval()


def answer(number: int, text: str, pair: str = "") -> dict[str, Any]:
    """The prediction of one model: `scores` by label, highest first (or a `number`), and the time in `milliseconds`."""
    import torch

    tokenizer, model = load(number)
    texts = (text[:LONGEST], pair[:LONGEST]) if SPACE["pair"] else (text[:LONGEST],)
    started = time.perf_counter()
    inputs = tokenizer(*texts, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0].float()
    took = 1000 * (time.perf_counter() - started)
    if model.config.problem_type == "regression" or len(logits) == 1:
        return {"number": float(logits[0]), "milliseconds": took}
    several = model.config.problem_type == "multi_label_classification"
    chances = (logits.sigmoid() if several else logits.softmax(dim=-1)).tolist()
    named = {str(model.config.id2label[index]): chance for index, chance in enumerate(chances)}
    return {"scores": dict(sorted(named.items(), key=lambda item: -item[1])), "milliseconds": took}


def classify(text: str, pair: str = "") -> list[dict[str, Any]]:
    """The predictions of all models in the order of `models.json`; a model that fails has an `error` instead."""
    answers = []
    for number, entry in enumerate(SPACE["models"]):
        try:
            found = answer(number, text, pair)
        except Exception as error:  # noqa: BLE001  one missing model must not stop the others
            print(f"{entry['name']}: {error}")  # for the log of the Space
            found = {"error": f"This model failed ({type(error).__name__})."}
        answers.append({"name": entry["name"], "about": entry["about"], **found})
    return answers


def page(text: str, pair: str = "") -> str:
    """The predictions as an HTML table, with all text escaped."""
    if not text.strip():
        return "<p>Enter a text above.</p>"
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(own['name'])}"
        f"<br><small style='font-weight: normal'>{html.escape(own['about'])}</small></th>"
        f"<td>{_shown(own)}</td><td>{own.get('milliseconds', float('nan')):.0f} ms</td></tr>"
        for own in classify(text, pair)
    )
    head = "<tr><th scope='col'>Model</th><th scope='col'>Prediction</th><th scope='col'>Time</th></tr>"
    return f"<table style='width: 100%'><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _shown(own: dict[str, Any]) -> str:
    """The prediction of one model as HTML: its most probable labels, each with a bar."""
    if "error" in own:
        return html.escape(own["error"])
    if "number" in own:
        return f"{own['number']:.3g}"
    return "".join(
        f"<div><meter min='0' max='1' value='{chance:.4f}'></meter> {chance:.1%} {html.escape(label)}</div>"
        for label, chance in list(own["scores"].items())[:SHOWN]
    )


def main() -> None:
    """Start the page."""
    import gradio

    with gradio.Blocks(title=SPACE["title"]) as blocks:
        gradio.HTML(f"<h1>{html.escape(SPACE['title'])}</h1>")
        text = gradio.Textbox(label="Text", lines=3, max_length=LONGEST)
        pair = gradio.Textbox(label="Second text", lines=3, max_length=LONGEST, visible=SPACE["pair"])
        button = gradio.Button("Classify", variant="primary")
        table = gradio.HTML()
        button.click(page, [text, pair], table, api_name="classify")
        text.submit(page, [text, pair], table, api_name=False)
    blocks.launch()


if __name__ == "__main__":
    main()
