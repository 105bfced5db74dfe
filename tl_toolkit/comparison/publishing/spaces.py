"""A comparison as a Space: its report as a page, or a demo that classifies a text with every entry."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError, listing, nearest
from ...evaluation import formatting as show
from ...evaluation.results import Result, panels, read_results
from ...evaluation.statistics.cells import goal_of
from ...hub.arguments import CardArguments
from ...hub.card_comparison import RESULTS
from ...hub.card_metadata import TAG
from ...hub.connection_and_retries import retrying
from ...hub.contents import CARD, Contents, as_json, auto_map_references, carries_code, model_contents
from ...hub.destination import HubFile
from ...hub.readme import MARKER, own_readme
from ...records.record import RESULT_NAME
from ..report.merging import title_of
from .arguments import ReportArguments
from .reports import public_report

if TYPE_CHECKING:
    from huggingface_hub import HfApi

GRADIO = "6.31.0"
"""The gradio version that the app was tested with."""
MOST_BYTES = 10**9
"""Maximum total size of the models in a Space."""
_CPU = "--extra-index-url https://download.pytorch.org/whl/cpu\n"
_PINNED = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
_CLASSIFIES = ("text-classification", "regression")


def static_contents(folder: Path, repo_id: str, card: CardArguments, *, texts: bool = False) -> Contents:
    """A Space that shows the report of a comparison."""
    report = public_report(folder, texts=texts)
    about = "The report of a comparison, created by `tl_toolkit`: one page, `index.html`."
    readme = _readme(report.title, card, about, sdk="static", app_file="index.html", datasets=report.datasets or None)
    files = [own_readme(folder) or HubFile(CARD, readme), HubFile("index.html", report.files["report.html"])]
    return Contents(files, {"runs": "only the report is published"}, {"name": report.title})


def gradio_contents(
    folder: Path, repo_id: str, card: CardArguments, arguments: ReportArguments, api: HfApi | None = None
) -> Contents:
    """A Space that classifies a text with every entry of a comparison side by side, on a CPU and without the toolkit.

    It shows one run per entry: among those with the most labels, the best on the validation rows. The model is copied
    into the Space, or loaded from the Hub if `arguments.model` names one: at its current commit, and with its custom
    code only if the model belongs to the owner of the Space.

    Args:
        api: used to look up commits; None leaves them open, as in a dry run.

    Raises:
        UserError: `folder` is not a comparison on one text dataset, an entry has no model, or the models are too large.
    """
    runs = _chosen_runs(folder, arguments)
    title = title_of(folder) or "Comparison"
    files, models = [], []
    for number, (entry, run) in enumerate(runs.items()):
        described = _describe(entry, run)
        if (published := arguments.models.get(entry)) is not None:
            models.append({**described, **_pinned(published, repo_id, api)})
            continue
        place, own = f"models/{number}", folder / run.folder
        code = carries_code(own, json.loads((own / "config.json").read_text(encoding="utf-8")))
        models.append({**described, "model": place, "revision": None, "trust_remote_code": code})
        needed = [file for file in model_contents(own).files if file.path != RESULT_NAME]
        files += [replace(file, path=f"{place}/{file.path}") for file in needed]
    size = sum(file.size for file in files)
    if size > MOST_BYTES:
        raise UserError(
            f"Publish the large models separately and name them with --model 'ENTRY=user/name': the models of the "
            f"{len(runs)} entries have {size / 1e9:.1f} GB, but the limit of a Space is {MOST_BYTES / 1e9:.0f} GB."
        )
    pair = any((run.section("dataset").get("columns") or {}).get("text_pair") for run in runs.values())
    content = {"title": title, "pair": pair, "models": models}
    about = "Classify a text with every entry of a comparison. `models.json` lists the models."
    linked = list(arguments.models.values())
    options: dict[str, Any] = {"sdk": "gradio", "sdk_version": GRADIO, "app_file": "app.py", "models": linked or None}
    options["python_version"] = ".".join(platform.python_version_tuple()[:2])
    pinned = [f"{name}=={version(name).partition('+')[0]}\n" for name in _PINNED]
    files += [
        own_readme(folder) or HubFile(CARD, _readme(title, card, about, **options)),
        HubFile("app.py", Path(__file__).parent / "templates" / "space_app.py"),
        HubFile("models.json", as_json(content)),
        HubFile("requirements.txt", "".join([_CPU, *pinned]).encode()),
    ]
    return Contents(sorted(files, key=lambda file: file.path), {}, {"name": title})


def _pinned(published: str, repo_id: str, api: HfApi | None) -> dict[str, Any]:
    """A model of the Hub at its current commit.

    Its custom code is run only if the model belongs to the Space's user and the code is in the model's repository.
    """
    if api is None:
        return {"model": published, "revision": None, "trust_remote_code": False}
    what = f"Looking up the model {published!r} of --model failed"
    commit = str(retrying(lambda: api.model_info(published), what).sha)
    places = retrying(lambda: _code_places(api, published, commit), what)
    own = published.partition("/")[0] == repo_id.partition("/")[0] and places <= {"", published}
    return {"model": published, "revision": commit, "trust_remote_code": bool(places) and own}


def _code_places(api: HfApi, repo_id: str, commit: str) -> set[str]:
    """The repositories with the custom code of a model; "" is its own repository. Empty for a model without code."""
    from huggingface_hub.errors import EntryNotFoundError

    places: set[str] = set()
    for name in ("config.json", "tokenizer_config.json"):
        try:
            settings = json.loads(Path(api.hf_hub_download(repo_id, name, revision=commit)).read_text("utf-8"))
        except EntryNotFoundError:
            continue
        places |= {reference.rpartition("--")[0] for reference in auto_map_references(settings)}
    return places


def _readme(title: str, card: CardArguments, about: str, **options: Any) -> bytes:
    from huggingface_hub import SpaceCardData

    data = SpaceCardData(
        title=" ".join(title.split()),
        license=card.license,
        tags=[TAG, "model-comparison"],
        colorFrom="blue",
        colorTo="green",
        **options,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{MARKER}\n\n# {show.markdown_text(title)}\n\n{about}\n".encode()


def _chosen_runs(folder: Path, arguments: ReportArguments) -> dict[str, Result]:
    """The run of each entry whose model the Space shows."""
    groups = panels([result for result in read_results(folder / RESULTS) if result.completed])
    if not groups:
        raise UserError(f"No run of the comparison in {str(folder)!r} has finished, so there is no model to show.")
    if len(groups) > 1:
        raise UserError(
            "Publish the comparison as a dataset or as a static Space: a Gradio Space predicts the labels of one "
            f"dataset, but the comparison in {str(folder)!r} has {len(groups)} ({listing(groups)})."
        )
    results = next(iter(groups.values()))
    kinds = {str(result.section("task").get("name")) for result in results}
    if not kinds <= set(_CLASSIFIES):
        raise UserError(
            "Publish the comparison as a dataset or as a static Space: a Gradio Space supports only "
            f"{listing(_CLASSIFIES)}, but the task of this comparison is {listing(kinds)}."
        )
    entries = dict.fromkeys(result.entry for result in results)
    if unknown := [entry for entry in arguments.models if entry not in entries]:
        raise UserError(
            f"--model names the entry {unknown[0]!r}, which has no finished run.{nearest(unknown[0], entries)} The "
            f"entries are {listing(entries)}."
        )
    chosen = {}
    for entry in entries:
        own = [result for result in results if result.entry == entry]
        kept = own if entry in arguments.models else with_model(folder, own)
        if not kept:
            raise UserError(
                f"No run of the entry {entry!r} has kept its model. Run the comparison with keep_models, or name a "
                f"published model with --model '{entry}=user/name'."
            )
        chosen[entry] = best_of(kept)
    return chosen


def with_model(folder: Path, runs: Sequence[Result]) -> list[Result]:
    """The runs of the comparison in `folder` that have kept their model."""
    places = ((run, folder / run.folder) for run in runs)
    return [run for run, own in places if (own / "config.json").is_file() and any(own.glob("model*.safetensors"))]


def best_of(runs: Sequence[Result]) -> Result:
    """The run with the best validation score at the largest budget."""
    goal = goal_of(runs)
    return max(
        runs, key=lambda run: (run.budget, goal.sign * run.metrics("validation").get(goal.metric, -goal.sign * 1e9))
    )


def _describe(entry: str, run: Result) -> dict[str, Any]:
    """The name and the description of a model in the app."""
    goal = goal_of([run])
    reached, total = run.metrics("test").get(goal.metric), (run.section("cost").get("parameters") or {}).get("total")
    labels = run.section("budget").get("train_labels")
    facts = [f"{show.parameters(total)} parameters"] if total else []
    facts += [f"{show.count(labels)} training labels"] if labels else []
    if reached is not None:
        facts.append(f"{show.metric_name(goal.metric)} {show.score(reached, goal.metric)} on test rows")
    return {"name": entry, "about": ", ".join(facts)}
