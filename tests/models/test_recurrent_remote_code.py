"""A saved folder loads in a Python without the toolkit, with any head from any other head's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tl_toolkit.models import (
    AwdLstmConfig,
    AwdLstmForCausalLM,
    AwdLstmForSequenceClassification,
    RnnConfig,
    RnnForCausalLM,
    RnnForMaskedLM,
    RnnForSequenceClassification,
)

# Runs in a Python where `import tl_toolkit` fails; prints the outputs of each head, and saves one head again.
SCRIPT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tl_toolkit":
            raise ModuleNotFoundError("no toolkit here")

sys.meta_path.insert(0, Absent())
import torch
import transformers

ids = torch.tensor([[5, 2, 7, 0], [3, 3, 1, 6]])
mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
heads = sys.argv[1].split(",")
result = {}
for folder in sys.argv[2:]:
    found = result[folder] = {}
    for name in heads:
        model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True).eval()
        found[name] = [type(model).__name__, model(ids, attention_mask=mask)[0].tolist()]
        if name == "AutoModelForSequenceClassification":
            model.save_pretrained(folder + "_again")
        if name == "AutoModelForCausalLM":
            found["generated"] = model.generate(ids, attention_mask=mask, max_new_tokens=5, num_beams=2).tolist()
assert not any(name.split(".")[0] == "tl_toolkit" for name in sys.modules)
print(json.dumps(result))
"""


@pytest.mark.parametrize(
    "config_class, language_model, classifier",
    [
        (RnnConfig, RnnForCausalLM, RnnForSequenceClassification),
        (AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification),
    ],
    ids=["rnn", "awd_lstm"],
)
def test_loads_without_the_toolkit(config_class: type, language_model: type, classifier: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 11, "embedding_size": 5, "hidden_size": 7, "num_hidden_layers": 2, "num_labels": 3}
    models = [head(config_class(**sizes, eos_token_id=1)).eval() for head in (language_model, classifier)]
    # A forecaster reads numbers, and masks are filled in by a network that reads both ways.
    others = ("AutoConfig", "AutoModelForTimeSeriesPrediction", "AutoModelForMaskedLM")
    heads = [name for name in config_class.auto_classes if name not in others]
    folders = [tmp_path / type(model).__name__ for model in models]
    for model, folder in zip(models, folders, strict=True):
        model.save_pretrained(folder)
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, ",".join(heads), *map(str, folders)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])

    ids = torch.tensor([[5, 2, 7, 0], [3, 3, 1, 6]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    for model, folder in zip(models, folders, strict=True):
        found = result[str(folder)]
        for auto_class in heads:
            assert found[auto_class][0] == config_class.auto_classes[auto_class].split(".")[1]
        torch.testing.assert_close(torch.tensor(found["AutoModel"][1]), model.base_model(ids, attention_mask=mask)[0])
        torch.testing.assert_close(torch.tensor(found[model._auto_class][1]), model(ids, attention_mask=mask)[0])
        # A model that was loaded and saved again there includes the code, and loads here.
        again = Path(f"{folder}_again")
        for file in folder.glob("*.py"):
            assert (again / file.name).read_text() == file.read_text()
        reloaded = classifier.from_pretrained(again).eval()
        expected = torch.tensor(found["AutoModelForSequenceClassification"][1])
        torch.testing.assert_close(reloaded(ids, attention_mask=mask).logits, expected)
    generated = models[0].generate(ids, attention_mask=mask, max_new_tokens=5, num_beams=2)
    assert result[str(folders[0])]["generated"] == generated.tolist()


def test_a_masked_language_model_loads_without_the_toolkit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = RnnForMaskedLM(RnnConfig(vocab_size=11, embedding_size=5, hidden_size=7, bidirectional=True)).eval()
    model.save_pretrained(tmp_path / "model")
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, "AutoModelForMaskedLM", str(tmp_path / "model")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, logits = json.loads(done.stdout.splitlines()[-1])[str(tmp_path / "model")]["AutoModelForMaskedLM"]
    ids, mask = torch.tensor([[5, 2, 7, 0], [3, 3, 1, 6]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    assert name == "RnnForMaskedLM"
    torch.testing.assert_close(torch.tensor(logits), model(ids, attention_mask=mask).logits)


def test_saved_files_only_import_each_other(tmp_path: Path) -> None:
    RnnForCausalLM(RnnConfig(vocab_size=11, embedding_size=5, hidden_size=7)).save_pretrained(tmp_path)
    carried = {path.stem for path in tmp_path.glob("*.py")}
    shared = {"character_features", "crf", "pooling", "rnn_cache", "rnn_generation", "sequence_classification"}
    shared |= {"rnn_layers", "rnn_model", "rnn_pretrained", "rnn_search", "token_order"}
    heads = {"modeling_rnn_time_series", "modeling_rnn_token_classification"}
    assert {"configuration_rnn", "modeling_rnn", "strict_config", *heads, *shared} == carried
    for path in tmp_path.glob("*.py"):
        assert "tl_toolkit" not in path.read_text()
