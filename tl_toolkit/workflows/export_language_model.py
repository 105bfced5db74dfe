"""The export of a causal language model, compared with the model on test texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..deployment.folder import GRAPH
from ..errors import UserError
from ..loading.model import load_trained, longest_input, shortest
from ..loading.tokenizer import load_tokenizer
from ..records.identity import identity_of_model
from ..tasks.language_modeling import CAUSAL, LanguageModeling
from .export_graph import Export
from .exported_forms import CLOSE, Forms, wrong_predictions

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset

_MOST_TOKENS = 256
"""The most tokens of a test text that forms are compared on."""


class LanguageModelForms(Forms):
    """The forms of a causal language model; texts are their rows."""

    @cached_property
    def parts(self) -> dict[str, Any]:
        from ..deployment.language_model import StatefulModel
        from ..deployment.parts import parts_of

        return parts_of(StatefulModel(self.model), ())

    def compare_texts(self, texts: Sequence[Sequence[int]]) -> dict[str, Any]:
        """As `compare`, for token ids of texts, each read alone: the mean loss of a token, and how often the most
        probable next token is the same."""
        import torch

        losses, chosen = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for form, model in self.forms.items():
            parts, best = [], []
            for own in texts:
                ids = torch.tensor([own])
                with torch.no_grad():
                    logits = model(ids)["logits"][0, :-1].float()
                parts.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").numpy())
                best.append(logits.argmax(dim=-1).numpy())
            losses[form], chosen[form] = np.concatenate(parts), np.concatenate(best)
        wrong = ~np.isclose(losses["pytorch"], losses["onnx"], atol=CLOSE, rtol=CLOSE)
        if wrong.any():
            raise wrong_predictions(int(wrong.sum()), f"{len(wrong)} tokens of the test texts")
        same = {form: float((own == chosen["pytorch"]).mean()) for form, own in chosen.items() if form != "pytorch"}
        metrics = {form: {"loss": float(own.mean())} for form, own in losses.items()}
        return {"count": len(texts), "main_metric": "loss", "metrics": metrics, "agreement": same}


class LanguageModelExport(Export):
    """The export of a causal language model."""

    forms: LanguageModelForms

    def _load(self) -> None:
        if self.request.run.measure:
            raise UserError("--measure needs a model that answers rows: leave it out for a language model.")
        self.tokenizer, self.trained = load_tokenizer(self.request.model), identity_of_model(self.name, None)
        self.processing = self.tokenizer
        self.model = load_trained(self.request.model, "AutoModelForCausalLM", self.tokenizer).eval()
        if getattr(self.model.config, "direction", "forward") != "forward":
            raise UserError(f"The model {self.name!r} reads texts from their end. Only forward ones can be exported.")
        self.limit = longest_input(self.model)

    def _forms(self, folder: Path) -> LanguageModelForms:
        return LanguageModelForms(self.model, self.name, None, self.tokenizer, self.limit, folder)

    def _read_rows(self) -> Dataset:
        texts = LanguageModeling(self.request.data, CAUSAL).prepare(self.request.run.seed, evaluate_only=True)
        return texts["test"] if "test" in texts else texts["validation"]

    def _compare(self, forms: Any) -> dict[str, Any] | None:
        if self.rows is None:
            return None
        assert self.tokenizer is not None
        most = shortest(self.limit, _MOST_TOKENS)
        starts = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]  # the text before ends
        texts = [[*starts, *self.tokenizer(text)["input_ids"]][:most] for text in self.rows["text"]]
        return forms.compare_texts([ids for ids in texts if len(ids) > 1])

    def _measure(self, forms: list[str]) -> dict[str, Any]:
        return {}

    def _facts_for_run(self) -> dict[str, Any]:
        assert self.tokenizer is not None
        ends = {"eos_token_id": self.tokenizer.eos_token_id, "max_length": self.limit, "pairs": False}
        return {"kind": "text", "states": self.forms.parts[GRAPH].module.shapes, **ends}
