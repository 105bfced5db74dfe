"""The vectors of one word in several sentences: static ones, and those of each layer of a model.

Peters et al. 2018, "Deep contextualized word representations", section 5.3; Ethayarajh 2019, "How contextual are
contextualized word representations?".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..comparison.report.drawing import grid_of_axes, new_figure, short
from ..data.vectors import vectors_of_words
from ..errors import UserError
from ..evaluation.formatting import joined
from ..figures.palette import MUTED, colour, marker
from ..figures.style import colour_bar
from .subjects import Subject
from .view import Picture, View, legend, page_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Layer(NamedTuple):
    """The vectors (texts, size) of the word in one layer of a model; layer 0 is the static embedding."""

    model: str
    number: int
    vectors: np.ndarray


def fits(subject: Subject) -> bool:
    """Whether the model has one sequence of states over the text."""
    return not subject.model.config.is_encoder_decoder


def view(
    subjects: Sequence[Subject], texts: Sequence[str], word: str, senses: Sequence[str] = (), vectors: str | None = None
) -> View:
    """The vectors of `word` in these texts, which have these senses, in a file of static vectors and in models."""
    import pandas as pd

    spellings = [_find(word, text, text)[1] for text in texts]
    layers = []
    if vectors:
        layers.append(
            Layer(re.sub(r"(\.txt|\.vec)?(\.gz)?$", "", Path(vectors).name), 0, static_vectors(vectors, spellings))
        )
    for subject in subjects:
        by_text = [vectors_in_context(subject, text, word) for text in texts]
        layers += [Layer(subject.name, number, np.stack(own)) for number, own in enumerate(zip(*by_text, strict=True))]
    if not layers:
        raise UserError("The view context fits no encoder-decoder: name other models, or a file of word --vectors.")
    order = sorted(range(len(texts)), key=lambda text: list(senses).index(senses[text]) if senses else text)
    matrices = [(layer, cosines(layer.vectors)) for layer in layers]
    pairs = [(first, second) for place, first in enumerate(order) for second in order[place + 1 :]]
    numbers = pd.DataFrame(
        [(own.model, own.number, *pair, matrix[pair]) for own, matrix in matrices for pair in pairs],
        columns=["model", "layer", "text", "other_text", "similarity"],
    )
    scores = pd.DataFrame(
        [{"model": own.model, "layer": own.number, **separation(matrix, senses)} for own, matrix in matrices]
    )
    pictures = [
        Picture("context", f"Similarity of “{word}” in each pair of texts",
                f"Cosine similarity of the vectors of {word} in each pair of texts, a map for each layer.",
                lambda narrow: _draw_maps(matrices, order, [senses[text] for text in order] if senses else [], narrow))
    ]  # fmt: skip
    if senses:
        pictures.append(
            Picture("context-senses", "Separation of the senses by layer",
                    "Silhouette of the senses over the layers of each model.",
                    lambda narrow: _draw_scores(scores, narrow))
        )  # fmt: skip
    named = {"similarity": "Mean similarity", "within": "Same sense", "between": "Other sense",
             "silhouette": "Silhouette", "nearest": "Nearest has the sense"}  # fmt: skip
    columns = [name for name in named if name in scores]
    rows = [
        [own.model, _layer(own.layer), *(f"{getattr(own, name):.3f}" for name in columns)]
        for own in scores.itertuples()
    ]
    listed = [[str(text + 1), senses[text] if senses else "", texts[text]] for text in order]
    return View(
        "context", "One word in several texts",
        "Cosine similarity of the vectors of the word's first occurrence in each text; of a word in several pieces, "
        "the mean of the pieces. Layer 0 is the embedding of the pieces without context or position. The silhouette "
        "compares the cosine distance to texts of the same sense with that to the nearest other sense: 1 for separate "
        "senses, 0 for none. The nearest neighbour of each text is that among all others; those at the same distance "
        "count in part. With few texts both are illustrations, not measurements of a model.",
        _sentences(word, scores, len(texts)), {"context": numbers, "context_layers": scores}, pictures,
        [("Similarity and separation by layer", ["Model", "Layer", *(named[name] for name in columns)], rows, 1),
         ("The texts, as numbered in the maps", ["Text", "Sense", "Words"], listed, 3)],
    )  # fmt: skip


def _find(word: str, searched: str, text: str) -> tuple[slice, str]:
    """Where the word first is in `searched`, and its spelling there; letters of either case are equal."""
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", searched, re.IGNORECASE)
    if found is None:
        raise UserError(
            f"The word {word!r} is not in the part of the text {text!r} that is read: each --text needs --word."
        )
    return slice(*found.span()), found[0]


def static_vectors(path: str, spellings: Sequence[str]) -> np.ndarray:
    """(texts, size) vectors from a file of word vectors.

    Raises:
        UserError: the file cannot be read, or does not have a word.
    """
    found = vectors_of_words(path, set(spellings))
    for spelling in spellings:
        if spelling not in found:
            raise UserError(f"The file of word vectors {path!r} has no vector of {spelling!r}: leave --vectors out.")
    return np.stack([found[spelling] for spelling in spellings])


def vectors_in_context(subject: Subject, text: str, word: str) -> list[np.ndarray]:
    """The vector of the word's first occurrence in each layer, the mean of its pieces; first the embedding.

    Raises:
        UserError: the word is not in the part of the text that the model reads.
    """
    import torch

    inputs = subject.encode(text)
    pieces = [own for own in subject.pieces(text, inputs) if not own.special]
    place, _ = _find(word, "".join(piece.text for piece in pieces), text)
    tokens: list[int] = []
    start = 0
    for piece in pieces:
        own = range(start + len(piece.text) - len(piece.text.lstrip()), start + len(piece.text))
        tokens += piece.tokens if own.start < place.stop and place.start < own.stop else ()
        start += len(piece.text)
    with torch.no_grad():
        states = subject.model(**inputs, output_hidden_states=True, return_dict=True).hidden_states
        table = subject.model.get_input_embeddings()
        layers = [table(inputs["input_ids"]) if isinstance(table, torch.nn.Embedding) else states[0], *states[1:]]
    return [layer[0, tokens].double().mean(0).numpy() for layer in layers]


def cosines(vectors: np.ndarray) -> np.ndarray:
    """(texts, size) -> (texts, texts) cosine similarities."""
    vectors = vectors.astype(float)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return (units @ units.T).round(9).clip(-1, 1)  # rounded, so that equal vectors are equally near


def separation(similarity: np.ndarray, senses: Sequence[str]) -> dict[str, float]:
    """The mean similarity of pairs; with senses also that within and between them, and how well they are separated.

    `silhouette` is the mean of (b - a) / max(a, b) over the texts, for the mean cosine distances a to the same sense
    and b to the nearest other one (Rousseeuw 1987). `nearest` is the share of texts whose nearest neighbour has their
    sense; of several equally near ones, each counts in part.
    """
    from sklearn.metrics import silhouette_score

    others = ~np.eye(len(similarity), dtype=bool)
    means = {"similarity": float(similarity[others].mean())}
    if not senses:
        return means
    names = np.array(senses, object)
    same = names[:, None] == names
    nearest = np.where(others, similarity, -np.inf)
    ties = nearest == nearest.max(axis=1, keepdims=True)
    return {
        **means, "within": float(similarity[same & others].mean()), "between": float(similarity[~same].mean()),
        "silhouette": float(silhouette_score((1 - similarity) * others, names, metric="precomputed")),
        "nearest": float(((ties & same).sum(1) / ties.sum(1)).mean()),
    }  # fmt: skip


def _layer(number: int) -> str:
    return str(number) if number else "0, static"


def _sentences(word: str, scores: pd.DataFrame, texts: int) -> list[str]:
    models = list(scores.groupby("model", sort=False))
    if "silhouette" not in scores:
        told = [f"{own['similarity'].iloc[0]:.2f} in layer {own['layer'].iloc[0]} and "
                f"{own['similarity'].iloc[-1]:.2f} in layer {own['layer'].iloc[-1]} of {name}"
                for name, own in models]  # fmt: skip
        return [f"The vectors of “{word}” in {texts} texts have a mean cosine similarity of {joined(told)}.",
                "No senses were given, so nothing is said about which texts belong together."]  # fmt: skip
    best = [own.loc[own["silhouette"].iloc[1:].idxmax() if len(own) > 1 else own.index[0]] for _, own in models]
    told = [f"{own['silhouette']:.2f} in layer {own['layer']} of {own['model']}" for own in best]
    first = f"The senses of “{word}” in {texts} texts have the highest silhouette, of at most 1: {joined(told)}."
    told = [f"{own['nearest']:.0%} in {own['model']}" for own in best]
    second = f"There, the nearest neighbour has the same sense for this share of the texts: {joined(told)}"
    spelt = scores[(scores["layer"] == 0) & (scores["silhouette"] > 0)]
    if told := [f"{own.silhouette:.2f} in {own.model}" for own in spelt.itertuples()]:
        second += f"; their spellings alone, without context, have a silhouette of {joined(told)}"
    return [first, f"{second}."]


def _draw_maps(
    matrices: Sequence[tuple[Layer, np.ndarray]], order: Sequence[int], senses: Sequence[str], narrow: bool
) -> Figure:
    """A map for each layer, with the texts of a sense side by side."""
    width, columns = page_width(narrow), 2 if narrow else 4
    figure, places = grid_of_axes(width, len(matrices), columns, 172 if narrow else 176, below=44)
    least = min(float(matrix.min()) for _, matrix in matrices)
    lowest = min(np.floor(least * 10) / 10, 0.9)
    borders = [place - 0.5 for place in range(1, len(order)) if senses and senses[place] != senses[place - 1]]
    for axes, (layer, matrix) in zip(places, matrices, strict=True):
        drawn = axes.imshow(matrix[np.ix_(order, order)], cmap="cividis", vmin=lowest, vmax=1, aspect="auto")
        for border in borders:
            axes.axhline(border, color="#ffffff", linewidth=1.6)
            axes.axvline(border, color="#ffffff", linewidth=1.6)
        axes.grid(False)
        axes.set_title(f"{short(layer.model, 15)}, layer {layer.number}", fontsize=9)
        labels = [str(text + 1) for text in order]
        axes.set_xticks(range(len(order)), labels, fontsize=7)
        axes.set_yticks(range(len(order)), labels, fontsize=7)
        axes.set_xlabel("text", fontsize=8)
        axes.tick_params(length=0)
        for sense in dict.fromkeys(senses) if axes in places[::columns] else ():
            rows = [place for place, own in enumerate(senses) if own == sense]
            axes.text(-0.13, sum(rows) / len(rows), short(sense, 10), transform=axes.get_yaxis_transform(), rotation=90,
                      ha="right", va="center", fontsize=8, color=MUTED)  # fmt: skip
    tall = figure.get_size_inches()[1] * 72
    place = (34 / width, 32 / tall, (width - 60) / width, 7 / tall)
    colour_bar(figure, drawn, place, orientation="horizontal", label="cosine similarity")
    return figure


def _draw_scores(scores: pd.DataFrame, narrow: bool) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(page_width(narrow), 230 if narrow else 250, left=40, right=14)
    for place, (name, own) in enumerate(scores.groupby("model", sort=False)):
        if len(own) == 1:
            axes.axhline(own["silhouette"].iloc[0], color=colour(place), linestyle=(0, (4, 2)), linewidth=1.6,
                         label=short(str(name), 34))  # fmt: skip
            continue
        axes.plot(own["layer"], own["silhouette"], color=colour(place), marker=marker(place), markersize=5.5,
                  linewidth=1.6, label=short(str(name), 34))  # fmt: skip
    axes.set_ylim(min(-0.1, scores["silhouette"].min() - 0.05), 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("silhouette of the senses")
    axes.set_xlabel("layer; 0 is the static embedding")
    legend(figure, axes, 1 if narrow else 3)
    return figure
