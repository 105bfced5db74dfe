"""A comparison as a dataset on the Hub: its records, figures and report, without the texts of its data."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...evaluation.results import Result, read_results, read_store
from ...hub.arguments import CardArguments
from ...hub.card_comparison import RESULTS
from ...hub.card_metadata import CARD_TASKS, TAG
from ...hub.cleaning import clean_record
from ...hub.contents import CARD, Contents, included
from ...hub.destination import HubFile
from ...hub.provenance import hub_dataset
from ...hub.readme import MARKER, own_readme, render
from ...records.artefacts import artefacts_of, damage, keeping
from ...records.record import sealed
from ..report.merging import notes_of, title_of
from ..report.verification import prove_equal, statements, verdicts
from ..report.writing import build_context, write_pages
from ..verdict.decision import asked_in, decision_in


@dataclass(frozen=True)
class Report:
    """The public version of a comparison.

    Attributes:
        title: its heading.
        files: contents by file name: records, tables, figures, `report.html` and `report.md`.
        records: the published records.
    """

    title: str
    files: Mapping[str, bytes]
    records: Sequence[Mapping[str, Any]]

    @property
    def tasks(self) -> list[str]:
        """The Hub's names of the tasks of the runs."""
        kinds = [str((record.get("task") or {}).get("name")) for record in self.records]
        tags = [CARD_TASKS[kind].pipeline_tag for kind in kinds if kind in CARD_TASKS]
        return [tag for tag in dict.fromkeys(tags) if tag]

    @property
    def datasets(self) -> list[str]:
        """Hub ids of the datasets of the runs."""
        return list(dict.fromkeys(name for record in self.records if (name := hub_dataset(record)) is not None))


def dataset_contents(
    folder: Path, repo_id: str, card: CardArguments, *, texts: bool = False, include: Sequence[str] = ()
) -> Contents:
    """The contents of a comparison that is published as a dataset; the card is its Markdown report.

    Args:
        texts: keep texts of the dataset in the report and the records.
        include: glob patterns of additional files in the folder, such as `runs/*/predictions_test.parquet`.
    """
    asked = included(folder, include)
    report = public_report(folder, texts=texts, published=set(asked))
    files = [HubFile(name, content) for name, content in report.files.items() if name != "report.md"]
    files.append(own_readme(folder) or HubFile(CARD, dataset_card(report, repo_id, card).encode()))
    made = {file.path for file in files}
    files += [HubFile(name, path, "requested") for name, path in asked.items() if name not in made]
    left = {"runs": "contains models, and predictions with texts of the dataset"}
    if (folder / "stages").is_dir():
        left["stages"] = "contains models"
    return Contents(sorted(files, key=lambda file: file.path), left, {"name": report.title})


def check_report_folder(folder: Path) -> None:
    """Raise a UserError unless `folder` is the folder of a comparison."""
    if not (folder / RESULTS).is_file():
        model = " It is a model: leave out --repo_type." if (folder / "config.json").is_file() else ""
        raise UserError(
            f"The folder {str(folder)!r} has no {RESULTS}, so it is not a comparison.{model} Name the --output_dir of "
            "tl-toolkit compare."
        )


