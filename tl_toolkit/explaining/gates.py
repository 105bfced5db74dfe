"""The gates of LSTMs and GRUs over a text, and how long each unit remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..comparison.report.drawing import new_figure, short
from ..evaluation.formatting import joined
from ..figures.palette import colour, marker
from ..figures.style import colour_bar
from .subjects import UNTRAINED, Subject, Trace, unrolled
from .view import Picture, View, layer_name, legend, log_scale, page_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

MOST_UNITS = 40
"""Units of a picture; evenly chosen by half-life from layers with more."""
MOST_TOKENS = 40
SIGNED = ("candidate", "cell", "hidden")


def fits(subject: Subject) -> bool:
    """Whether the model has recurrent layers with gates."""
    import torch

    return not subject.model.config.is_encoder_decoder and any(
        isinstance(module, (torch.nn.LSTM, torch.nn.GRU)) for module in subject.model.modules()
    )


def view(subjects: Sequence[Subject], texts: Sequence[str]) -> View:
    """The gates of these models for each text; the pictures show the first one."""
    import pandas as pd

    gates = pd.concat([gate_values(subject, texts) for subject in subjects], ignore_index=True)
    memory = half_lives(gates)
    names = list(dict.fromkeys(gates["model"]))
    pictures = [
        Picture("half_life", "Half-life of each unit", "Half-life of every unit, sorted, by model and layer.",
                lambda narrow: _draw_half_lives(memory, narrow))
    ]  # fmt: skip
    for number, name in enumerate(names):
        own = gates[(gates["model"] == name) & (gates["text"] == 0)]
        last = own[(own["layer"] == own["layer"].max()) & (own["direction"] == own["direction"].iloc[0])]
        lives = memory[memory["model"] == name].merge(last[["layer", "direction", "unit"]].drop_duplicates())
        pictures.append(
            Picture(f"gates-{number}", f"{name}, layer {last['layer'].iloc[0]}",
                    f"The gates of {name} for each token of the first text.",
                    lambda narrow, last=last, lives=lives: _draw_gates(last, lives, narrow))  # type: ignore[misc]
        )  # fmt: skip
    rows = []
    for key, part in memory.groupby(["model", "layer", "direction"], sort=False):
        quarters = np.quantile(part["half_life"], [0, 0.5, 1])
        rows.append([key[0], layer_name(*key[1:]), str(len(part)), *(f"{value:.3g}" for value in quarters)])
    return View(
        "gates", "Gates and memory",
        "An LSTM keeps the share f of its cell, a GRU the share z of its state; the half-life of a unit is "
        "ln 0.5 / mean(ln share), in tokens, over all tokens of the texts: after it, half of what a unit stored is "
        "left if nothing is written. In the pictures, units with a long half-life are at the top.",
        _sentences(gates, memory), {"gates": gates, "half_life": memory}, pictures,
        [("Half-lives in tokens", ["Model", "Layer", "Units", "Shortest", "Median", "Longest"], rows, 2)],
    )  # fmt: skip


def gate_values(subject: Subject, texts: Sequence[str]) -> pd.DataFrame:
    """One row for each text, layer, direction, token, gate and unit, with the gate's value.

    An LSTM has the gates input, forget, candidate, output, cell and hidden; a GRU reset, update, candidate and hidden.
    The update gate z is the share that is kept: h_t = (1 - z) n + z h_{t-1}.
    """
    import pandas as pd
    import torch

    frames = []
    for number, text in enumerate(texts):
        with torch.no_grad(), unrolled(subject.model) as traces:
            subject.model(**subject.encode(text))
            tokens = subject.tokens(text)
            for trace in traces:
                read = tokens[::-1] if trace.direction == "backward" else tokens
                read = read[len(read) - len(trace.inputs) :]
                for gate, values in gate_tensors(trace).items():
                    steps, units = values.shape
                    frames.append(pd.DataFrame({
                        "model": subject.name, "text": number, "layer": trace.layer, "direction": trace.direction,
                        "step": np.repeat(np.arange(steps), units), "token": np.repeat(np.array(read, object), units),
                        "gate": gate, "unit": np.tile(np.arange(units), steps), "value": values.numpy().ravel(),
                    }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def gate_tensors(trace: Trace) -> dict[str, Tensor]:
    """(steps, units) of each gate, from the equations of torch.nn.LSTM and GRU."""
    import torch

    cell = trace.cell
    x, h = torch.cat(trace.inputs), torch.cat([state[0] for state in trace.before])
    own = torch.nn.functional.linear(x, cell.weight_ih_l0, cell.bias_ih_l0)
    recurrent = torch.nn.functional.linear(h, cell.weight_hh_l0, cell.bias_hh_l0)
    after = torch.cat([state[0] for state in trace.after])
    if isinstance(cell, torch.nn.LSTM):
        i, f, g, o = (own + recurrent).chunk(4, dim=1)
        c = torch.cat([state[1] for state in trace.after])
        return {"input": i.sigmoid(), "forget": f.sigmoid(), "candidate": g.tanh(), "output": o.sigmoid(), "cell": c,
                "hidden": after}  # fmt: skip
    if isinstance(cell, torch.nn.GRU):
        (r, z, n), (own_r, own_z, own_n) = recurrent.chunk(3, dim=1), own.chunk(3, dim=1)
        reset = (r + own_r).sigmoid()
        return {
            "reset": reset,
            "update": (z + own_z).sigmoid(),
            "candidate": (own_n + reset * n).tanh(),
            "hidden": after,
        }
    return {"hidden": after}


def half_lives(gates: pd.DataFrame) -> pd.DataFrame:
    """The half-life in tokens of each unit: ln 0.5 / mean(ln kept share)."""
    kept = gates[gates["gate"].isin(["forget", "update"])]
    keys = ["model", "layer", "direction", "unit"]
    logs = np.log(kept["value"].clip(1e-12, 1 - 1e-7)).groupby([kept[key] for key in keys], sort=False).mean()
    return (np.log(0.5) / logs).rename("half_life").reset_index()


def _sentences(gates: pd.DataFrame, memory: pd.DataFrame) -> list[str]:
    told, shares = [], []
    for name, own in memory.groupby("model", sort=False):
        best = own.loc[own["half_life"].idxmax()]
        told.append(f"{own['half_life'].median():.2g} tokens in {name} (longest: unit {best['unit']} of layer "
                    f"{best['layer']}, {best['half_life']:.3g} tokens)")  # fmt: skip
        kept = gates[(gates["model"] == name) & gates["gate"].isin(["forget", "update"])]
        token = kept[kept["text"] == 0].groupby(["step", "token"])["value"].mean().idxmin()[1]
        shares.append(f"{kept['value'].mean():.2f} in {name}, least at “{token}”")
    return [
        f"The median half-life of the units' memory is {joined(told)}.",
        f"On average, one step keeps this share of the memory: {joined(shares)}.",
    ]


def _draw_half_lives(memory: pd.DataFrame, narrow: bool) -> Figure:
    figure, axes = new_figure(page_width(narrow), 240 if narrow else 270, left=52, right=12)
    names = [name.removesuffix(UNTRAINED) for name in dict.fromkeys(memory["model"])]
    order, most = list(dict.fromkeys(names)), memory["layer"].max()
    for (name, layer, direction), own in memory.groupby(["model", "layer", "direction"], sort=False):
        values = np.sort(own["half_life"])[::-1]
        place = order.index(name.removesuffix(UNTRAINED))
        told = layer_name(f", layer {layer}" if most > 1 else "", direction)
        axes.plot(
            (np.arange(len(values)) + 0.5) / len(values), values, color=colour(place), marker=marker(place + layer - 1),
            markevery=max(1, len(values) // 8), markersize=4.5, linewidth=1.5, label=f"{short(name, 26)}{told}",
            linestyle=(0, (4, 2)) if name.endswith(UNTRAINED) else "solid",
        )  # fmt: skip
    log_scale(axes, memory["half_life"].min(), memory["half_life"].max())
    axes.set_title("half-life in tokens, logarithmic")
    axes.set_xlabel("share of the units, from the longest half-life")
    legend(figure, axes, 1 if narrow else 3)
    return figure


def _draw_gates(own: pd.DataFrame, lives: pd.DataFrame, narrow: bool) -> Figure:
    """A map of units (rows) over tokens (columns) for each gate; the half-lives give the order of the rows."""
    from matplotlib.figure import Figure

    gates = list(dict.fromkeys(own["gate"]))
    order = lives.sort_values("half_life", ascending=False)["unit"].to_numpy()
    order = order[np.linspace(0, len(order) - 1, min(len(order), MOST_UNITS)).round().astype(int)]
    tokens = own.drop_duplicates("step").sort_values("step")["token"].tolist()[:MOST_TOKENS]
    columns = 1 if narrow else 2
    rows = -(-len(gates) // columns)
    width, tall, foot, head = page_width(narrow), 92.0, 58.0, 20.0
    height = rows * (tall + head) + foot
    figure = Figure(figsize=(width / 72, height / 72))
    wide = (width - 16 - columns * 44 - (columns - 1) * 8) / columns
    for place, gate in enumerate(gates):
        row, column = divmod(place, columns)
        left = 16 + column * (wide + 52)
        bottom = height - (row + 1) * (tall + head)
        axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
        table = own[own["gate"] == gate].pivot(index="unit", columns="step", values="value").to_numpy()
        shown, signed = table[order, : len(tokens)], gate in SIGNED
        bound = max(1.0, float(np.abs(shown).max())) if signed else 1.0
        drawn = axes.imshow(shown, cmap="PuOr" if signed else "cividis", vmin=-bound if signed else 0, vmax=bound,
                            aspect="auto", interpolation="nearest")  # fmt: skip
        axes.set_title(gate)
        axes.grid(False)
        axes.set_yticks([])
        below = place + columns >= len(gates)
        every = max(1, int(np.ceil(len(tokens) * 8.5 / wide)))  # so that labels do not overlap
        labels = [short(token, 9) for token in tokens[::every]] if below else []
        axes.set_xticks(range(0, len(labels) * every, every), labels, rotation=90, fontsize=7)
        if column == 0:
            axes.set_ylabel("units", fontsize=8)
        colour_bar(figure, drawn, ((left + wide + 5) / width, bottom / height, 7 / width, tall / height))
    return figure
