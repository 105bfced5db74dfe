"""Text generation through transformers with every family and tokenizer, from the saved folder of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    pipeline,
    set_seed,
)

from tl_toolkit.config.generate_arguments import GenerateArguments
from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
from tl_toolkit.workflows.generate import generate
from tl_toolkit.workflows.pretrain import pretrain

TEXTS = [
    "the cat sat on the mat , and the dog sat on the log .",
    "मैं घर जा रहा हूँ । तुम कहाँ जा रहे हो ?",
    "größe ist nicht alles , sagt die katze der maus .",
]
PROMPTS = ["the cat", "मैं घर जा रहा", "die"]
SIZES = {
    "rnn": "embedding_size=11,hidden_size=17",
    "awd_lstm": "embedding_size=11,hidden_size=17,num_hidden_layers=2,dropout_multiplier=0",
    "self_attention": "embedding_size=14,hidden_size=14,num_hidden_layers=2,num_attention_heads=2",
}
NEW = 9
LENGTH = {"max_new_tokens": NEW, "min_new_tokens": 3}  # some barely trained models would stop immediately


class Trained(NamedTuple):
    folder: Path
    kind: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def write(self, text: str = "", **flags: Any) -> list[str]:
        arguments = GenerateArguments(str(self.folder), text=[text], use_cpu=True, **{**LENGTH, **flags})
        return [result.generated for result in generate(arguments)]


@pytest.fixture(scope="module", params=[(m, t) for m in SIZES for t in ("word", "char", "bpe")], ids="-".join)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    model_type, kind = request.param
    folder = tmp_path_factory.mktemp("trained")
    (folder / "texts.txt").write_text("\n".join(TEXTS * 7) + "\n", encoding="utf-8")
    settings = {
        "model_type": model_type, "config_overrides": SIZES[model_type], "tokenizer_name": kind, "max_steps": 6,
        "tokenizer_min_frequency": 1, "tokenizer_vocab_size": 320, "dataset_name": str(folder / "texts.txt"),
        "per_device_train_batch_size": 2, "learning_rate": 0.02, "use_cpu": True, "disable_tqdm": True,
        "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False,
        "output_dir": str(folder / "out"),
    }  # fmt: skip
    pretrain(pretrain_arguments_from(settings, "a test"))
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder / "out"),
        AutoTokenizer.from_pretrained(folder / "out"),
    )
    return Trained(folder / "out", kind, model.eval(), tokenizer)


def test_known_text_is_encoded_and_decoded_unchanged(trained: Trained) -> None:
    """Words are joined with a space, characters and bytes without one."""
    texts = [*TEXTS, *(["  two  spaces\n"] if trained.kind == "bpe" else [])]
    assert [trained.tokenizer.decode(trained.tokenizer(text)["input_ids"]) for text in texts] == texts


def test_generated_text_continues_the_input(trained: Trained) -> None:
    for prompt in PROMPTS:
        inputs = trained.tokenizer(prompt, return_tensors="pt")
        ids = trained.model.generate(**inputs, do_sample=False, **LENGTH)[0]
        whole = trained.tokenizer.decode(ids, skip_special_tokens=True)
        assert trained.write(prompt) == [whole]
        assert whole.startswith(prompt) and len(whole) > len(prompt)
        if trained.kind == "word":  # a space after each word, also between the text and its continuation
            assert whole[len(prompt)] == " " and len(whole.split(" ")) <= len(prompt.split()) + NEW


def test_the_pipeline_generates_the_same_text(trained: Trained) -> None:
    """It concatenates the text and the continuation: with a word tokenizer, the text must end with a space."""
    write = pipeline("text-generation", model=str(trained.folder), device="cpu")
    for prompt in PROMPTS:
        end = " " if trained.kind == "word" else ""
        (result,) = write(prompt + end, do_sample=False, **LENGTH)
        assert result["generated_text"] == trained.write(prompt)[0]


def test_texts_in_a_batch_are_continued_as_single_texts(trained: Trained) -> None:
    write = pipeline("text-generation", model=str(trained.folder), device="cpu")
    write.tokenizer.padding_side = "left"
    for options in ({"do_sample": False}, {"num_beams": 3, "num_return_sequences": 2, "do_sample": False}):
        together = write(PROMPTS, batch_size=3, **LENGTH, **options)
        assert together == [write(prompt, **LENGTH, **options) for prompt in PROMPTS]


def test_samples_only_depend_on_the_seed(trained: Trained) -> None:
    options = {"do_sample": True, "temperature": 1.5, "num_return_sequences": 3, **LENGTH}
    first, again, other = (trained.write(PROMPTS[0], seed=seed, **options) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 1  # the samples of one call differ
    inputs = trained.tokenizer(PROMPTS[0], return_tensors="pt")
    set_seed(1)
    ids = trained.model.generate(**inputs, **options)
    assert first == trained.tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_every_text_has_its_own_seed(trained: Trained) -> None:
    options = {"do_sample": True, "temperature": 1.5, "use_cpu": True, **LENGTH}
    both = GenerateArguments(str(trained.folder), text=[PROMPTS[0]] * 2, seed=1, **options)
    alone = [trained.write(PROMPTS[0], seed=seed, do_sample=True, temperature=1.5)[0] for seed in (1, 2)]
    assert [result.generated for result in generate(both)] == alone


def test_an_empty_text_is_continued_as_a_new_text(trained: Trained) -> None:
    end = torch.tensor([[trained.tokenizer.eos_token_id]])
    ids = trained.model.generate(end, attention_mask=torch.ones_like(end), do_sample=False, **LENGTH)
    assert trained.write("") == [trained.tokenizer.decode(ids[0], skip_special_tokens=True)]
