"""The view `attributions`: shaded words, bars of several models side by side, maps, and deletion curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..comparison.report.drawing import grid_of_axes, new_figure, short
from ..evaluation.formatting import joined
from ..figures.palette import MUTED, SURFACE, colour, marker
from ..figures.style import colour_bar, font_families
from .attributions import OCCLUSION, TOLERANCE, attribute
from .deletion import RANDOM, SEEDS, SHARES, areas, deletion_curves
from .readings import read
from .subjects import Subject
from .view import Picture, View, legend, page_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_WORDS = 40
"""Words of a picture."""
SHADED = 6
"""Texts that the page shades."""
FOR, AGAINST = colour(0), colour(1)
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForConditionalGeneration", "MTModel")


def fits(subject: Subject) -> bool:
    """Whether the model classifies, tags or rewrites texts."""
    return subject.architecture in _HEADS


def view(subjects: Sequence[Subject], texts: Sequence[str]) -> View:
    """The attributions of these models in each text; bars and maps show the first one."""
    values, answers, deletion = tables(subjects, texts)
    area = areas(deletion)
    first = values[values["text"] == 0]
    pictures = []
    sides = {name: own for name, own in first.groupby("model", sort=False) if own["answer"].max() == 0}
    if sides:
        pictures.append(
            Picture("attributions", "The words of the first text",
                    "Attribution of each word of the first text, a panel for each model; bars to the right support the "
                    "answer, bars to the left contradict it.", lambda narrow: _draw_bars(sides, narrow))
        )  # fmt: skip
    for number, (name, own) in enumerate(first.groupby("model", sort=False)):
        if own["answer"].max() > 0:
            pictures.append(
                Picture(f"attributions-{number}", f"{name}: words for (blue) and against (orange) each answer",
                        f"Attributions of {name}, {_main(own)['method'].iloc[0]}: a row for each answer about the "
                        "first text, a column for each of its words.",
                        lambda narrow, own=own: _draw_map(own, narrow))  # type: ignore[misc]
            )  # fmt: skip
    if len(deletion):
        pictures.append(
            Picture("deletion", "The answer while words are removed",
                    "Mean probability of the answer over the share of words removed, a panel for each model and a line "
                    "for each order of the words.", lambda narrow: _draw_curves(deletion, narrow))
        )  # fmt: skip
    rows = [
        [row.model, row.method, f"{row.area:.3f}",
         *(("–", "–") if row.method == RANDOM else (f"{row.gain:+.3f}", _interval(row))), str(row.texts)]
        for row in area.itertuples()
    ]  # fmt: skip
    return View(
        "attributions", "Which words decide",
        "The answer is what the model itself says: its most probable class, the tag of a word, or a word that it "
        "writes. Attributions share out its score, which is log-odds for classes and tags, the log-probability of a "
        "written word, and the number itself for a regression. Integrated gradients and occlusion replace words by "
        "padding; special tokens stay. The deletion curve takes the words with the highest attributions out of the "
        f"text, or random ones ({SEEDS} orders of each text): the faster it falls, the better the method finds the "
        "words that the model uses. Attributions say what the model reads, not whether it is right.",
        _sentences(values, area), {"attributions": values, "attribution_answers": answers, "deletion": deletion,
                                   "deletion_area": area}, pictures,
        [("Area below the deletion curves", ["Model", "Words removed first", "Area", "Less than random by",
                                             "95 % interval", "Texts"], rows, 2),
         ("Completeness of the integrated gradients", ["Model", "Answers", "Largest error"],
          _completeness(answers), 1)],
        _shaded(values, answers), signed=True,
    )  # fmt: skip


def tables(subjects: Sequence[Subject], texts: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Attributions, answers and deletion curves.

    Returns:
        A row for each model, text, answer, method and word, with `value`; one for each model, text and answer, with its
        `score`, `probability` and the relative `error` of the sum of integrated gradients; one for each model, text,
        answer, method, seed and share of words removed, with the `probability`.
    """
    import pandas as pd

    values, answers, curves = [], [], []
    for subject in subjects:
        for text, written in enumerate(texts):
            reading = read(subject, written)
            found, errors = attribute(reading)
            scores = reading.scores_blanked(np.zeros((1, len(reading.words)), bool))[0]
            probabilities = reading.probability(scores)
            for answer, target in enumerate(reading.targets):
                about = (subject.name, text, answer, target)
                answers.append((*about, scores[answer], probabilities[answer], errors[answer]))
                values += [(*about, method, place, word, own[answer, place]) for method, own in found.items()
                           for place, word in enumerate(reading.words)]  # fmt: skip
            for answer, method, seed, line in deletion_curves(reading, found, text):
                curves += [
                    (subject.name, text, answer, method, seed, *point) for point in zip(SHARES, line, strict=True)
                ]
    keys = ["model", "text", "answer"]
    return (
        pd.DataFrame(values, columns=[*keys, "target", "method", "place", "word", "value"]),
        pd.DataFrame(answers, columns=[*keys, "target", "score", "probability", "error"]),
        pd.DataFrame(curves, columns=[*keys, "method", "seed", "share", "probability"]),
    )


