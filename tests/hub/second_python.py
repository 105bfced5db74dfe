"""Use published models in a Python where `import tl_toolkit` fails, as a user without the toolkit would.

    python second_python.py JOBS.json RESULTS.json

Each job names a repository, all heads of its family, the trained one, inputs, and a repository to push to.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from trained_families import answers_of
from transformers import AutoConfig, AutoTokenizer, Trainer, TrainingArguments, pipeline

PIPELINES = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForCausalLM": "text-generation",
}


def load(head: str, repo_id: str) -> Any:
    return getattr(transformers, head).from_pretrained(repo_id, trust_remote_code=True)


def do(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    repo_id, again, trained, inputs = job["repo_id"], job["again"], job["trained"], job["inputs"]
    result: dict[str, Any] = {"classes": {}}
    for head in job["heads"]:
        model = load(head, repo_id)
        result["classes"][head] = type(model).__name__
        if head == "AutoModel":
            result["body"] = answers_of(model, inputs)["output"]
    model = load(trained, repo_id)
    result["answers"] = answers_of(model, inputs)
    tokenizer = AutoTokenizer.from_pretrained(repo_id, trust_remote_code=True) if job["texts"] else None
    if trained in PIPELINES:
        pipe = pipeline(PIPELINES[trained], model=repo_id, trust_remote_code=True)
        options = {"max_new_tokens": 4, "do_sample": False} if trained == "AutoModelForCausalLM" else {}
        result["pipeline"] = json.loads(json.dumps(pipe(job["texts"], **options), default=float))
    if tokenizer is not None:
        result["ids"] = tokenizer(job["texts"])["input_ids"]

    rows = [{name: torch.tensor(values[row]) for name, values in inputs.items()} for row in range(2)]
    for row, labels in zip(rows, job["labels"], strict=True):
        row[job["label_name"]] = torch.tensor(labels)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    settings = {"max_steps": 1, "learning_rate": 0.1, "report_to": "none", "use_cpu": True, "save_strategy": "no"}
    arguments = TrainingArguments(str(folder), disable_tqdm=True, label_names=[job["label_name"]], **settings)
    Trainer(model, arguments, train_dataset=rows).train()
    result["changed"] = sum(not torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    model.push_to_hub(again)
    if tokenizer is not None:
        tokenizer.push_to_hub(again)
    tuned = answers_of(model, inputs)
    result["references"] = sorted(AutoConfig.from_pretrained(again, trust_remote_code=True).auto_map.values())
    result["same again"] = answers_of(load(trained, again), inputs) == tuned
    result["other head again"] = type(load(job["heads"][0], again)).__name__
    return result


if __name__ == "__main__":
    assert importlib.util.find_spec("tl_toolkit") is None, "this Python has the toolkit"
    jobs, results = Path(sys.argv[1]), Path(sys.argv[2])
    done = {name: do(job, results.parent / "trainer") for name, job in json.loads(jobs.read_text()).items()}
    assert not any(module.split(".")[0] == "tl_toolkit" for module in sys.modules)
    results.write_text(json.dumps(done))
