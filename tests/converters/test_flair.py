"""Flair's character models: logits, characters, and bits per character on English text."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tl_toolkit.converters.flair import character_tokenizer, convert_flair, read_flair
from tl_toolkit.errors import UserError
from tl_toolkit.workflows.convert import ConvertArguments, convert

ITEMS = ["<unk>", " ", "e", "\n", "E", "é", ".", "\u65e5", "<", ">", "u"]
EMBEDDING, HIDDEN = 5, 7
ENGLISH = (
    "The government said on Tuesday that it would increase spending on schools and hospitals next year, as part of a "
    "plan to help the economy recover from the crisis. Officials said the measures would be announced by the end of "
    "the month. The president told reporters that he was confident the plan would work. But critics said it was too "
    'little, too late. "We need to see more action," said one of the opposition leaders.'
)


def random_weights(depth: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(3)
    parts = {
        "encoder": nn.Embedding(len(ITEMS), EMBEDDING),
        "rnn": nn.LSTM(EMBEDDING, HIDDEN, depth),
        "decoder": nn.Linear(HIDDEN, len(ITEMS)),
    }
    return {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def independent_logits(weights: dict[str, Tensor], ids: Tensor, depth: int = 1) -> Tensor:
    """Flair's output for a text in reading order: (time,) -> (time, characters)."""
    weights = {name: tensor.float() for name, tensor in weights.items()}
    vectors = weights["encoder.weight"][ids]
    rnn = nn.LSTM(vectors.shape[1], weights["rnn.weight_hh_l0"].shape[1], depth)
    rnn.load_state_dict({name[4:]: tensor for name, tensor in weights.items() if name.startswith("rnn.")})
    with torch.no_grad():
        return rnn(vectors)[0] @ weights["decoder.weight"].T + weights["decoder.bias"]


def write_folder(folder: Path, weights: dict[str, Tensor], **changes: object) -> Path:
    folder.mkdir()
    save_file({name: tensor.half() for name, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"idx2item": ITEMS, "is_forward": True, **changes}))
    return folder


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("is_forward", [True, False])
def test_logits_equal_those_of_a_plain_lstm(tmp_path, depth, is_forward):
    weights = random_weights(depth)
    source = write_folder(tmp_path / "in", weights, is_forward=is_forward)
    convert(ConvertArguments(str(tmp_path / "out"), source="flair", weights=str(source)))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float32 and model.config.direction == ("forward" if is_forward else "backward")
    assert (tmp_path / "out" / "modeling_rnn.py").exists()
    ids = torch.randint(len(ITEMS), (1, 13), generator=torch.Generator().manual_seed(1))
    order = ids[0] if is_forward else ids[0].flip(0)
    expected = independent_logits({name: tensor.half() for name, tensor in weights.items()}, order, depth)
    with torch.no_grad():
        logits = model(ids).logits[0]
    torch.testing.assert_close(logits, expected if is_forward else expected.flip(0), atol=1e-6, rtol=0)


def test_flairs_own_file(tmp_path, monkeypatch):
    module = ModuleType("flair.data")

    class Dictionary:
        def __init__(self) -> None:
            self.idx2item = [item.encode() for item in ITEMS]
            self.item2idx = {item: index for index, item in enumerate(self.idx2item)}
            self.add_unk = self.multi_label = False

    Dictionary.__module__, Dictionary.__qualname__ = "flair.data", "Dictionary"
    module.Dictionary = Dictionary
    weights = random_weights()
    state = {
        "state_dict": weights,
        "dictionary": Dictionary(),
        "is_forward_lm": False,
        "hidden_size": HIDDEN,
        "nlayers": 1,
        "embedding_size": EMBEDDING,
        "nout": None,
        "document_delimiter": "\n",
        "dropout": 0.25,
        "recurrent_type": "LSTM",
        "has_decoder": True,
    }
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "flair", ModuleType("flair"))
        patched.setitem(sys.modules, "flair.data", module)
        for protocol in (2, 4):  # of the released files and of Flair 0.15
            torch.save(state, tmp_path / f"{protocol}.pt", pickle_protocol=protocol)
    for protocol in (2, 4):
        model, tokenizer = convert_flair(read_flair(tmp_path / f"{protocol}.pt", None, None))
        assert model.config.direction == "backward" and model.config.embedding_dropout == 0.25
        assert [tokenizer.convert_ids_to_tokens(index) for index in range(len(ITEMS))] == ITEMS
        assert torch.equal(model.rnn.embedding.weight, weights["encoder.weight"])
    assert "flair" not in sys.modules


def test_characters_have_flairs_ids(tmp_path):
    tokenizer = character_tokenizer(ITEMS)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    known = {item: index for index, item in enumerate(ITEMS)}
    for text in ("E e\n\n  \u00e9.", "\u65e5\t\u2603\r\ne", "<unk> e", "  ", "", "e\u0301\u00e9"):
        expected = [known.get(character, 0) for character in text]
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"] == expected
    assert loaded.decode(loaded("E e\n\n  \u00e9.")["input_ids"]) == "E e\n\n  \u00e9."
    padded = loaded(["ee", "e"], padding=True)
    assert padded["attention_mask"] == [[1, 1], [1, 0]]


def test_unsupported_input_is_refused(tmp_path):
    weights = random_weights()
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="have no list of characters.*--vocab"):
        read_flair(tmp_path, None, "forward")
    (tmp_path / "v.json").write_text(json.dumps(ITEMS))
    with pytest.raises(UserError, match="--direction"):
        read_flair(tmp_path, tmp_path / "v.json", None)
    model, _ = convert_flair(read_flair(tmp_path, tmp_path / "v.json", "backward"))
    assert model.config.direction == "backward"
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read_flair(tmp_path / "nowhere", None, None)
    source = read_flair(tmp_path, tmp_path / "v.json", "forward")
    with pytest.raises(UserError, match=r"projection.*nout"):
        convert_flair(source._replace(weights={**weights, "proj.weight": torch.ones(3, HIDDEN)}))
    with pytest.raises(UserError, match="have 11 characters, but the vocabulary has 10"):
        convert_flair(source._replace(items=ITEMS[:-1]))
    with pytest.raises(UserError, match=r"decoder\.bias"):
        convert_flair(source._replace(weights={k: v for k, v in weights.items() if k != "decoder.bias"}))
    with pytest.raises(UserError, match="'e' twice"):
        character_tokenizer([*ITEMS, "e"])
    with pytest.raises(UserError, match="no '<unk>'"):
        character_tokenizer(ITEMS[1:])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_released_models_know_english(test_data, tmp_path, direction):
    """Measured: 1.47 and 1.46 bits per character, after the line break that starts a text in Flair."""
    folder = test_data / "weights" / f"flair-news-{direction}-fast"
    convert(ConvertArguments(str(tmp_path / "out"), source="flair", weights=str(folder)))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.direction == direction and len(tokenizer) == 275

    def bits(text: str) -> tuple[float, Tensor, Tensor]:
        ids = tokenizer("\n" + text if direction == "forward" else text + "\n", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            outputs = model(ids, labels=ids)
        return outputs.loss.item() / math.log(2), ids[0], outputs.logits[0]

    measured, ids, logits = bits(ENGLISH)
    assert 1.3 < measured < 1.5
    assert bits(ENGLISH[::-1])[0] > 3  # the direction of the weights is correct
    weights = load_file(folder / "model.safetensors")
    expected = independent_logits(weights, ids if direction == "forward" else ids.flip(0))
    torch.testing.assert_close(logits if direction == "forward" else logits.flip(0), expected, atol=1e-5, rtol=0)