def _main(own: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first method: integrated gradients, or occlusion without them."""
    return own[own["method"] == own["method"].iloc[0]]


def _interval(row: pd.Series) -> str:
    return "–" if np.isnan(row.low) else f"{row.low:+.3f} to {row.high:+.3f}"


def _completeness(answers: pd.DataFrame) -> list[list[str]]:
    worst = answers.groupby("model", sort=False)["error"].agg(["size", "max"]).dropna()
    return [[name, str(int(own["size"])), f"{own['max']:.1%}{'' if own['max'] <= TOLERANCE else ' (too much)'}"]
            for name, own in worst.iterrows()]  # fmt: skip


def _shaded(values: pd.DataFrame, answers: pd.DataFrame) -> list[tuple[str, list[str], list[float]]]:
    """Texts with one answer: every method for the first text, and the first method for further ones."""
    told = []
    probability = answers.set_index(["model", "text", "answer"])["probability"]
    for (name, text), own in values[values["text"] < SHADED].groupby(["model", "text"], sort=False):
        if own["answer"].max() > 0:
            continue
        for method, part in own.groupby("method", sort=False) if text == 0 else [(None, _main(own))]:
            head = f"{name}, {method}" if text == 0 else f"{name}, text {text + 1}"
            target = f"{part['target'].iloc[0]} ({probability[name, text, 0]:.2f})"
            told.append((f"{head}: {target}", part["word"].tolist(), part["value"].tolist()))
    return told


def _sentences(values: pd.DataFrame, area: pd.DataFrame) -> list[str]:
    told = []
    for name, own in values[values["text"] == 0].groupby("model", sort=False):
        most = (mine := _main(own)).loc[mine["value"].idxmax()]
        told.append(f"“{most['word']}” in {name} ({most['value']:+.2f} for {most['target']})")
    said = [f"The word of the first text that most supports an answer is {joined(told)}."]
    if area.empty:
        return [*said, "The texts have one word each, so none can be removed."]
    curves = []
    for name, own in area.groupby("model", sort=False):
        best, chance = own.iloc[0], own[own["method"] == RANDOM]["area"].iloc[0]
        spread = (
            ""
            if np.isnan(best["low"])
            else f", 95 % interval of the difference {best['low']:.3f} to {best['high']:.3f}"
        )
        curves.append(f"{best['area']:.3f} in {name} ({chance:.3f} for random words{spread})")
    what = "occlusion" if set(values["method"]) == {OCCLUSION} else f"{values['method'].iloc[0]}"
    texts = area["texts"].max()
    return [*said, f"If the words with the highest {what} are removed first, the mean probability of the answer along "
            f"the deletion curve is {joined(curves)}{f', over {texts} texts' if texts > 1 else ''}."]  # fmt: skip


def _draw_bars(sides: dict[str, pd.DataFrame], narrow: bool) -> Figure:
    """Bars for each word (rows), a panel for each model, all with the same words in the same rows if they agree."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = {name: _main(own).head(MOST_WORDS) for name, own in sides.items()}
    columns = min(len(shown), 2 if narrow else 4)
    rows, words = -(-len(shown) // columns), max(map(len, shown.values()))
    width, line, head, foot, left = page_width(narrow), 15.0, 36.0, 32.0, 96.0
    alike = len({tuple(own["word"]) for own in shown.values()}) == 1
    tall = head + words * line + foot
    figure = Figure(figsize=(width / 72, rows * tall / 72))
    gap = 14.0 if alike else left
    most = max(own["value"].abs().max() for own in shown.values()) or 1.0
    least = min(0.0, *(own["value"].min() for own in shown.values()))
    wide = (width - left - 10 - gap * (columns - 1)) / columns
    for number, (name, own) in enumerate(shown.items()):
        row, column = divmod(number, columns)
        bottom = (rows - row - 1) * tall + foot + (words - len(own)) * line
        place = left + column * (wide + gap)
        axes = figure.add_axes((place / width, bottom / (rows * tall), wide / width, len(own) * line / (rows * tall)))
        axes.barh(range(len(own)), own["value"], height=0.7, color=[FOR if v >= 0 else AGAINST for v in own["value"]])
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_xlim(least - 0.04 * most, 1.04 * most)  # the same scale in all panels
        axes.set_ylim(len(own) - 0.4, -0.6)
        labels = [short(word, 15) for word in own["word"]] if column == 0 or not alike else []
        axes.set_yticks(range(len(labels)), labels, family=font_families("".join(own["word"])), fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
        axes.set_title(f"{short(name, int(wide / 6))}\nsays {short(own['target'].iloc[0], int(wide / 6))}", fontsize=9)
        axes.set_xlabel(f"against ← {own['method'].iloc[0]} → for", fontsize=8)
    return figure


def _draw_map(own: pd.DataFrame, narrow: bool) -> Figure:
    """Answers (rows) over words (columns), with the signs of the attributions as two colours."""
    from matplotlib.colors import LinearSegmentedColormap

    table = _main(own).pivot(index="answer", columns="place", values="value").to_numpy()[:MOST_WORDS, :MOST_WORDS]
    named = _main(own).drop_duplicates("answer")["target"].tolist()[: len(table)]
    words = _main(own).drop_duplicates("place")["word"].tolist()[: table.shape[1]]
    cell, left, width = 16.0, 110.0, page_width(narrow)
    wide = min(width - left - 50, cell * 1.4 * table.shape[1])
    tall = cell * len(table)
    figure, axes = new_figure(width, tall + 70, left=left, right=width - left - wide)
    axes.set_position((left / width, 62 / (tall + 70), wide / width, tall / (tall + 70)))
    most = float(np.abs(table).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("signed", [AGAINST, SURFACE, FOR])
    drawn = axes.imshow(table, cmap=colours, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    axes.grid(False)
    family = font_families("".join([*named, *words]))
    axes.set_xticks(range(len(words)), [short(word, 11) for word in words], rotation=90, family=family, fontsize=8)
    axes.set_yticks(range(len(named)), [short(name, 18) for name in named], family=family, fontsize=8)
    colour_bar(figure, drawn, ((left + wide + 6) / width, 62 / (tall + 70), 7 / width, tall / (tall + 70)))
    return figure


def _draw_curves(deletion: pd.DataFrame, narrow: bool) -> Figure:
    """The mean over texts and answers; random orders with the range over their seeds."""
    models = list(dict.fromkeys(deletion["model"]))
    columns = 1 if narrow else min(len(models), 2)
    figure, panels = grid_of_axes(page_width(narrow), len(models), columns, 210 if narrow else 230)
    methods = [name for name in dict.fromkeys(deletion["method"]) if name != RANDOM]
    for axes, model in zip(panels, models, strict=True):
        own = deletion[deletion["model"] == model]
        for place, method in enumerate([*methods, RANDOM]):
            part = own[own["method"] == method]
            if part.empty:
                continue
            line = part.groupby("share")["probability"].mean()
            style = {"color": MUTED, "linestyle": (0, (4, 2))} if method == RANDOM else {
                "color": colour(place), "marker": marker(place), "markersize": 4.5}  # fmt: skip
            axes.plot(
                100 * line.index, line, linewidth=1.6, label="random order" if method == RANDOM else method, **style
            )
            if method == RANDOM:
                seeds = part.groupby(["seed", "share"])["probability"].mean().unstack("share")
                axes.fill_between(100 * line.index, seeds.min(), seeds.max(), color=MUTED, alpha=0.2, linewidth=0)
        axes.set_title(f"{short(model, 30)}: mean probability of the answer")
        axes.set_xlabel("% of the words removed, highest attribution first")
        axes.set_ylim(min(0, deletion["probability"].min()), max(1, deletion["probability"].max()))
    legend(figure, panels[0], 1 if narrow else 4)
    return figure
