"""Predict with the model in this folder. Needs onnxruntime, tokenizers and numpy.

python run.py "a text" "another one"      or a text on each line of standard input; words to tag are split at spaces,
and the two texts of a pair at a tab
"""

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Model:
    """Predicts for lists of texts, of pairs of texts, or of lists of words."""

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        self.facts = json.loads((folder / "export.json").read_text(encoding="utf-8"))["run"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if self.facts["max_length"]:
            self.tokenizer.enable_truncation(self.facts["max_length"])
        target = folder / "target_tokenizer" / "tokenizer.json"
        self.target_tokenizer = Tokenizer.from_file(str(target)) if target.exists() else self.tokenizer
        self.folder = folder
        self.session = self._session("model.onnx")
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]

    def _session(self, name: str) -> Any:
        return onnxruntime.InferenceSession(str(self.folder / name), providers=["CPUExecutionProvider"])

    def __call__(self, texts: list[Any]) -> list[Any]:
        """For each text `label` and `score`, a list of them, a number, or its continuation; for words their tags."""
        if self.facts["kind"] in ("text", "translation"):
            return [(self.continued if self.facts["kind"] == "text" else self.translated)(text) for text in texts]
        tagging = self.facts["kind"] == "tags"
        rows = [self._words(text) if tagging else text for text in texts]
        found = self.tokenizer.encode_batch(rows, is_pretokenized=tagging)
        length = max(len(own.ids or [0]) for own in found)
        fed = {name: np.zeros((len(rows), length), np.int64) for name in self.inputs if name != "character_ids"}
        fed["input_ids"] += self.facts["pad_token_id"]
        for row, own in enumerate(found):
            ids = own.ids or [self.facts["filler"]]  # a text without tokens
            parts = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": own.type_ids or [0]}
            for name in fed:
                fed[name][row, : len(ids)] = parts[name]
        if "character_ids" in self.inputs:
            fed["character_ids"] = self._characters(rows, found, length)
        results = dict(zip(self.outputs, self.session.run(None, fed), strict=True))
        if self.facts["kind"] == "tags":
            tags = results.get("predicted_tags", results["logits"].argmax(axis=-1))
            return [self._tags(tags[row], own, len(rows[row])) for row, own in enumerate(found)]
        return [self._answer(logits) for logits in results["logits"].astype(float)]

    def continued(self, text: str, max_new_tokens: int = 50) -> str:
        """The text with its most probable continuation."""
        state = {name: np.zeros((1, *shape), np.float32) for name, shape in self.facts["states"].items()}
        ids = written = self.tokenizer.encode(text).ids or [self.facts["eos_token_id"]]
        most = min(len(written) + max_new_tokens, self.facts["max_length"] or sys.maxsize)
        while len(written) < most:
            logits, *parts = self.session.run(None, {"input_ids": np.array([ids]), **state})
            state, ids = dict(zip(state, parts, strict=True)), [int(logits[0, -1].argmax())]
            if ids == [self.facts["eos_token_id"]]:
                break
            written = [*written, *ids]
        return str(self.tokenizer.decode(written))

    def translated(self, text: str) -> str:
        """The most probable target of the source, token by token."""
        ids = np.array([self.tokenizer.encode(self.facts["prefix"] + text).ids])
        fed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        encoder, names = self._session("encoder.onnx"), [node.name for node in self.session.get_inputs()]
        fed |= dict(zip((node.name for node in encoder.get_outputs()), encoder.run(None, fed), strict=True))
        fed.setdefault("past_vector", np.zeros((1, self.facts["hidden_size"]), np.float32))
        written = [self.facts["start"]]
        for _ in range(self.facts["max_new_tokens"]):
            fed["input_ids"] = np.array([written[-1:]])
            results = self.session.run(None, {name: fed[name] for name in names})
            fed |= {name.replace("present", "past"): own for name, own in zip(self.outputs, results, strict=True)}
            written.append(int(fed["logits"][0, -1].argmax()))
            if written[-1] == self.facts["eos_token_id"]:
                break
        return str(self.target_tokenizer.decode(written))

    def _words(self, words: Any) -> list[str]:
        words = [unicodedata.normalize("NFC", word) for word in (words.split() if isinstance(words, str) else words)]
        unknown = self.facts["unknown"]
        read = [word if unknown is None or self._has_tokens(word) else unknown for word in words]
        return read or [unknown or ""]

    def _has_tokens(self, word: str) -> bool:
        return bool(self.tokenizer.encode([word], is_pretokenized=True, add_special_tokens=False).ids)

    def _characters(self, rows: list[list[str]], found: list[Any], length: int) -> np.ndarray:
        known = {character: place for place, character in enumerate(self.facts["characters"], start=2)}
        widest = max(len(word) or 1 for words in rows for word in words)
        ids = np.zeros((len(rows), length, widest), np.int64)
        for row, own in enumerate(found):
            for word, place in _beginnings(own).items():
                spelled = [known.get(character, 1) for character in rows[row][word]]
                ids[row, place, : len(spelled)] = spelled
        return ids

    def _tags(self, tags: np.ndarray, found: Any, words: int) -> list[str | None]:
        places = _beginnings(found)
        return [self.facts["labels"][tags[places[word]]] if word in places else None for word in range(words)]

    def _answer(self, logits: np.ndarray) -> Any:
        if self.facts["kind"] == "numbers":
            return float(logits[0]) if len(logits) == 1 else logits.tolist()
        if self.facts["kind"] == "label":
            scores = np.exp(logits - logits.max())
            scores /= scores.sum()
            return {"label": self.facts["labels"][scores.argmax()], "score": float(scores.max())}
        scores = 0.5 * (1 + np.tanh(0.5 * logits))
        applying = np.flatnonzero(scores > 0.5)
        return [{"label": self.facts["labels"][place], "score": float(scores[place])} for place in applying]


def _beginnings(found: Any) -> dict[int, int]:
    """The first token of each word."""
    places: dict[int, int] = {}
    for place, word in enumerate(found.word_ids):
        if word is not None:
            places.setdefault(word, place)
    return places


if __name__ == "__main__":
    model = Model()
    for text in sys.argv[1:] or map(str.rstrip, sys.stdin):
        one: Any = tuple(text.split("\t", 1)) if model.facts["pairs"] else text
        print(json.dumps(model([one])[0], ensure_ascii=False))
