"""The usage code of every type of card, executed against the Hub where the toolkit cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parent))

from huggingface_hub import HfApi, ModelCard  # noqa: E402
from server import HubServer  # noqa: E402

from tl_toolkit.hub.arguments import parse_publish_arguments  # noqa: E402
from tl_toolkit.hub.publishing import publish  # noqa: E402

RUN = """
import contextlib, io, json, sys
sys.modules["tl_toolkit"] = None  # cannot be imported
outputs = {}
for name, code in json.load(open(sys.argv[1])).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    outputs[name] = output.getvalue()
print(json.dumps(outputs))
"""
WORDS = ["iron", "tin", "apple", "pear", "rhine", "rhone"]


def texts(folder: Path) -> dict[str, Any]:
    """Texts of words from three classes, also used for language models, with ratings for regression."""
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(WORDS, 7)) for _ in range(61)]
    labels = [["metal", "fruit", "river"][WORDS.index(row.split()[0]) // 2] for row in rows]
    frame = pd.DataFrame({"text": rows, "label": labels, "rating": [float(len(row)) for row in rows]})
    frame.to_csv(folder / "texts.csv", index=False)
    return {"dataset_name": str(folder / "texts.csv"), "text_column": "text", "label_column": "label"}


def tags(folder: Path) -> dict[str, Any]:
    """Sentences with names tagged."""
    words = [["a", "dr", "rex", "of", "leo"][: 2 + row % 4] for row in range(61)]
    entity = [["B-P" if word == "rex" else "O" for word in own] for own in words]
    pd.DataFrame({"tokens": words, "ner_tags": entity}).to_parquet(folder / "tags.parquet")
    return {"dataset_name": str(folder / "tags.parquet"), "task": "token-classification"}


def pairs(folder: Path) -> dict[str, Any]:
    """Words and their upper-case forms."""
    frame = pd.DataFrame({"source": WORDS * 11, "target": [word.upper() for word in WORDS] * 11})
    frame.to_csv(folder / "pairs.csv", index=False)
    return {"dataset_name": str(folder / "pairs.csv"), "task": "translation", "tokenizer_name": "char"}


def series(folder: Path) -> dict[str, Any]:
    """Two variables with a season of seven days."""
    steps = np.arange(83)
    values = {"x": np.sin(2 * np.pi * steps / 7), "y": steps % 5 + 0.5}
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=83, freq="D"), **values})
    frame.to_csv(folder / "series.csv", index=False)
    lengths = {"context_length": 11, "prediction_length": 5}
    return {"dataset_name": str(folder / "series.csv"), "task": "forecasting", **lengths}


def pictures(folder: Path) -> dict[str, Any]:
    """Handwritten digits."""
    budgets = {"label_budget": 23, "validation_budget": 5, "test_budget": 5}
    return {"dataset_name": "builtin:digits", "task": "captioning", **budgets}


RNN = {"model_type": "rnn", "config_overrides": "embedding_size=5,hidden_size=7"}
TAGGER = {"model_type": "rnn", "config_overrides": "embedding_size=5,hidden_size=7,crf=true,character_encoder=cnn"}
SELF_ATTENTION = "embedding_size=8,hidden_size=8,num_attention_heads=2,intermediate_size=8"
CAPTIONER = "encoder_channels=[7,11],encoder_stride=4,embedding_size=5,hidden_size=7"
RUNS: dict[str, tuple[Callable[[Path], dict[str, Any]], dict[str, Any]]] = {
    "classifier": (texts, RNN),
    "rater": (
        texts,
        {"task": "regression", "label_column": "rating", "model_type": "self_attention"}
        | {"config_overrides": SELF_ATTENTION},
    ),
    "counter": (texts, {"model_type": "bag_of_ngrams", "num_train_epochs": 0}),
    "tagger": (tags, TAGGER),
    "plain_tagger": (tags, RNN),
    "translator": (
        pairs,
        {"model_type": "rnn_encoder_decoder", "config_overrides": "embedding_size=5,hidden_size=7"}
        | {"shared_vocabulary": False},
    ),
    "forecaster": (series, {"model_type": "rnn", "config_overrides": "hidden_size=7"}),
    "captioner": (pictures, {"model_type": "rnn_image_captioner", "config_overrides": CAPTIONER}),
}
COMMON = {"use_cpu": True, "disable_tqdm": True, "num_train_epochs": 1, "logging_steps": 1, "save_strategy": "no"}
COMMON |= {"load_best_model_at_end": False, "per_device_train_batch_size": 11}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A trained model of every task, and some untrained models of transformers."""
    from tl_toolkit.config.parsing import arguments_from
    from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
    from tl_toolkit.workflows import inference_cost as inference
    from tl_toolkit.workflows.finetune import finetune
    from tl_toolkit.workflows.pretrain import pretrain

    monkeypatch.setattr(inference, "SECONDS", 0.01)
    folders = {}
    for name, (data, settings) in RUNS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        folders[name] = tmp_path / name
        finetune(
            arguments_from(
                {**COMMON, **data(tmp_path / "data" / name), **settings, "output_dir": str(folders[name])}, ""
            )
        )
    language = {"dataset_name": str(tmp_path / "data/classifier/texts.csv"), "text_column": "text"}
    for name, direction in (("writer", "forward"), ("backward_writer", "backward")):
        folders[name] = tmp_path / name
        overrides = f"{RNN['config_overrides']},direction={direction}"
        asked = {**COMMON, **language, **RNN, "config_overrides": overrides, "output_dir": str(folders[name])}
        pretrain(pretrain_arguments_from({**asked, "tokenizer_name": "bpe", "per_device_train_batch_size": 3}, ""))
    folders["adapter"] = tmp_path / "adapter"
    asked = {**COMMON, **texts(tmp_path / "data" / "classifier"), "strategy": "lora"}
    finetune(
        arguments_from(
            {**asked, "model_name_or_path": str(folders["writer"]), "output_dir": str(folders["adapter"])}, ""
        )
    )
    return folders | untrained(tmp_path)


