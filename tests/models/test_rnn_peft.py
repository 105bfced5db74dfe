"""LoRA on recurrent weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tl_toolkit.models import RnnConfig, RnnForSequenceClassification

IDS = torch.randint(0, 17, (5, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 2 + [1] * 5, [1, 0, 1, 0, 1, 0, 1], [1] + [0] * 6])
LABELS = torch.tensor([0, 1, 2, 1, 0])


@pytest.mark.parametrize(
    "cell_type, bidirectional", [("lstm", False), ("lstm", True), ("gru", True), ("rnn_tanh", False)]
)
def test_lora_on_recurrent_weights(cell_type: str, bidirectional: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 17, "embedding_size": 5, "hidden_size": 11, "num_hidden_layers": 2, "num_labels": 3}
    config = RnnConfig(**sizes, cell_type=cell_type, bidirectional=bidirectional, pooling="attention")
    base = RnnForSequenceClassification(config)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    base.save_pretrained(tmp_path / "base")
    lora = LoraConfig(
        r=3,
        lora_dropout=0.0,
        task_type="SEQ_CLS",
        target_modules=[],
        target_parameters=["forward_cell.weight_hh_l0", "backward_cell.weight_hh_l0"],
        modules_to_save=["classifier", "pooling"],
    )
    model = get_peft_model(base, lora)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = {name for name in trained if "lora_" in name}
    assert len(adapters) == 2 * 2 * (2 if bidirectional else 1)  # A and B, two layers, each direction
    assert all("modules_to_save" in name for name in trained - adapters)

    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        model(IDS, attention_mask=MASK, labels=LABELS).loss.backward()
        optimizer.step()
    model.eval()
    assert all(
        parameter.grad is not None and parameter.grad.any()
        for name, parameter in model.named_parameters()
        if name in adapters
    )
    adapted = model(IDS, attention_mask=MASK).logits
    with model.disable_adapter():
        assert not torch.allclose(model(IDS, attention_mask=MASK).logits, adapted, atol=1e-4)

    model.save_pretrained(tmp_path / "adapter")
    fresh = RnnForSequenceClassification.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    torch.testing.assert_close(loaded(IDS, attention_mask=MASK).logits, adapted)

    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(IDS, attention_mask=MASK).logits, adapted)
    after = merged.state_dict()
    assert set(after) == set(before)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed and all("weight_hh" in name or name.startswith(("classifier", "pooling")) for name in changed)
    merged.save_pretrained(tmp_path / "merged")
    reloaded = RnnForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    assert all(torch.equal(tensor, after[name]) for name, tensor in reloaded.state_dict().items())
