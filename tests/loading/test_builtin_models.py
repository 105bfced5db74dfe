from __future__ import annotations

import hashlib
import importlib.util
import sys

import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.loading import builtin_models
from tl_toolkit.loading.builtin_models import BUILTIN_MODELS, BuiltinModel, builtin_model_path

NAME = "builtin:minilm"
installed = pytest.mark.skipif(
    importlib.util.find_spec(BUILTIN_MODELS[NAME].package) is None, reason="the extra 'demo' is not installed"
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a model folder on the path; it must not be imported."""
    folder = tmp_path / "tl_fake_weights" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    fake = BuiltinModel("somebody/model", "tl_fake_weights", "model", "demo", sha256)
    monkeypatch.setitem(builtin_models.BUILTIN_MODELS, "builtin:fake", fake)
    return folder


def test_finds_the_folder_without_importing_the_package(package):
    assert builtin_model_path("builtin:fake") == package
    assert "tl_fake_weights" not in sys.modules


def test_refuses_weights_that_change_after_a_successful_load(package):
    builtin_model_path("builtin:fake")
    (package / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match="SHA-256") as caught:
        builtin_model_path("builtin:fake")
    assert "somebody/model" in str(caught.value) and "\n" not in str(caught.value)


def test_hashes_unchanged_weights_once(package, monkeypatch):
    builtin_model_path("builtin:fake")
    monkeypatch.setattr(builtin_models.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert builtin_model_path("builtin:fake") == package


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_names_the_extra_when_files_are_missing(package, lost):
    (package / lost).unlink()
    with pytest.raises(UserError, match=r"pip install 'tl-toolkit\[demo\]'"):
        builtin_model_path("builtin:fake")


def test_names_the_extra_when_the_package_is_missing(monkeypatch):
    missing = BuiltinModel("somebody/model", "tl_no_such_package", "model", "demo", "0")
    monkeypatch.setitem(builtin_models.BUILTIN_MODELS, "builtin:missing", missing)
    with pytest.raises(UserError, match=r"pip install 'tl-toolkit\[demo\]'"):
        builtin_model_path("builtin:missing")


def test_names_the_nearest_known_model():
    with pytest.raises(UserError, match="Did you mean 'builtin:minilm'"):
        builtin_model_path("builtin:minlm")


@installed
def test_minilm_is_the_original_and_its_tokenizer_pads_only_when_asked():
    from transformers import AutoConfig, AutoTokenizer

    folder = builtin_model_path(NAME)
    config = AutoConfig.from_pretrained(folder)
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("bert", 6, 384)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer("Compute the norm.")["input_ids"]) == 6
    long = "norm " * 300
    assert len(tokenizer(long)["input_ids"]) == 302
    assert len(tokenizer(long, truncation=True, max_length=211)["input_ids"]) == 211
    assert len(tokenizer(["norm", "norm norm"], padding=True)["input_ids"][0]) == 4
    assert BUILTIN_MODELS[NAME].package not in sys.modules
