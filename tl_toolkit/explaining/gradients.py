"""How far a loss reaches back: the norm of its gradient in the states of each step and layer.

Bengio et al. 1994, "Learning long-term dependencies with gradient descent is difficult"; Pascanu et al. 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..comparison.report.drawing import new_figure, short
from ..evaluation.formatting import joined
from ..figures.palette import colour, marker
from .gates import gate_tensors
from .subjects import UNTRAINED, Subject, unrolled
from .view import Picture, View, layer_name, legend, log_scale, page_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

FAR = 50
"""The steps back at which sentences name the norm, if the texts are that long."""


def fits(subject: Subject) -> bool:
    """Whether the model has states; a bag of n-grams has none."""
    return subject.model.config.model_type != "bag_of_ngrams"


def view(subjects: Sequence[Subject], texts: Sequence[str]) -> View:
    """The gradients of these models, over the same texts."""
    norms, clipped = gradient_norms(subjects, texts)
    fitted = decay(norms)
    first = _lowest_layers(norms)
    pictures = [
        Picture(
            "gradients", "The lowest layer of each model",
            "Norm of the gradient of the loss in the states of the lowest layer, over the distance to the end.",
            lambda narrow: _draw(first, narrow),
        )
    ]  # fmt: skip
    for number, (name, own) in enumerate(norms.groupby("model", sort=False)):
        layers = {
            f"layer {layer_name(*key)}": part for key, part in own.groupby(["layer", "direction", "state"], sort=False)
        }
        if own.groupby(["layer", "direction"]).ngroups > 1:
            pictures.append(
                Picture(f"gradients-{number}", f"{name}, by layer", f"Gradient norms of {name} by layer.",
                        lambda narrow, layers=layers: _draw(layers, narrow))  # type: ignore[misc]
            )  # fmt: skip
    rows = [
        [row.model, layer_name(row.layer, row.direction, row.state), f"{row.per_step:.3f}", f"{row.at_end:.2g}",
         f"{row.farthest:.2g}", str(row.steps)]
        for row in fitted.itertuples()
    ]  # fmt: skip
    columns = ["Model", "Layer", "Factor per step", "Norm at the end", "Norm farthest back", "Steps"]
    return View(
        "gradients", "Gradients through time",
        "The loss is taken as if the label was the class that the model finds least likely, so that it is never near "
        "0; a language model's is that of the last token, and an encoder-decoder's that of what it writes, with the "
        "states of its encoder. ∂loss/∂h_t is total: it has the paths through all later steps. Pooling over all states "
        "(mean, max, attention) also leads directly from the loss to each step; with pooling last, all of a gradient "
        "comes back through the network. Layer 0 of a transformer is the embedded tokens. An LSTM's cell c_t is "
        "another path back, with a line of its own. The factor per step is the slope of a line through the logarithms "
        "of the norms: below 1 gradients vanish with the distance, above 1 they grow.",
        _sentences(norms, fitted), {"gradients": norms, "gradient_decay": fitted, "gradient_clipping": clipped},
        pictures, [("Decay of gradients by model and layer", columns, rows, 2), _clipping_table(clipped)],
    )  # fmt: skip


def gradient_norms(subjects: Sequence[Subject], texts: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The norms of gradients in states, and in weights.

    Returns:
        ‖∂loss/∂h_t‖ by model, layer, direction of reading, state and distance (steps to the last one read), mean of the
        texts; `state` is `hidden`, and `cell` for ‖∂loss/∂c_t‖ of an LSTM; layers of a recurrent network count from 1,
        and layer 0 of other models is the embedded tokens. By model and text, `norm` of the gradient in all weights,
        and `factor`, by which clipping to the `max_grad_norm` of the model's training would multiply it (Pascanu et al.
        2013, algorithm 1).
    """
    import pandas as pd

    rows, weights = [], []
    for subject in subjects:
        limit = subject.max_grad_norm or np.inf  # 0 clips nothing
        for place, text in enumerate(texts):
            states, norm = _norms(subject, text)
            weights.append((subject.name, place, norm, limit, min(1.0, limit / norm) if norm else 1.0))
            for layer, direction, state, norms in states:
                last = len(norms) - 1
                rows += [(subject.name, layer, direction, state, last - step, own) for step, own in enumerate(norms)]
    keys = ["model", "layer", "direction", "state", "distance"]
    found = pd.DataFrame(rows, columns=[*keys, "norm"]).groupby(keys, sort=False, as_index=False)["norm"].mean()
    return found, pd.DataFrame(weights, columns=["model", "text", "norm", "max_grad_norm", "factor"])