def untrained(place: Path) -> dict[str, Path]:
    """Models of transformers without a result record."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertForSequenceClassification,
        BertForTokenClassification,
        PreTrainedTokenizerFast,
    )

    special = {"unk_token": "[UNK]", "mask_token": "[MASK]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), "A", "of", "words", "."])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=16, **special)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=len(vocabulary), **sizes)
    several = BertConfig(vocab_size=len(vocabulary), num_labels=3, problem_type="multi_label_classification", **sizes)
    folders = {}
    for name, model in {
        "gap_filler": BertForMaskedLM(config),
        "labeller": BertForSequenceClassification(several),
        "bert_tagger": BertForTokenClassification(config),
    }.items():
        folders[name] = place / name
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


def number_of(folder: Path, text: str) -> float:
    """The raw prediction of a regression model, not a probability."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return float(model(**AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")).logits)


def test_the_code_of_every_card_runs_without_the_toolkit(
    models: dict[str, Path], hub: HubServer, tmp_path: Path
) -> None:
    api, codes = HfApi(endpoint=hub.endpoint, token=hub.token), {}
    for name, folder in models.items():
        base = ["--base_model", "user/writer"] if name == "adapter" else []
        publish(parse_publish_arguments([str(folder), "--repo_id", f"user/{name}", *base]), api, lambda line: None)
        card = ModelCard(hub.files(f"user/{name}")["README.md"].decode())
        card.validate()
        codes[name] = card.content.split("```python\n")[1].split("```")[0]
        ours = name not in ("gap_filler", "labeller", "bert_tagger")
        assert ("trust_remote_code" in codes[name]) is ours
        assert str(tmp_path) not in card.content
    (tmp_path / "codes.json").write_text(json.dumps(codes))
    environment = hub.environment(OMP_NUM_THREADS="1")
    command = [sys.executable, "-c", RUN, str(tmp_path / "codes.json")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    output = {name: text.strip() for name, text in json.loads(done.stdout.splitlines()[-1]).items()}
    classes = ("metal", "fruit", "river")
    assert "label" in output["classifier"] and any(label in output["classifier"] for label in classes)
    assert any(label in output["adapter"] for label in classes)
    assert float(output["rater"]) == pytest.approx(number_of(models["rater"], "A text to rate."), abs=1e-5)
    assert output["tagger"].count("('") == 5 and "sentence" in output["tagger"]
    assert output["labeller"].count("'label'") == 3 and "LABEL_" in output["bert_tagger"]
    assert output["forecaster"].startswith("tensor(") and output["forecaster"].count("[") == 1 + 1 + 5
    assert output["writer"].startswith("The ")
    assert "'token_str'" in output["gap_filler"]
    assert set(output) == set(models)
