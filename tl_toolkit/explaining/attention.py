"""Where a model looks: alignment of encoder-decoders, self-attention, and attention pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.arguments import ModelArguments
from ..evaluation.formatting import joined
from ..figures.alignment import attention_of, with_attention
from ..figures.attention_map import draw_attention_map
from ..figures.attention_weights import weights_of_tokens
from ..figures.token_spans import merge_weights, words_of
from ..tasks.pair_processing import load_pair_processing
from .subjects import NEW_TOKENS, Subject
from .view import Picture, View

if TYPE_CHECKING:
    import pandas as pd


def fits(subject: Subject) -> bool:
    """Whether the model has attention over tokens."""
    config = subject.model.config
    if config.is_encoder_decoder:
        return getattr(config, "attention", None) != "none"
    has_heads = any(hasattr(config, name) for name in ("num_attention_heads", "encoder_config"))
    return has_heads or getattr(config, "pooling", None) == "attention"


def view(subjects: Sequence[Subject], texts: Sequence[str]) -> View:
    """The attention of these models in each text; the maps show the first one."""
    import pandas as pd

    frames, pictures, attended = [], [], []
    for number, subject in enumerate(subjects):
        for place, text in enumerate(texts):
            if subject.model.config.is_encoder_decoder:
                source, target, layers = _alignment(subject, text)
            else:
                source = target = subject.tokens(text)
                layers = _self_attention(subject, text)
                attended += _attended(subject, text)
            frames += [_frame(subject.name, place, layer, source, target, own) for layer, own in layers]
            if place == 0 and layers[-1][1].shape[1] > 1:
                layer, last = layers[-1]
                pictures.append(_map(number, subject, layer, source, target, last.mean(0)))
    numbers = pd.concat(frames, ignore_index=True)
    heads = by_head(numbers)
    rows = [
        [row.model, str(row.layer), str(row.head), f"{row.entropy:.2f}",
         "–" if np.isnan(row.distance) else f"{row.distance:.1f}"]
        for row in heads.itertuples()
    ]  # fmt: skip
    return View(
        "attention", "Attention",
        "Entropy, in bits, is that of the weights of a query, averaged over the queries: 0 for one token, log2 n for n "
        "tokens alike. The distance is the mean number of tokens between a query and what it looks at. Weights show "
        "which tokens entered a vector, not why the model decided.",
        _sentences(numbers, heads), {"attention": numbers, "attention_heads": heads}, pictures,
        [("Entropy and distance of each head", ["Model", "Layer", "Head", "Entropy", "Distance"], rows, 3)], attended,
    )  # fmt: skip


def _alignment(subject: Subject, text: str) -> tuple[list[str], list[str], list[tuple[int, np.ndarray]]]:
    """Source, what the model writes, and the last layer's weights, the mean of its heads."""
    processing = load_pair_processing(ModelArguments(model_name_or_path=subject.path))
    written: dict[str, Any] = {"target_tokenizer": processing.target_tokenizer, "max_new_tokens": NEW_TOKENS}
    found = attention_of(subject.model, subject.tokenizer, text, **written)
    config = subject.model.config
    last = getattr(config, "decoder_layers", None) or config.num_hidden_layers
    source, target = ([token.strip() or token for token in side] for side in (found.source, found.target))
    return source, target, [(last, found.weights.numpy()[None])]


def _self_attention(subject: Subject, text: str) -> list[tuple[int, np.ndarray]]:
    """(layer from 1, weights (heads, queries, keys)) of each layer; attention pooling has one head and one query."""
    layers = with_attention(subject.model, **subject.encode(text)).attentions
    weights = [layer[0].double().numpy() for layer in layers]
    return [(number, own[None, None] if own.ndim == 1 else own) for number, own in enumerate(weights, start=1)]


def _attended(subject: Subject, text: str) -> list[tuple[str, list[str], list[float]]]:
    inputs = subject.encode(text)
    found = weights_of_tokens(subject.model, {name: tensor[0].tolist() for name, tensor in inputs.items()})
    if found is None:
        return []
    weights, what = found
    words = words_of(subject.pieces(text, inputs))
    merged = merge_weights(weights[None], words[:1], words)[0] if len(words) > 1 else weights.sum()[None]
    return [(f"{subject.name}: {what}", [word.text.strip() for word in words], merged.tolist())]


def _map(number: int, subject: Subject, layer: int, source: Any, target: Any, weights: np.ndarray) -> Picture:
    what = "alignment" if subject.model.config.is_encoder_decoder else f"self-attention of layer {layer}"
    title = f"{subject.name}: {what}, mean of the heads"
    return Picture(f"attention-{number}", title, f"{title}: a row for each query, dark for large weights.",
                   write=lambda path: draw_attention_map(source, target, weights, path))  # fmt: skip


def _frame(
    model: str, text: int, layer: int, source: list[str], target: list[str], weights: np.ndarray
) -> pd.DataFrame:
    import pandas as pd

    heads, queries, keys = weights.shape
    head, query, key = (own.ravel() for own in np.indices(weights.shape))
    names = np.array(target if queries > 1 else [""], object)
    return pd.DataFrame({
        "model": model, "text": text, "layer": layer, "head": head, "query": query, "key": key,
        "query_token": names[query], "key_token": np.array(source, object)[key], "weight": weights.ravel(),
    })  # fmt: skip


def by_head(numbers: pd.DataFrame) -> pd.DataFrame:
    """Entropy (bits) and distance (tokens) by model, layer and head, means over the queries of all texts.

    Attention pooling has one query without a place, so no distance.
    """
    import pandas as pd

    weight = numbers["weight"].clip(lower=1e-12)
    terms = pd.DataFrame({"entropy": -weight * np.log2(weight),
                          "distance": numbers["weight"] * (numbers["query"] - numbers["key"]).abs()})  # fmt: skip
    keys = ["model", "layer", "head"]
    by_query = terms.groupby([numbers[key] for key in [*keys, "text", "query"]], sort=False).sum()
    means = by_query.groupby(level=keys, sort=False).mean()
    means.loc[numbers.groupby(keys, sort=False)["query"].max() == 0, "distance"] = np.nan
    return means.reset_index()


def _sentences(numbers: pd.DataFrame, heads: pd.DataFrame) -> list[str]:
    most, told = [], []
    for name, own in numbers[numbers["text"] == 0].groupby("model", sort=False):
        last = own[own["layer"] == own["layer"].max()]
        queries = last.groupby(["head", "query"]).ngroups
        by_key = last.groupby(["key", "key_token"])["weight"].sum() / queries
        most.append(f"“{by_key.idxmax()[1]}” in {name} ({by_key.max():.2f})")
        mine = heads[heads["model"] == name]
        least = mine.loc[mine["entropy"].idxmin()]
        told.append(
            f"{least['entropy']:.2f} bits in {name} (head {least['head']:.0f} of layer {least['layer']:.0f}; mean of "
            f"all heads {mine['entropy'].mean():.2f})"
        )
    return [
        f"In the last layer, the first text's token with the most weight over all queries is {joined(most)}.",
        f"The most focused head has an entropy of {joined(told)}.",
    ]
