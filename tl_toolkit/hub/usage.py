"""How a published model is used, as code: a few lines that need transformers and torch, and peft for an adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card_tasks import CardTask


@dataclass(frozen=True)
class Usage:
    """What decides about the code of a card.

    Attributes:
        name: what `from_pretrained` is given: a Hub id or a folder.
        task: what the model does.
        config: its `config.json`, that of the merged model for an adapter.
        record: the result record.
        remote_code: the repository holds the code of the model.
        two_tokenizers: what is written has a tokenizer of its own.
        variables: names of the columns of a series.
        base: what an adapter is put on; None for a whole model.
        base_revision: its commit, where it is known.
    """

    name: str
    task: CardTask
    config: Mapping[str, Any]
    record: Mapping[str, Any]
    remote_code: bool
    two_tokenizers: bool = False
    variables: Sequence[str] = ()
    base: str | None = None
    base_revision: str | None = None

    @property
    def trust(self) -> str:
        """The last argument of a call that loads something."""
        return ", trust_remote_code=True" if self.remote_code else ""

    def load(self, what: str, more: str = "") -> str:
        """A call of `from_pretrained`."""
        return f"{what}.from_pretrained({quoted(self.name)}{more}{self.trust})"


def usage_code(usage: Usage) -> str:
    """Code that loads the model and has it answer once; what it prints is the answer."""
    return _CODE[usage.task.kind](usage).strip() + "\n"


def quoted(text: str) -> str:
    """A text as a literal of Python."""
    return json.dumps(text, ensure_ascii=False)


def _pipeline(usage: Usage, called: str, *, tag: str | None = None) -> str:
    """The lines that make a pipeline."""
    tag = tag or usage.task.pipeline_tag
    if usage.base is None:
        return f"""
from transformers import pipeline

{called} = pipeline("{tag}", model={quoted(usage.name)}{usage.trust})
"""
    pinned = f", revision={quoted(usage.base_revision)}" if usage.base_revision else ""
    return f"""
from peft import PeftModel
from transformers import {usage.task.auto_class}, AutoTokenizer, pipeline

base = {usage.task.auto_class}.from_pretrained({quoted(usage.base)}{pinned}{_head(usage)}{usage.trust})
model = PeftModel.from_pretrained(base, {quoted(usage.name)}).merge_and_unload()
tokenizer = {usage.load("AutoTokenizer")}
{called} = pipeline("{tag}", model=model, tokenizer=tokenizer)
"""


def _head(usage: Usage) -> str:
    """What a base model has to be told to have the head that the adapter was trained with."""
    config = usage.config
    labels = config.get("id2label")
    if usage.task.kind == "regression":
        return f', num_labels={len(labels or "1")}, problem_type="regression"'
    if usage.task.kind not in ("text-classification", "token-classification") or not labels:
        return ""
    names = [str(name) for _, name in sorted(labels.items(), key=lambda pair: int(pair[0]))]
    problem = config.get("problem_type")
    told = f", problem_type={quoted(problem)}" if problem == "multi_label_classification" else ""
    return f", id2label=dict(enumerate({json.dumps(names, ensure_ascii=False)})){told}"


def _classification(usage: Usage) -> str:
    pair = ((usage.record.get("dataset") or {}).get("columns") or {}).get("text_pair")
    text = '{"text": "A text.", "text_pair": "Another text."}' if pair else '"A text to classify."'
    several = usage.config.get("problem_type") == "multi_label_classification"
    options = "truncation=True" + (", top_k=None" if several else "")
    comment = "  # the probability of every label" if several else ""
    return f"{_pipeline(usage, 'classify')}print(classify({text}, {options})){comment}\n"


def _regression(usage: Usage) -> str:
    pair = ((usage.record.get("dataset") or {}).get("columns") or {}).get("text_pair")
    text = '{"text": "A text.", "text_pair": "Another text."}' if pair else '["A text to rate."]'
    of_first = "" if pair else "[0]"
    return f'{_pipeline(usage, "rate")}answer = rate({text}, truncation=True){of_first}\nprint(answer["score"])\n'


def _tagging(usage: Usage) -> str:
    if usage.config.get("crf") or usage.config.get("character_encoder", "none") != "none":
        return _words(usage)
    grouped = bool((usage.record.get("task") or {}).get("tag_scheme"))
    option = ', aggregation_strategy="simple"' if grouped else ""
    return f'{_pipeline(usage, "tag")}print(tag("This is a sentence ."{option}))\n'


def _words(usage: Usage) -> str:
    """Tags of given words, for models whose best sequence of tags or whose characters no pipeline knows."""
    characters = usage.config.get("character_encoder", "none") != "none"
    spelt = """
