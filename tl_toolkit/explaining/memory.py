"""Over how many words networks remember: their accuracy on `builtin:recall` by distance, read from results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..comparison.report.drawing import new_figure, short
from ..data.recall import LANGUAGES
from ..errors import UserError, listing
from ..evaluation.formatting import joined
from ..figures.palette import MUTED, colour, marker
from .view import Picture, View, legend, page_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHANCE = 1 / len(LANGUAGES)
RECALLED, AT_CHANCE = 0.95, CHANCE + 0.05
"""Mean accuracies from which sentences say that a network remembers, and up to which it is at chance."""
_NEEDED = ("entry", "dataset", "seed", "test.accuracy")


def view(path: str) -> View:
    """The accuracies in the folder of a comparison, or in a csv file with these columns."""
    numbers = read_accuracies(path)
    means = by_distance(numbers)
    rows = [
        [row.entry, str(row.distance), f"{row.mean:.1%}", f"{row.least:.1%}", f"{row.most:.1%}", str(row.seeds)]
        for row in means.itertuples()
    ]
    columns = ["Network", "Words between", "Mean accuracy", "Least", "Most", "Seeds"]
    return View(
        "memory", "Memory over a distance",
        f"A language is named, that many random words follow, and the end asks for it: one of {len(LANGUAGES)}, so "
        f"chance is {CHANCE:.0%}. Each network was trained and tested at each distance. Lines are means over the "
        "seeds, bands reach from the least to the most accurate seed. Markers at one "
        "distance are drawn side by side.",
        _sentences(means), {"memory": numbers, "memory_by_distance": means},
        [Picture("memory", "Accuracy over the distance",
                 "Test accuracy of each network over the number of words between a language and the question.",
                 lambda narrow: _draw(means, narrow))],
        [("Accuracy by network and distance", columns, rows, 1)],
    )  # fmt: skip


def read_accuracies(path: str) -> pd.DataFrame:
    """Test accuracy by entry, distance and seed: of a comparison's folder, or of a csv file with columns as there.

    The distance is the number at the end of the dataset's name, such as `recall-50` or `builtin:recall:50`. Rows
    without an accuracy, of runs that failed, are left out.

    Raises:
        UserError: the file cannot be read or lacks columns, or a dataset has no number.
    """
    import pandas as pd

    file = Path(path).expanduser()
    file = file / "results.csv" if file.is_dir() else file
    try:
        results = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The results {str(file)!r} cannot be read ({error}). Set --from_results to the folder of a comparison on "
            "datasets such as builtin:recall:50, or to the file that benchmarks/recall.py writes."
        ) from error
    if lacking := [name for name in _NEEDED if name not in results]:
        raise UserError(f"The results {str(file)!r} have no column {listing(lacking)}; they need {listing(_NEEDED)}.")
    results = results.dropna(subset=["test.accuracy"])
    distances = results["dataset"].astype(str).str.extract(r"(\d+)$", expand=False)
    if distances.isna().any() or results.empty:
        named = listing(map(str, dict.fromkeys(results["dataset"][distances.isna()]))) if len(results) else "none"
        raise UserError(
            f"The results {str(file)!r} need datasets whose names end in the number of filler words, such as "
            f"recall-50; without a number: {named}."
        )
    return pd.DataFrame({
        "entry": results["entry"], "distance": distances.astype(int), "seed": results["seed"],
        "accuracy": results["test.accuracy"].astype(float),
    }).reset_index(drop=True)  # fmt: skip


def by_distance(numbers: pd.DataFrame) -> pd.DataFrame:
    """Mean, least and most accurate seed by entry and distance, in the order of entries and of distances."""
    order = {name: place for place, name in enumerate(dict.fromkeys(numbers["entry"]))}
    means = numbers.groupby(["entry", "distance"], as_index=False)["accuracy"].agg(["mean", "min", "max", "count"])
    means = means.rename(columns={"min": "least", "max": "most", "count": "seeds"})
    return means.sort_values(["entry", "distance"], key=lambda own: own.map(order) if own.name == "entry" else own,
                             ignore_index=True)  # fmt: skip


def _sentences(means: pd.DataFrame) -> list[str]:
    first = f"At no distance is one network at {RECALLED:.0%} or more and another at chance ({CHANCE:.0%})."
    for distance in sorted(means["distance"].unique(), reverse=True):
        own = means[means["distance"] == distance].set_index("entry")["mean"]
        able, unable = own[own >= RECALLED], own[own <= AT_CHANCE]
        if len(able) and len(unable):
            told = [joined([f"{name} {mean:.0%}" for name, mean in side.items()]) for side in (able, unable)]
            first = (
                f"Over {distance} words, the language is recalled by {told[0]}; at chance ({CHANCE:.0%}): {told[1]}."
            )
            break
    reach = means[means["mean"] >= RECALLED].groupby("entry")["distance"].max()
    told = [f"{name} {reach.get(name, 'none')}" for name in dict.fromkeys(means["entry"])]
    return [first, f"The longest distance in words with {RECALLED:.0%} or more: {joined(told)}."]


def _draw(means: pd.DataFrame, narrow: bool) -> Figure:
    from matplotlib.ticker import FixedLocator, NullLocator

    figure, axes = new_figure(page_width(narrow), 250 if narrow else 290, left=40, right=14)
    distances = sorted(means["distance"].unique())
    middle = (means["entry"].nunique() - 1) / 2
    for place, (name, own) in enumerate(means.groupby("entry", sort=False)):
        beside = own["distance"] * 1.03 ** (place - middle)  # side by side, so that equal accuracies are all seen
        axes.fill_between(beside, own["least"], own["most"], color=colour(place), alpha=0.15, linewidth=0)
        axes.plot(beside, own["mean"], color=colour(place), marker=marker(place), markersize=5.5, linewidth=1.6,
                  label=short(str(name), 38))  # fmt: skip
    axes.axhline(CHANCE, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.2, label="chance")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(distances))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(0, 1.04)
    axes.set_title("test accuracy: mean and range of the seeds")
    axes.set_xlabel("words between the language and the question, logarithmic")
    legend(figure, axes, 1 if narrow else 3)
    return figure
