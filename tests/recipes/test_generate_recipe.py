"""Text generation from model folders of all three kinds, and its errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.models import (
    RnnConfig,
    RnnEncoderDecoderConfig,
    RnnEncoderDecoderForConditionalGeneration,
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnImageCaptionerConfig,
    RnnImageCaptionerForConditionalGeneration,
    SelfAttentionConfig,
    SelfAttentionForCausalLM,
)
from tl_toolkit.tasks.caption_processing import CaptionProcessing
from tl_toolkit.tasks.pair_processing import PairProcessing, with_end
from tl_toolkit.workflows.generate import Result, generate, parse_generate_arguments

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "generate.py")
SOURCES, TARGETS = ["the 3rd of march", "तीन मार्च"], ["0123456789-", "30-12"]


def drawn(model: Any, seed: int = 3) -> Any:
    """`model` with random weights that are large enough for different tokens at each step."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of each kind, as training writes them, and an image."""
    base = tmp_path_factory.mktemp("models")
    kinds = ("text", "short", "pairs", "blind", "captions", "labels")
    folders = {kind: base / kind for kind in kinds}
    word = build_tokenizer("word", ["the old cat sat on the mat", "a dog"], min_frequency=1)
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    small = {"embedding_size": 7, "hidden_size": 11, **ids}
    drawn(RnnForCausalLM(RnnConfig(vocab_size=len(word), **small))).save_pretrained(folders["text"])
    positions = {"num_attention_heads": 1, "num_hidden_layers": 1, "max_position_embeddings": 8}
    short = SelfAttentionConfig(vocab_size=len(word), embedding_size=6, hidden_size=6, **positions, **ids)
    drawn(SelfAttentionForCausalLM(short), seed=6).save_pretrained(folders["short"])
    labels = RnnConfig(vocab_size=len(word), num_labels=3, **small)
    RnnForSequenceClassification(labels).save_pretrained(folders["labels"])
    for kind in ("text", "short", "labels"):
        word.save_pretrained(folders[kind])

    source, target = (with_end(build_tokenizer("char", texts, min_frequency=1)) for texts in (SOURCES, TARGETS))
    sizes = {"vocab_size": len(source), "decoder_vocab_size": len(target), "decoder_start_token_id": 2, **small}
    for kind, attention in (("pairs", "bahdanau"), ("blind", "none")):
        config = RnnEncoderDecoderConfig(attention=attention, bidirectional_encoder=True, **sizes)
        drawn(RnnEncoderDecoderForConditionalGeneration(config)).save_pretrained(folders[kind])
        PairProcessing(source, target).save_pretrained(folders[kind])

    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    size = {"height": 8, "width": 16}
    processor = ViTImageProcessorPil(size=size, image_mean=[0.5], image_std=[0.5])
    caption = RnnImageCaptionerConfig(
        vocab_size=len(word),
        image_size=[8, 16],
        num_channels=1,
        attention="bahdanau",
        decoder_start_token_id=2,
        **small,
    )
    drawn(RnnImageCaptionerForConditionalGeneration(caption)).save_pretrained(folders["captions"])
    CaptionProcessing(processor, with_end(word)).save_pretrained(folders["captions"])
    pixels = np.random.default_rng(1).integers(0, 255, (11, 23), dtype=np.uint8)
    Image.fromarray(pixels).save(base / "image.png")
    return {**folders, "image": base / "image.png"}


def write(folder: Path, *flags: str) -> list[Result]:
    argv = ["--model_name_or_path", str(folder), "--use_cpu", *flags]
    return list(generate(parse_generate_arguments(argv)))


def test_texts_are_translated_one_by_one_with_their_probabilities(folders: dict[str, Path]) -> None:
    both = [flag for text in SOURCES for flag in ("--text", text)]
    found = write(folders["pairs"], *both, "--max_new_tokens", "6", "--json")
    assert [result.input for result in found] == SOURCES
    assert found[0].log_probability != found[1].log_probability
    assert found == [write(folders["pairs"], "--text", t, "--max_new_tokens", "6", "--json")[0] for t in SOURCES]
    assert set("".join(result.generated for result in found)) <= set("".join(TARGETS))  # the target vocabulary
    assert all(result.log_probability < 0 for result in found)


