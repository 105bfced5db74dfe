"""`publish --dry_run` refuses a folder that nobody could load, in one paragraph."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tl_toolkit import cli

BERT = "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11"


def weights(change: Callable[[dict[str, torch.Tensor], str], object]) -> Callable[[Path], object]:
    """A change of the weights; it gets them all, and the name of the largest."""

    def changed(folder: Path) -> None:
        own = load_file(folder / "model.safetensors")
        change(own, max(own, key=lambda name: own[name].numel()))
        save_file(own, folder / "model.safetensors", {"format": "pt"})

    return changed


def config(**values: object) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        known = json.loads((folder / "config.json").read_text())
        assert known.keys() >= values.keys()
        (folder / "config.json").write_text(json.dumps(known | values))

    return changed


def cut(kept: int) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:kept])

    return changed


def no_tokenizer(folder: Path) -> None:
    for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*"), *folder.glob("special_tokens*")]:
        path.unlink()


def larger_tokenizer(folder: Path) -> None:
    known = json.loads((folder / "tokenizer.json").read_text())
    known["model"]["vocab"] |= {f"word{number}": 5000 + number for number in range(5000)}
    (folder / "tokenizer.json").write_text(json.dumps(known))


CHANGES = {
    "has no tokenizer": no_tokenizer,
    "values that are not finite": weights(lambda own, name: own[name].view(-1)[3:4].fill_(float("nan"))),
    "not finite": weights(lambda own, name: own[name].view(-1)[-1:].fill_(float("inf"))),
    "another shape than config.json": config(hidden_size=16),
    "is missing": weights(lambda own, name: own.pop(name)),
    "it belongs to another model": larger_tokenizer,
    "is damaged": cut(-100),
    "damaged: its size": cut(20),
    "does not match its header": cut(0),
}


@pytest.mark.parametrize("model", [{"model_type": "rnn"}, {"model_type": "bert"}])
def test_what_cannot_work_is_refused(
    model: dict[str, str], finetune: Callable[..., dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    sizes = {"rnn": "hidden_size=8,embedding_size=5,num_hidden_layers=1", "bert": BERT}[model["model_type"]]
    finetune("good", **model, config_overrides=sizes, num_train_epochs=1)

    def answer(folder: Path) -> tuple[object, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["tl-toolkit", "publish", str(folder), "--repo_id", "user/name", "--dry_run"])
        try:
            cli.main()
        except SystemExit as left:
            return left.code, capsys.readouterr().err
        return 0, capsys.readouterr().err

    (tmp_path / "good" / "result.json").unlink()  # which knows the checksums
    for checkpoint in tmp_path.glob("good/checkpoint-*"):
        shutil.rmtree(checkpoint)
    wrong = [answer(tmp_path / "good")[1]] if answer(tmp_path / "good")[0] else []
    for number, (reason, change) in enumerate(CHANGES.items()):
        folder = shutil.copytree(tmp_path / "good", tmp_path / str(number))
        change(folder)
        code, said = answer(folder)
        told = said.rpartition("\nerror: ")[2].strip()
        error = " ".join(told.split())
        if code != 2 or "Traceback" in said or "\n\n" in told or reason not in error:
            wrong.append(f"{reason}: {code} {said}")
    assert not wrong, "\n".join(wrong)