def _norms(subject: Subject, text: str) -> tuple[list[tuple[int, str, str, list[float]]], float]:
    """(layer, direction, state, the norm of each step in reading order) for one text, and the norm in all weights."""
    import torch

    inputs = subject.encode(text)
    backward = getattr(subject.model.config, "direction", "") == "backward"
    target = None
    if subject.architecture in ("ForCausalLM", "LMHeadModel") and inputs["input_ids"].shape[1] > 1:
        ids, kept = inputs["input_ids"][0], slice(1, None) if backward else slice(-1)
        target = ids[0] if backward else ids[-1]
        inputs = {name: tensor[:, kept] for name, tensor in inputs.items()}
    if writes := subject.writes:
        target = subject.written(inputs)
        inputs |= {"decoder_input_ids": target[None, :-1]}
        target = target[1:]
    weights = [own for own in subject.model.parameters() if own.requires_grad]
    with torch.enable_grad(), unrolled(subject.model) as traces:
        outputs = subject.model(**inputs, output_hidden_states=True, return_dict=True)
        logits = outputs.logits[0]
        scores = logits if logits.dim() == 1 or writes else logits[0 if backward else -1]
        if traces:
            states = [(own.layer, own.direction, list(zip(*own.after, strict=True))) for own in traces]
        else:
            layers = getattr(outputs, "encoder_hidden_states", None) or outputs.hidden_states
            states = [(layer, "forward", [(hidden,)]) for layer, hidden in enumerate(layers)]
        parts = [part for *_, own in states for steps in own for part in steps]
        found = torch.autograd.grad(_loss(scores, target), [*parts, *weights], allow_unused=True)
    grads = iter(torch.zeros_like(own) if grad is None else grad for grad, own in zip(found, parts, strict=False))
    norms = []
    for number, (layer, direction, own) in enumerate(states):
        hidden, *cell = (torch.cat([next(grads) for _ in steps], -2) for steps in own)
        norms.append((layer, direction, "hidden", _norm_of_steps(hidden)))
        if cell:  # torch's kernel returns c_t apart from the h_t that it computes from it: add that path
            output, c = gate_tensors(traces[number])["output"], torch.cat(own[1])
            norms.append((layer, direction, "cell", _norm_of_steps(cell[0] + hidden * output * (1 - c.tanh() ** 2))))
    in_weights = (float(grad.double().square().sum()) for grad in found[len(parts) :] if grad is not None)
    return norms, sum(in_weights) ** 0.5


def _norm_of_steps(grads: Tensor) -> list[float]:
    return grads.reshape(-1, grads.shape[-1]).double().norm(dim=-1).tolist()


def _loss(scores: Tensor, target: Tensor | None) -> Tensor:
    """Mean cross-entropy of `scores` ([tokens,] classes) for the target, by default the least likely class.

    One number is its own loss.
    """
    import torch

    if scores.numel() == 1:
        return scores.sum()
    return torch.nn.functional.cross_entropy(scores, scores.argmin() if target is None else target)


