"""Model cards: the complete text, the metadata, and data that must never be in a card."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from card_records import REVISION, make_record, make_run_folder  # noqa: E402
from huggingface_hub import EvalResult, ModelCard  # noqa: E402
from server import HubServer  # noqa: E402

from tl_toolkit.errors import UserError  # noqa: E402
from tl_toolkit.hub.arguments import CardArguments  # noqa: E402
from tl_toolkit.hub.card import card_files, hints, model_card  # noqa: E402
from tl_toolkit.hub.citations import citations, papers  # noqa: E402
from tl_toolkit.hub.curve import CURVE, learning_curve  # noqa: E402
from tl_toolkit.hub.destination import HubFile  # noqa: E402
from tl_toolkit.hub.readme import MARKER, is_generated  # noqa: E402

GOLDEN = Path(__file__).parent / "golden_card.md"


def test_a_card_equals_the_golden_card(tmp_path: Path) -> None:
    """After an intended change, write the new golden card: python tests/hub/test_card.py."""
    card = model_card(make_run_folder(tmp_path / "bigru"), "anna/bigru", CardArguments(license="mit", language="en"))
    assert str(card) == GOLDEN.read_text(encoding="utf-8")
    assert is_generated(str(card)) and not is_generated("# My own card")


def test_the_metadata_match_the_run_and_the_hub_accepts_them(tmp_path: Path, hub: HubServer) -> None:
    folder = make_run_folder(tmp_path / "bigru")
    card = model_card(folder, "anna/bigru", CardArguments(license="mit", language="en"))
    card.validate()
    with pytest.raises(ValueError, match="license"):
        model_card(folder, "anna/bigru", CardArguments(license="none-of-the-hubs")).validate()
    again = ModelCard(str(card)).data
    assert again.to_dict() == card.data.to_dict()
    assert set(again.to_dict()) == {
        *("language", "license", "library_name", "tags", "datasets", "metrics", "pipeline_tag", "model-index")
    }
    assert (again.pipeline_tag, again.datasets, again.metrics) == (
        "text-classification",
        ["stanfordnlp/sst2"],
        ["accuracy", "f1"],
    )
    results = again.eval_results
    assert [type(result) for result in results] == [EvalResult] * 6
    first, last = results[0], results[-1]
    assert (first.metric_type, first.metric_value, first.dataset_split) == ("accuracy", 10 / 13, "test")
    assert (first.dataset_type, first.dataset_revision) == ("stanfordnlp/sst2", REVISION)
    # The validation rows came from the training split.
    assert (last.metric_name, last.dataset_split) == ("Loss (validation)", "train")


def test_unknown_facts_are_left_out(tmp_path: Path) -> None:
    record = make_record(cost={}, budget={}, history=[], hardware={}, versions={})
    record["dataset"] = {"name": "/home/anna/data/reviews", "config": None, "revision": None}
    record["arguments"] = {"dataset_name": "/home/anna/data/reviews"}
    card = model_card(make_run_folder(tmp_path / "bigru", record))
    assert not {"license", "language", "datasets", "base_model"} & set(card.data.to_dict())
    assert card.data.eval_results[0].dataset_type == "reviews"
    text = str(card)
    assert "/home" not in text and "anna" not in text and "a secret text" not in text
    assert "None" not in text and "Learning rate" not in text and CURVE not in text
    assert "Most frequent label" not in text and "Also found" not in text


def test_a_model_without_a_record_is_described_by_its_configuration(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "bigru")
    (folder / "result.json").unlink()
    files = card_files(folder, "anna/bigru")
    assert [file.path for file in files] == ["README.md"]
    text = files[0].read().decode()
    assert "\nA bidirectional GRU that classifies texts.\n" in text and "## Results" not in text
    assert 'pipeline("text-classification", model="anna/bigru", trust_remote_code=True)' in text
    assert ModelCard(text).data.eval_results is None


def test_names_are_escaped(tmp_path: Path) -> None:
    record = make_record(name="a|b\n# *c* <script>")
    record["task"]["labels"] = ["bad | worse", "<b>good</b>"]
    record["arguments"]["source_prefix"] = "```\n# no heading"
    text = str(model_card(make_run_folder(tmp_path / "run", record)))
    body = text.split(MARKER)[1]
    assert "<script>" not in body and "<b>" not in body
    assert r"# a\|b \# \*c\* \<script\>" in body
    assert [line for line in body.splitlines() if line.startswith("| bad")][0].count("|") - 1 == 6
    assert body.count("\n```") % 2 == 0 and "\n# no heading" not in body


@pytest.mark.parametrize(
    ("language", "asked", "found"),
    [("en,hi", {}, ["en", "hi"]), (None, {"source_lang": "de", "target_lang": "en_GB"}, ["de", "en"])],
)
def test_languages_come_from_the_flag_or_the_run(
    tmp_path: Path, language: str | None, asked: dict[str, str], found: list[str]
) -> None:
    record = make_record()
    record["arguments"] |= asked
    card = model_card(make_run_folder(tmp_path / "run", record), arguments=CardArguments(language=language))
    assert card.data.language == found


def test_the_card_of_a_local_dataset_and_of_the_base_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "README.md").write_text("---\nlanguage:\n- hi\nlicense: cc-by-4.0\n---\n")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    record = make_record(strategy={"name": "full"})
    record["dataset"] |= {"name": str(tmp_path / "reviews"), "revision": None}
    record["model"]["model_name_or_path"] = str(tmp_path / "base")
    data = model_card(make_run_folder(tmp_path / "run", record)).data
    assert (data.language, data.license, data.base_model) == ("hi", "apache-2.0", None)


def test_a_built_in_model_is_named_by_its_hub_id(tmp_path: Path) -> None:
    record = make_record(strategy={"name": "lora", "r": 8, "alpha": 16})
    record["model"]["model_name_or_path"] = "builtin:minilm"
    folder = make_run_folder(tmp_path / "run", record, model_type="bert", auto_map=None, vocab_size=30522)
    (folder / "modeling_rnn.py").unlink()
    card = model_card(folder, "anna/run", adapter=True)
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (card.data.library_name, card.data["base_model_relation"]) == ("peft", "adapter")
    text = str(card)
    assert 'from_pretrained("sentence-transformers/all-MiniLM-L6-v2", id2label=' in text
    assert 'PeftModel.from_pretrained(base, "anna/run")' in text and "trust_remote_code" not in text
    assert "@inproceedings{hu2022," in text and "@inproceedings{devlin2019," in text
    merged = model_card(folder, "anna/run")
    assert (merged.data.library_name, merged.data["base_model_relation"]) == ("transformers", "finetune")


def test_a_name_that_might_be_a_local_folder_is_not_a_hub_id(tmp_path: Path) -> None:
    record = make_record(strategy={"name": "full"})
    record["model"]["model_name_or_path"] = "outputs/wiki"
    assert model_card(make_run_folder(tmp_path / "one", record)).data.base_model is None
    record["model"]["revision"] = REVISION  # loaded from the Hub
    assert model_card(make_run_folder(tmp_path / "two", record)).data.base_model == "outputs/wiki"


def test_earlier_training_stages_are_listed(tmp_path: Path) -> None:
    stage = make_record(name="wiki", strategy={"name": "scratch"})
    stage["task"] = {"name": "causal-language-modeling", "main_metric": "loss", "greater_is_better": False}
    stage["dataset"] |= {"name": "wikimedia/wikipedia", "tokens": {"train": 8_700_000}, "rows": {"train": 50_000}}
    make_run_folder(tmp_path / "wiki", stage)
    record = make_record(strategy={"name": "gradual_unfreezing"})
    record["model"]["model_name_or_path"] = str(tmp_path / "wiki")
    card = model_card(make_run_folder(tmp_path / "run", record))
    assert card.data.datasets == ["stanfordnlp/sst2", "wikimedia/wikipedia"]
    assert "50,000 texts (8,700,000 tokens) of [wikimedia/wikipedia]" in str(card)
    assert "@inproceedings{howard2018," in str(card)


def test_the_limits_are_those_of_the_run(tmp_path: Path) -> None:
    record = make_record()
    del record["metrics"]["test"]
    assert "It was not evaluated on test rows." in str(model_card(make_run_folder(tmp_path / "one", record)))
    # Of 13 rows, 7 are negative: 10 correct predictions are within the noise.
    text = str(model_card(make_run_folder(tmp_path / "two")))
    assert "not significantly better than predicting the most frequent class" in text
    assert "trained on 500 labelled texts" in text and "truncated to 256 tokens" in text


def test_the_score_of_a_class_and_classes_never_predicted_are_stated(tmp_path: Path) -> None:
    record = make_record(never_predicted=["negative"])
    record["task"]["main_metric"] = "recall:negative"
    for split in ("validation", "test"):
        record["metrics"][split]["recall:negative"] = 0.0
    card = model_card(make_run_folder(tmp_path / "bigru", record))
    text = str(card)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[2].startswith("| Recall of negative, % | 0.0 | 0.0 | ")
    assert "\n- It never predicted negative on the test rows, where this class occurs.\n" in text
    first = card.data.eval_results[0]
    assert (first.metric_type, first.metric_name, first.metric_value) == ("recall", "Recall of negative (test)", 0.0)
    assert "never predicted" not in str(
        model_card(make_run_folder(tmp_path / "other", make_record(never_predicted=[])))
    )


def test_the_curve_is_drawn_from_the_history(tmp_path: Path) -> None:
    curve = learning_curve(make_record())
    assert curve is not None
    assert curve.training == [(16, 0.69), (32, 0.5)] and curve.metric == [(16, 0.7), (32, 0.81)]
    assert learning_curve(make_record(history=[{"loss": 0.1, "step": 1}])) is None
    files = {file.path: file.read() for file in card_files(make_run_folder(tmp_path / "run"), "anna/run")}
    assert files[CURVE].startswith(b"\x89PNG") and f"]({CURVE})" in files["README.md"].decode()


def test_every_cited_paper_exists() -> None:
    configs = [
        {"model_type": "rnn", "cell_type": "rnn_tanh", "crf": True, "character_encoder": "cnn"},
        {"model_type": "rnn", "cell_type": "gru", "character_encoder": "rnn"},
        {"model_type": "awd_lstm"},
        {"model_type": "self_attention"},
        {"model_type": "bag_of_ngrams"},
        {"model_type": "rnn_encoder_decoder", "cell_type": "lstm", "attention": "luong"},
        {"model_type": "rnn_image_captioner", "cell_type": "lstm", "attention": "none"},
        {"model_type": "rnn_image_captioner", "cell_type": "lstm", "attention": "bahdanau"},
        *({"model_type": name} for name in ("bert", "roberta", "distilbert", "gpt2", "t5", "bart", "marian")),
    ]
    strategies = [
        {"strategy": {"name": name}} for name in ("lora", "gradual_unfreezing", "contrastive", "distilled", "prompt")
    ]
    named = {
        key
        for config in configs
        for record in strategies
        for key in citations(record, config, "sentence-transformers/x-MiniLM")
    }
    assert named == set(papers())
    assert citations({}, {"model_type": "rnn", "cell_type": "rnn_tanh"}, None) == ["elman1990"]


@pytest.mark.parametrize(
    "bad", [{"license": "Apache 2"}, {"language": "english"}, {"base_model": "a/b/c"}, {"base_model": "../lm"}]
)
def test_values_that_the_hub_refuses_are_refused_early(bad: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(bad))}"):
        CardArguments(**bad)


def test_tuning_and_stages_of_a_comparison_are_listed(tmp_path: Path) -> None:
    tuning = {"trials": 5, "failed": 1, "seconds": 31.0, "chosen": {"learning_rate": 0.1}}
    record = make_record(tuning=tuning, stages=[{"name": "wiki_lm", "key": "0", "train_seconds": 1234.5}])
    text = str(model_card(make_run_folder(tmp_path / "run", record)))
    assert "5 trials, of which 1 failed, evaluated on the validation rows in 31\u00a0s" in text
    assert "- wiki\\_lm, 1,234 s\n" in text


def test_an_ensemble_is_described(tmp_path: Path) -> None:
    members = [{"name": "forward", "model_name_or_path": "/home/anna/f"}, {"name": "backward"}]
    cost = {"parameters": {"total": 17, "trained": 0}, "steps": 0, "epochs": 0.0, "train_seconds": None}
    record = make_record(strategy={"name": "ensemble"}, members=members, history=[], cost=cost)
    text = str(model_card(make_run_folder(tmp_path / "run", record, model_type="awd_lstm", direction="both")))
    assert "An AWD-LSTM for both directions that classifies texts, an ensemble of a forward and a backward" in text
    assert "@inproceedings{howard2018," in text and "one seed" not in text and "/home" not in text


def test_a_missing_licence_is_reported(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "run")
    assert len(hints(card_files(folder))) == 1 and "--license" in hints(card_files(folder))[0]
    assert hints(card_files(folder, arguments=CardArguments(license="mit"))) == []
    assert hints([HubFile("README.md", b"# My own")]) == []


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        made = make_run_folder(Path(place) / "bigru")
        GOLDEN.write_text(str(model_card(made, "anna/bigru", CardArguments(license="mit", language="en"))), "utf-8")