def test_the_prefix_of_training_is_read_again(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["pairs"], tmp_path / "prefixed")
    (folder / "identity.json").write_text('{"settings": {"source_prefix": "the "}}')
    flags = ["--text", SOURCES[0], "--max_new_tokens", "4", "--json"]
    (found,) = write(folder, *flags)
    (expected,) = write(folders["pairs"], *flags, "--source_prefix", "the ")
    (plain,) = write(folders["pairs"], *flags)
    assert found.log_probability == expected.log_probability != plain.log_probability
    (named,) = write(folder, *flags, "--source_prefix", "march ")
    assert named.log_probability != found.log_probability


def test_log_probability_is_that_of_beam_search(folders: dict[str, Path]) -> None:
    """Without a length penalty it ranks the beams, and the best beam is no worse than the greedy result."""
    flags = ["--text", SOURCES[0], "--max_new_tokens", "4", "--json"]
    best = write(folders["pairs"], *flags, "--num_beams", "9", "--num_return_sequences", "5", "--length_penalty", "0")
    scores = [result.log_probability for result in best]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5
    assert scores[0] >= write(folders["pairs"], *flags)[0].log_probability - 1e-4
    model = RnnEncoderDecoderForConditionalGeneration.from_pretrained(folders["pairs"])
    from transformers import AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folders["pairs"])(SOURCES[0], return_tensors="pt")
    options = {"num_beams": 9, "num_return_sequences": 5, "length_penalty": 0.0, "max_new_tokens": 4}
    expected = model.generate(**inputs, **options, return_dict_in_generate=True, output_scores=True).sequences_scores
    assert scores == pytest.approx(expected.tolist(), abs=1e-4)


def test_log_probability_of_a_continued_text_is_that_of_its_tokens(folders: dict[str, Path]) -> None:
    (found,) = write(folders["text"], "--text", "the cat", "--max_new_tokens", "1", "--json")
    model = RnnForCausalLM.from_pretrained(folders["text"])
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folders["text"])("the cat", return_tensors="pt").input_ids
    assert found.log_probability == pytest.approx(model(ids).logits[0, -1].log_softmax(-1).max().item(), abs=1e-5)