def decay(norms: pd.DataFrame) -> pd.DataFrame:
    """By model, layer, direction and state: `per_step`, the factor of the norm from one step to the one before it.

    It is exp of the slope of a least-squares line through log norm over distance; steps without a gradient are left
    out.
    """
    import pandas as pd

    rows = []
    keys = ["model", "layer", "direction", "state"]
    for key, own in norms.groupby(keys, sort=False):
        seen = own[own["norm"] > 0].sort_values("distance")
        if len(seen) < 2:
            continue
        slope = np.polyfit(seen["distance"], np.log(seen["norm"]), 1)[0]
        ends = seen["norm"].iloc[0], seen["norm"].iloc[-1]
        rows.append((*key, float(np.exp(slope)), *ends, int(own["distance"].max())))
    return pd.DataFrame(rows, columns=[*keys, "per_step", "at_end", "farthest", "steps"])


def _clipping_table(clipped: pd.DataFrame) -> tuple[str, list[str], list[list[str]], int]:
    rows = [
        [str(name), f"{own['norm'].mean():.2g}", f"{own['max_grad_norm'].iloc[0]:g}",
         f"{(own['factor'] < 1).mean():.0%}", f"{own['factor'].mean():.2g}"]
        for name, own in clipped.groupby("model", sort=False)
    ]  # fmt: skip
    columns = ["Model", "Norm in all weights", "--max_grad_norm", "Texts clipped", "Mean factor"]
    return "What clipping would do to these gradients, one text at a time", columns, rows, 1


def _sentences(norms: pd.DataFrame, fitted: pd.DataFrame) -> list[str]:
    if fitted.empty:
        return ["The texts have one token each, so there is no distance to measure.", "Specify a longer --text."]
    lowest = _lowest_layers(fitted)
    told = [f"{name} by {own['per_step'].item():.3f}" for name, own in lowest.items()]
    first = f"Per step back, the gradient in the lowest layer is multiplied on average: {joined(told)}."
    distance = int(min(FAR, *(own["steps"].item() for own in lowest.values())))
    lines = {name: own.set_index("distance")["norm"] for name, own in _lowest_layers(norms).items()}
    told = [f"{line[distance] / lowest[name]['at_end'].item():.2g} in {name}" for name, line in lines.items()
            if name in lowest]  # fmt: skip
    return [first, f"{distance} steps before the end, its norm is this multiple of that at the end: {joined(told)}."]


def _lowest_layers(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each model's lowest layer, in its first direction, by model; those of a cell apart."""
    found = {}
    for model, own in table.groupby("model", sort=False):
        first = own[own["layer"] == own["layer"].min()]
        for state, part in first[first["direction"] == first["direction"].iloc[0]].groupby("state", sort=False):
            bare = str(model).removesuffix(UNTRAINED)
            found[str(model) if state == "hidden" else str(model).replace(bare, f"{bare}, cell", 1)] = part
    return found


def _draw(lines: dict[str, pd.DataFrame], narrow: bool) -> Figure:
    figure, axes = new_figure(page_width(narrow), 250 if narrow else 290, left=52, right=12)
    names = [name.removesuffix(UNTRAINED) for name in lines]
    order = list(dict.fromkeys(names))
    seen = [norm for own in lines.values() for norm in own["norm"] if norm > 0] or [1.0]
    for shown, (name, own) in zip(names, lines.items(), strict=True):
        place, own = order.index(shown), own[own["norm"] > 0].sort_values("distance")
        axes.plot(
            own["distance"], own["norm"], color=colour(place), marker=marker(place), markevery=max(1, len(own) // 12),
            markersize=4.5, linewidth=1.6, linestyle=(0, (4, 2)) if name.endswith(UNTRAINED) else "solid",
            markerfacecolor="none" if name.endswith(UNTRAINED) else colour(place),
            label=short(name, 38 if narrow else 50),
        )  # fmt: skip
    log_scale(axes, max(min(seen), 1e-30), max(seen))
    cells = "; ∂loss/∂c of a cell" if any((own["state"] == "cell").any() for own in lines.values()) else ""
    axes.set_title(f"norm of ∂loss/∂h{cells}, logarithmic")
    axes.set_xlabel("tokens before the last one that is read")
    legend(figure, axes, 1 if narrow else 3 if max(map(len, lines)) <= 34 else 2)
    return figure