known = {character: number for number, character in enumerate(model.config.character_vocabulary, start=2)}
longest = max(len(word) for word in words)
spelling = [[known.get(letter, 1) for letter in word] + [0] * (longest - len(word)) for word in words]
inputs["character_ids"] = torch.tensor([spelling])
"""
    return f"""
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

model = {usage.load("AutoModelForTokenClassification")}.eval()
tokenizer = {usage.load("AutoTokenizer")}
words = ["This", "is", "a", "sentence", "."]
inputs = tokenizer([words], is_split_into_words=True, return_tensors="pt")
{spelt.strip() if characters else ""}
with torch.no_grad():
    tags = model(**inputs).predicted_tags[0].tolist()  # the most probable sequence
print([(word, model.config.id2label[tag]) for word, tag in zip(words, tags)])
""".replace('"pt")\n\nwith', '"pt")\nwith')


def _translation(usage: Usage) -> str:
    prefix = (usage.record.get("arguments") or {}).get("source_prefix") or ""
    written = (
        f"target_tokenizer = {usage.load('AutoTokenizer', ', subfolder=' + quoted('target_tokenizer'))}\n"
        if usage.two_tokenizers
        else ""
    )
    reader = "target_tokenizer" if usage.two_tokenizers else "tokenizer"
    return f"""
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = {usage.load("AutoModelForSeq2SeqLM")}.eval()
tokenizer = {usage.load("AutoTokenizer")}
{written}inputs = tokenizer({quoted(prefix + "A text to rewrite.")}, return_tensors="pt")
with torch.no_grad():
    ids = model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"])
print({reader}.batch_decode(ids, skip_special_tokens=True)[0])
"""


def _captioning(usage: Usage) -> str:
    mode = "L" if usage.config.get("num_channels") == 1 else "RGB"
    return f"""
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

model = {usage.load("AutoModelForImageTextToText")}.eval()
processor = {usage.load("AutoImageProcessor")}
tokenizer = {usage.load("AutoTokenizer")}
image = Image.new("RGB", (64, 64), "white")  # Image.open("picture.png")
pixels = processor(image.convert("{mode}"), return_tensors="pt")["pixel_values"]
with torch.no_grad():
    ids = model.generate(pixels)
print(tokenizer.batch_decode(ids, skip_special_tokens=True)[0])
"""


def _forecasting(usage: Usage) -> str:
    names = ", ".join(" ".join(name.split()) for name in usage.variables)
    return f"""
import torch
from transformers import AutoModelForTimeSeriesPrediction

model = {usage.load("AutoModelForTimeSeriesPrediction")}.eval()
steps, variables = model.config.context_length, model.config.num_input_features
past = torch.zeros(1, steps, variables)  # the last values{f" of {names}" if names else ""}, in their own units
with torch.no_grad():
    forecast = model(past_values=past).prediction_outputs  # (series, steps, variables), in the same units
print(forecast)
"""


def _generation(usage: Usage) -> str:
    if usage.config.get("direction", "forward") != "forward":
        return f"""
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model = {usage.load("AutoModelForCausalLM")}.eval()  # reads from the end: it tells the token before
tokenizer = {usage.load("AutoTokenizer")}
inputs = tokenizer("the end of a text", return_tensors="pt")
with torch.no_grad():
    logits = model(inputs["input_ids"]).logits[0, 0]
print(tokenizer.decode(logits.argmax()))
"""
    return f'{_pipeline(usage, "write")}print(write("The ", max_new_tokens=20)[0]["generated_text"])\n'


def _filling(usage: Usage) -> str:
    return f'{_pipeline(usage, "fill")}print(fill(f"A {{fill.tokenizer.mask_token}} of words."))\n'


_CODE: dict[str, Callable[[Usage], str]] = {
    "text-classification": _classification,
    "regression": _regression,
    "token-classification": _tagging,
    "translation": _translation,
    "captioning": _captioning,
    "forecasting": _forecasting,
    "causal-language-modeling": _generation,
    "masked-language-modeling": _filling,
}


def carries_code(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder is loaded through code of its own."""
    return bool(config.get("auto_map")) and any(folder.glob("modeling_*.py"))