def test_what_is_drawn_is_what_was_written(folders: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    from tl_toolkit.figures import attention_map

    seen: dict[str, Any] = {}
    monkeypatch.setattr(attention_map, "draw_attention_map", lambda *what: seen.update(zip("stwp", what, strict=True)))
    flags = ["--text", SOURCES[1], "--max_new_tokens", "6", "--attention_map", str(tmp_path / "map.png")]
    (found,) = write(folders["pairs"], *flags)
    assert seen["s"] == [*SOURCES[1], "<eos>"]
    assert "".join(piece for piece in seen["t"] if not piece.startswith("<")) == found.generated
    assert seen["w"].shape == (len(seen["t"]), len(seen["s"]))
    write(folders["pairs"], *flags, "--attention_words")
    assert seen["s"] == ["तीन", " मार्च", "<eos>"]


def test_attention_is_drawn_for_a_given_translation(folders: dict, tmp_path: Path, monkeypatch: Any) -> None:
    from tl_toolkit.figures import attention_map

    seen: dict[str, Any] = {}
    monkeypatch.setattr(attention_map, "draw_attention_map", lambda *what: seen.update(zip("stwp", what, strict=True)))
    flags = ["--text", SOURCES[0], "--max_new_tokens", "3", "--attention_map", str(tmp_path / "map.png")]
    write(folders["pairs"], *flags, "--attention_target", "30-12")
    assert "".join(seen["t"][:-1]) == "30-12" and seen["w"].shape == (len(seen["t"]), len(seen["s"]))
    torch.testing.assert_close(seen["w"].sum(dim=1), torch.ones(len(seen["t"])))


def test_a_picture_of_the_alignment_is_left(folders: dict[str, Path], tmp_path: Path) -> None:
    write(folders["pairs"], "--text", SOURCES[1], "--max_new_tokens", "5", "--attention_map", str(tmp_path / "map.png"))
    assert Image.open(tmp_path / "map.png").size > (100, 100)


def test_images_are_described_and_the_attention_is_drawn_over_them(folders: dict[str, Path], tmp_path: Path) -> None:
    flags = ["--image", str(folders["image"]), "--max_new_tokens", "5", "--min_new_tokens", "3", "--json"]
    (found,) = write(folders["captions"], *flags, "--attention_map", str(tmp_path / "map.svg"))
    assert found.input == str(folders["image"]) and found.generated and found.log_probability < 0
    assert "<svg" in (tmp_path / "map.svg").read_text()[:600]
    wide = [*flags, "--num_beams", "3", "--num_return_sequences", "2"]
    assert len(write(folders["captions"], *wide)) == 2


def test_a_model_writes_no_further_than_its_positions(folders: dict[str, Path]) -> None:
    (found,) = write(folders["short"], "--text", "the cat", "--min_new_tokens", "6")
    assert len(found.generated.split()) == 8
    with pytest.raises(UserError, match="--max_new_tokens 7: it takes 2 of the model's 8 positions and leaves 6"):
        write(folders["short"], "--text", "the cat", "--max_new_tokens", "7")
    with pytest.raises(UserError, match="takes 9 of the model's 8 positions and leaves 0"):
        write(folders["short"], "--text", "a " * 9)


TEXT = ("--text", "the cat")


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        ("text", [*TEXT, "--temperature", "0.7"], "--temperature has an effect only with sampling: add --do_sample"),
        ("text", [*TEXT, "--do_sample", "--temperature", "0"], "--temperature must be a number above 0, but is 0"),
        ("text", [*TEXT, "--do_sample", "--top_p", "1.5"], "--top_p must be above 0 and at most 1, but is 1.5"),
        ("text", [*TEXT, "--num_beams", "0"], "--num_beams must be 1 or more, but is 0"),
        ("text", [*TEXT, "--min_new_tokens", "-3"], "--min_new_tokens must be 0 or more, but is -3"),
        ("text", [*TEXT, "--repetition_penalty", "0"], "--repetition_penalty must be a number above 0, but is 0"),
        ("text", [*TEXT, "--num_return_sequences", "3"], "--num_return_sequences is 3, but there are 1 beams"),
        ("text", [*TEXT, "--length_penalty", "2"], "--length_penalty has an effect only with beam search"),
        ("text", [*TEXT, "--attention_map", "a.png"], "--attention_map needs a model that .* is a language model"),
        ("pairs", [*TEXT, "--attention_target", "30-12"], "--attention_target needs a translation model and"),
        ("text", [*TEXT, "--source_prefix", "x"], "--source_prefix is for translation models only"),
        ("text", ["--image", "a.png"], "reads texts, not images"),
        ("text", [*TEXT, "--text_file", "b.txt"], "--text and --text_file are both given"),
        ("text", [*TEXT, "--image", "b.png"], "--image and a text are both given"),
        ("text", ["--text_file", "nowhere.txt"], "'nowhere.txt' cannot be read"),
        ("text", [*TEXT, "--num_beam", "3"], "Unknown argument '--num_beam'.*Did you mean '--num_beams'"),
        ("pairs", [*TEXT, *TEXT, "--attention_map", "a.png"], "needs exactly one input, but there are 2"),
        ("pairs", [*TEXT, "--attention_map", "a.bmp"], "must end in '.png', '.svg'"),
        ("pairs", [*TEXT, "--attention_map", "a.png", "--attention_layer", "4"], "no layer 4"),
        ("blind", [*TEXT, "--attention_map", "a.png"], "has no attention over the source"),
        ("captions", TEXT, "describes images: specify --image"),
        ("captions", ["--image", __file__], "cannot be read: cannot identify image file"),
        ("labels", TEXT, "is a RnnForSequenceClassification, which does not generate text"),
    ],
)
def test_what_does_not_go_together_is_refused(
    folders: dict[str, Path], kind: str, flags: list[str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        write(folders[kind], *flags, *(["--max_new_tokens", "3"] if kind in ("pairs", "blind") else []))
    assert not list(tmp_path.iterdir())


def test_a_model_is_needed() -> None:
    with pytest.raises(UserError, match="tl-toolkit generate needs a model"):
        parse_generate_arguments([*TEXT])


def start(*flags: str, stdin: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, RECIPE, "--use_cpu", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True, timeout=300)


def test_the_recipe_reads_lines_and_prints_a_line_for_each(folders: dict[str, Path]) -> None:
    flags = ["--model_name_or_path", str(folders["pairs"]), "--max_new_tokens", "6", "--num_beams", "2"]
    done = start(*flags, "--num_return_sequences", "2", "--json", stdin="\n".join(SOURCES))
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["input"] for line in lines] == [SOURCES[0], SOURCES[0], SOURCES[1], SOURCES[1]]
    assert "तीन" in done.stdout  # without \u escapes
    plain = write(folders["pairs"], *flags[2:], "--num_return_sequences", "2", "--text", SOURCES[0])
    assert [line["generated"] for line in lines[:2]] == [result.generated for result in plain]


def test_what_is_wrong_is_one_paragraph() -> None:
    done = start("--model_name_or_path", "./nowhere", "--text", "a")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "nowhere" in done.stderr and not done.stdout
