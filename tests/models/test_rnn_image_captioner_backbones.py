"""Captioners with backbones of transformers, and loading of saved captioners."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    BertConfig,
    CLIPVisionConfig,
    ConvNextConfig,
    ResNetBackbone,
    ResNetConfig,
    ViTConfig,
)
from transformers.utils import is_timm_available

from tl_toolkit.models import RnnImageCaptionerConfig, RnnImageCaptionerForConditionalGeneration

DECODER = {
    "vocab_size": 29,
    "embedding_size": 11,
    "hidden_size": 13,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 2,
}
RESNET = {"embedding_size": 4, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
TRANSFORMER = {
    "image_size": 24, "patch_size": 8, "hidden_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 7,
}  # fmt: skip


def captioner(**fields: Any) -> RnnImageCaptionerForConditionalGeneration:
    torch.manual_seed(5)
    return RnnImageCaptionerForConditionalGeneration(RnnImageCaptionerConfig(**{**DECODER, **fields})).eval()


@pytest.mark.parametrize(
    ("backbone", "pixels", "features", "grid"),
    [
        (ResNetConfig(**RESNET), (3, 40, 24), 12, (5, 3)),
        (ConvNextConfig(num_stages=2, hidden_sizes=[8, 12], depths=[1, 1], num_channels=1), (1, 40, 24), 12, (5, 3)),
        (ViTConfig(**TRANSFORMER), (3, 24, 24), 10, (3, 3)),
        (CLIPVisionConfig(**TRANSFORMER, projection_dim=5), (3, 24, 24), 10, (3, 3)),
    ],
    ids=["resnet", "convnext", "vit", "clip"],
)
@torch.no_grad()
def test_a_backbone_computes_the_grid(backbone, pixels, features, grid):
    sized = {} if hasattr(backbone, "patch_size") and pixels[1] == 24 else {"image_size": list(pixels[1:])}
    model = captioner(backbone_config=backbone, **sized)
    assert (model.config.num_channels, *model.config.image_height_and_width) == pixels
    batch = torch.rand(2, *pixels)
    outputs = model(batch, labels=torch.tensor([[3, 4, 1], [5, 1, -100]]), output_attentions=True)
    assert outputs.encoder_last_hidden_state.shape == (2, grid[0] * grid[1], features)
    assert outputs.cross_attentions[0].shape == (2, 1, 3, grid[0] * grid[1])
    assert model.grid_size(grid[0] * grid[1]) == grid
    if type(backbone) is ViTConfig:  # the class token is not part of the grid
        tokens = model.captioner.encoder.network.model(batch).last_hidden_state
        assert torch.equal(outputs.encoder_last_hidden_state, tokens[:, 1:])


def test_a_frozen_backbone_does_not_change(tmp_path):
    model = captioner(backbone_config=ResNetConfig(**RESNET), freeze_backbone=True)
    model.save_pretrained(tmp_path)
    for own in (model, RnnImageCaptionerForConditionalGeneration.from_pretrained(tmp_path)):
        own.train()
        frozen = {name for name, parameter in own.named_parameters() if not parameter.requires_grad}
        assert frozen == {name for name, _ in own.named_parameters() if ".encoder.network." in name}
        before = {name: buffer.clone() for name, buffer in own.named_buffers()}
        own(torch.rand(2, 3, 40, 24), labels=torch.tensor([[3, 1], [4, 1]])).loss.backward()
        assert before and all(torch.equal(buffer, before[name]) for name, buffer in own.named_buffers())
    tuned = captioner(backbone_config=ResNetConfig(**RESNET)).train()
    tuned(torch.rand(2, 3, 40, 24), labels=torch.tensor([[3, 1], [4, 1]])).loss.backward()
    assert all(parameter.grad is not None for parameter in tuned.captioner.encoder.parameters())


def test_pretrained_weights_are_only_loaded_into_a_new_model(tmp_path):
    """A new model starts with the backbone's weights; a saved model has its own and no longer needs the backbone."""
    torch.manual_seed(9)
    source = ResNetBackbone(ResNetConfig(**RESNET))
    source.save_pretrained(tmp_path / "backbone")
    named = {"backbone": str(tmp_path / "backbone"), "image_size": [40, 24]}
    assert RnnImageCaptionerConfig(**DECODER, **named).backbone_config.hidden_sizes == [8, 12]
    model = captioner(**named, use_pretrained_backbone=True)
    network = model.captioner.encoder.network.model
    for name, tensor in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    random = captioner(**named).captioner.encoder.network.model
    first = "embedder.embedder.convolution.weight"
    assert not torch.equal(random.state_dict()[first], source.state_dict()[first])

    with torch.no_grad():
        network.state_dict()[first].add_(1.0)  # as training does
    model.save_pretrained(tmp_path / "captioner")
    shutil.rmtree(tmp_path / "backbone")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "captioner")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_model_that_is_not_a_backbone_raises_an_error():
    with pytest.raises(ValueError, match="BertConfig is not the configuration of a vision model"):
        captioner(backbone_config=BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=7))