def public_report(folder: Path, *, texts: bool = False, published: set[str] | None = None) -> Report:
    """The comparison in `folder`, with a new report from records without paths of this machine.

    Args:
        texts: keep texts of the dataset in the report and the records.
        published: names of the files of runs that are published as well, so that records may refer to them.

    Raises:
        UserError: the folder is not a comparison, none of its runs is recorded, a published file is damaged, or the
            new report differs from that of `folder` in an entry, a run or a verdict.
    """
    check_report_folder(folder)
    store = read_store(folder / RESULTS)
    results = store.results
    if not results:
        raise UserError(f"No run of the comparison in {str(folder)!r} is recorded yet.")
    _check_published(results, folder, published or set())
    records = [_public_record(result, texts, published or set()) for result in results]
    title = title_of(folder) or "Comparison"
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        # The report needs the files of the runs, which are linked here; the published records do not name them.
        named = ("predictions", "attention", "artefacts")
        kept = [{name: result.record[name] for name in named if name in result.record} for result in results]
        (place / RESULTS).write_bytes(_lines([record | own for record, own in zip(records, kept, strict=True)]))
        for path in folder.resolve().iterdir():
            if path.is_dir() and path.name != "figures":
                os.symlink(path, place / path.name, target_is_directory=True)
        public = read_store(place / RESULTS)
        asked = asked_in(folder)
        context = build_context(public.results, place, title, texts, asked)
        for own in (entry for panel in context["panels"] for entry in panel["entries"]):
            own["explained"] = None  # these pages are not published
        write_pages(context, replace(public, damaged=store.damaged), place, notes_of(folder))
        local = statements(results) | {"verdicts": verdicts(decision_in(folder))}
        prove_equal(local, statements(public.results) | {"verdicts": verdicts(context["decision"])})
        written = [path for path in (*place.iterdir(), *(place / "figures").rglob("*")) if path.is_file()]
        files = {path.relative_to(place).as_posix(): path.read_bytes() for path in written}
        (place / RESULTS).write_bytes(_lines(records))
        prove_equal(statements(results), statements(read_results(place / RESULTS)))
        files[RESULTS] = _lines(records)
    return Report(title, dict(sorted(files.items())), records)


def _lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(sealed(record), ensure_ascii=False) + "\n" for record in records).encode()


def _check_published(results: Sequence[Result], folder: Path, published: set[str]) -> None:
    """Check that the published files of runs are those that the runs wrote."""
    for result in results:
        for name in artefacts_of(result.record):
            path = f"{result.folder}/{name}"
            if path in published and (found := damage(folder / path, result.record, name)) is not None:
                raise UserError(
                    f"The file {path!r} {found}, so nothing was sent. Run the comparison again to repeat this run, or "
                    "leave the file out of --include."
                )


def _public_record(result: Result, texts: bool, published: set[str]) -> dict[str, Any]:
    """The published version of a record: no paths of the machine, and texts of the dataset only if `texts`.

    It has the names that the local report shows, and ids, so that entries stay apart whose names are cleaned alike.
    """
    record, folder = result.record, result.folder
    own = [name for name in artefacts_of(record) if f"{folder}/{name}" in published]
    cleaned: dict[str, Any] = clean_record(keeping(record, own))
    cleaned |= {"entry": result.entry, "entry_id": result.entry_id, "dataset_id": result.dataset_id}
    if not texts:
        cleaned.pop("samples", None)
    named = record.get("predictions") or {}
    cleaned["predictions"] = {split: name for split, name in named.items() if f"{folder}/{name}" in published}
    cleaned["attention"] = record.get("attention") if f"{folder}/{record.get('attention')}" in published else None
    if record.get("folder") is not None:
        cleaned["folder"] = "." if Path(folder).is_absolute() or ".." in Path(folder).parts else record["folder"]
    return cleaned


def dataset_card(report: Report, repo_id: str, arguments: CardArguments) -> str:
    """The card of a published comparison: its report in Markdown, and a description of the files."""
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        language=arguments.languages or None,
        license=arguments.license,
        pretty_name=" ".join(report.title.split()),
        size_categories="n<1K" if len(report.records) < 1000 else "1K<n<10K",
        task_categories=report.tasks or None,
        tags=[TAG, "model-comparison"],
        configs=[{"config_name": "runs", "data_files": "results.parquet", "default": True}],
    )
    body = render(
        Path(__file__).parent / "templates" / "dataset_card.md.jinja",
        {
            "marker": MARKER,
            "report": report,
            "repo_id": repo_id,
            "names": {name.partition("/")[0] + "/" if "/" in name else name for name in report.files},
        },
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"
