"""What runs share within a comparison, and that sharing changes no result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit import shared_work
from tl_toolkit.data import tokenizers
from tl_toolkit.models import RnnConfig, RnnForCausalLM, RnnForSequenceClassification
from tl_toolkit.records.cost import architecture
from tl_toolkit.shared_work import not_sharing, shared, sharing
from tl_toolkit.tasks import text
from tl_toolkit.workflows import inference_cost

Finetune = Callable[..., dict[str, Any]]


def test_a_result_is_computed_once_within_the_outermost_context() -> None:
    calls: list[int] = []

    def ask(key: int | None) -> None:
        shared("number", lambda: key, lambda: calls.append(key or 0))

    ask(1)
    with sharing():
        ask(1), ask(1), ask(2)
        with sharing():
            ask(2)
        with not_sharing():
            ask(2)
        ask(1), ask(None), ask(None)
    ask(1)
    assert calls == [1, 1, 2, 2, 0, 0, 1]


def test_the_results_that_were_not_used_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_work, "LIMIT_BYTES", 20)
    computed: list[int] = []

    def ask(size: int) -> None:
        shared("bytes", lambda: size, lambda: computed.append(size) or bytes(size), len)

    with sharing():
        ask(7), ask(11), ask(7), ask(5)  # 11 was not used for longest
        ask(7), ask(23)  # more than the limit alone
        ask(5), ask(11)
    assert computed == [7, 11, 5, 23, 11]


def test_shared_runs_are_those_that_compute_everything(
    finetune: Finetune, tiny_rnn: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_cost, "SECONDS", 0.05)
    calls: list[str] = []

    def counted(module: Any, name: str) -> None:
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: (calls.append(name), own(*a, **k))[1])

    for place in ((tokenizers, "build_tokenizer"), (text, "encode_texts"), (inference_cost, "_measure")):
        counted(*place)
    tiny_rnn |= {"label_budget": "40"}
    runs = {"a": ("one", 1), "b": ("one", 2), "c": ("other", 1), "d": ("one", 1)}

    def run(folder: str) -> dict[str, dict[str, Any]]:
        settings = {key: {"name": name, "run_name": key, "seed": seed} for key, (name, seed) in runs.items()}
        return {key: finetune(f"{folder}/{key}", **tiny_rnn, **own) for key, own in settings.items()}

    with sharing():
        together = run("together")
    # The seeds draw other training rows, so their vocabularies differ; the entries are measured each.
    assert [calls.count(name) for name in ("build_tokenizer", "encode_texts", "_measure")] == [2, 6, 2]
    alone = run("alone")
    for key, record in together.items():
        inference = record["cost"]["inference"]
        assert inference.get("measured_in") == {"b": "a", "d": "a"}.get(key)
        assert "measured_in" not in alone[key]["cost"]["inference"] and inference["latency_seconds"] > 0
        assert {**record, "artefacts": 0, "cost": 0} == {**alone[key], "artefacts": 0, "cost": 0} | {
            name: record[name] for name in ("started", "finished", "checksum", "history")
        }
        files = [{name: own for name, own in one["artefacts"].items()} for one in (record, alone[key])]
        assert files[0] == files[1]  # weights, tokenizer and predictions by their hashes
    assert together["a"]["metrics"] == together["d"]["metrics"] != together["b"]["metrics"]


def test_an_architecture_is_all_but_weights_and_words(tmp_path: Path) -> None:
    sizes = {"embedding_size": 5, "hidden_size": 7, "num_hidden_layers": 1}

    def kind(model: type = RnnForSequenceClassification, vocab_size: int = 11, **settings: Any) -> str:
        return architecture(model(RnnConfig(vocab_size=vocab_size, **{**sizes, **settings})))

    assert kind() == kind(vocab_size=13)
    assert len({kind(), kind(hidden_size=13), kind(bidirectional=True), kind(num_labels=3), kind(RnnForCausalLM)}) == 5
    tied = {"embedding_size": 7, "tie_word_embeddings": True}
    for more in ({}, tied):  # words are rows of the output layer
        assert kind(RnnForCausalLM, **more) != kind(RnnForCausalLM, vocab_size=13, **more)
    model = RnnForSequenceClassification(RnnConfig(vocab_size=11, **sizes))
    model.save_pretrained(tmp_path)  # changes its configuration
    assert architecture(model) == kind()