@pytest.mark.skipif(is_timm_available(), reason="timm is installed: nothing is missing")
def test_without_timm_the_package_is_named():
    config = RnnImageCaptionerConfig(**DECODER, backbone="timm/resnet18")
    assert config.backbone_config.backbone == "resnet18"
    with pytest.raises(ValueError, match="'resnet18' needs a package that is not installed: pip install timm"):
        RnnImageCaptionerForConditionalGeneration(config)


@pytest.mark.skipif(not is_timm_available(), reason="timm is not installed")
def test_a_timm_backbone(tmp_path):
    model = captioner(backbone="timm/resnet10t", image_size=[64, 32])
    batch = torch.rand(2, 3, 64, 32)
    assert model(batch, decoder_input_ids=torch.tensor([[2], [2]])).encoder_last_hidden_state.shape == (2, 2, 512)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(batch).logits, model(batch).logits)


# Runs in a Python where `import tl_toolkit` fails.
SCRIPT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tl_toolkit":
            raise ModuleNotFoundError("no toolkit here")

sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText

folder = sys.argv[1]
pixels = torch.linspace(0, 1, 2 * 3 * 40 * 24).view(2, 3, 40, 24)
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
body = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
model.save_pretrained(folder + "_again")
assert not any(name.split(".")[0] == "tl_toolkit" for name in sys.modules)
print(json.dumps({
    "backbone": type(config.backbone_config).__name__, "logits": model(pixels).logits.tolist(),
    "body": body(pixels).last_hidden_state.tolist(), "ids": model.generate(pixels, max_new_tokens=5).tolist(),
}))
"""


@torch.no_grad()
def test_loads_without_the_toolkit(tmp_path: Path) -> None:
    model = captioner(backbone_config=ResNetConfig(**RESNET))
    model.save_pretrained(tmp_path / "saved")
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "saved")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    pixels = torch.linspace(0, 1, 2 * 3 * 40 * 24).view(2, 3, 40, 24)
    assert found["backbone"] == "ResNetConfig"
    torch.testing.assert_close(torch.tensor(found["logits"]), model(pixels).logits)
    torch.testing.assert_close(torch.tensor(found["body"]), model.captioner(pixels).last_hidden_state)
    assert found["ids"] == model.generate(pixels, max_new_tokens=5).tolist()
    for file in (tmp_path / "saved").glob("*.py"):
        assert "tl_toolkit" not in file.read_text()
        assert (tmp_path / "saved_again" / file.name).read_text() == file.read_text()
    again = RnnImageCaptionerForConditionalGeneration.from_pretrained(tmp_path / "saved_again").eval()
    torch.testing.assert_close(again(pixels).logits, model(pixels).logits)
