"""A tiny network over three words, computed by hand: every value of the forward pass and of the way back.

The equations are written out in numpy, one step after the other, and compared with torch's modules and autograd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..comparison.report.drawing import new_figure
from ..figures.palette import INK, LINE, MUTED, SURFACE, colour
from .view import Picture, View, page_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WORDS = ("cat", "mat", "rat")
SIZE = 2
"""Hidden units."""
Values = dict[str, np.ndarray]


def view() -> View:
    """Forward pass and back-propagation through time, one LSTM step, one attention step, and shapes."""
    network, lstm, attention = network_table(), lstm_table(), attention_table()
    shapes = shape_table()
    largest = max((table["value"] - table["torch"]).abs().max() for table in (network, lstm, attention))
    values = dict(zip(zip(network["quantity"], network["step"], network["index"], strict=True), network["value"],
                      strict=True))  # fmt: skip
    lengths = [float(np.hypot(*(values["dL/dh", step, str(unit)] for unit in range(SIZE)))) for step in (1, 2, 3)]
    loss = values["L", 3, ""]
    weights = {name: own["value"].max() for name, own in attention[attention["quantity"] == "a"].groupby("score")}
    sentences = [
        f"The network reads {', '.join(WORDS)} and predicts the next word with a total loss of {loss:.4f}; the norm of "
        f"dL/dh is {lengths[2]:.4f} at {WORDS[2]}, {lengths[1]:.4f} at {WORDS[1]} and {lengths[0]:.4f} at {WORDS[0]}, "
        "where the gradient of all later steps has come back.",
        f"All {len(network) + len(lstm) + len(attention)} values differ from torch and its autograd by at most "
        f"{largest:.1g}; the greatest weight on a word is {weights['Bahdanau']:.3f} by Bahdanau's score and "
        f"{weights['Luong, dot']:.3f} by Luong's dot product.",
    ]  # fmt: skip
    tables = [
        (caption, list(table.columns), [[_shown(cell) for cell in row] for row in table.itertuples(index=False)], words)
        for caption, table, words in (
            ("Forward pass and back-propagation through time", network, 3),
            ("One LSTM step, gate by gate", lstm, 3),
            ("One attention step", attention, 3),
            ("Shapes at every arrow", shapes, 4),
        )
    ]
    picture = Picture("by_hand", "The network, unrolled over its three words",
                      "Words, states and predictions of each step, with the values that pass along each arrow.",
                      lambda narrow: _draw(values, narrow))  # fmt: skip
    return View(
        "by_hand", "By hand",
        "h_t = tanh(W x_t + U h_{t-1} + b), p_t = softmax(V h_t + c), L = -Σ log p_t[next word], with one-hot words; "
        "d stands for the derivative of L, back-propagated from the last step to the first. The column torch has the "
        "same value from torch's modules and autograd.",
        sentences, {"by_hand": network, "by_hand_lstm": lstm, "by_hand_attention": attention, "by_hand_shapes": shapes},
        [picture], tables,
    )  # fmt: skip


def network_table() -> pd.DataFrame:
    """Each value of the forward pass and of back-propagation through time, with torch's: step, quantity, index, value.

    Steps are from 1; step 0 is what all steps share, the gradients of the weights.
    """
    import torch

    weights = _weights((("W", (SIZE, 3)), ("U", (SIZE, SIZE)), ("b", (SIZE,)), ("V", (3, SIZE)), ("c", (3,))), seed=7)
    targets = [1, 2, 0]  # the next word, and after the last the first again
    W, U, b, V, c = weights.values()  # noqa: N806 - the names of the equations
    mine: dict[tuple[int, str], np.ndarray] = {}
    h, loss = np.zeros(SIZE), 0.0
    for t in (1, 2, 3):
        x = np.eye(3)[t - 1]
        a = W @ x + U @ h + b
        h = np.tanh(a)
        z = V @ h + c
        p = np.exp(z) / np.exp(z).sum()
        loss -= np.log(p[targets[t - 1]])
        mine |= {(t, "x"): x, (t, "a"): a, (t, "h"): h, (t, "z"): z, (t, "p"): p, (t, "L"): np.array(loss)}
    total = {name: np.zeros_like(value) for name, value in weights.items()}
    later = np.zeros(SIZE)  # what comes back from the next step
    for t in (3, 2, 1):
        before = mine[t - 1, "h"] if t > 1 else np.zeros(SIZE)
        dz = mine[t, "p"] - np.eye(3)[targets[t - 1]]
        dh = V.T @ dz + later
        da = dh * (1 - mine[t, "h"] ** 2)
        mine |= {(t, "dL/dz"): dz, (t, "from step t+1"): later, (t, "dL/dh"): dh, (t, "dL/da"): da}
        total["W"] += np.outer(da, mine[t, "x"])
        total["U"] += np.outer(da, before)
        total["b"] += da
        total["V"] += np.outer(dz, mine[t, "h"])
        total["c"] += dz
        later = U.T @ da
    mine |= {(0, name): value for name, value in weights.items()}
    mine |= {(0, f"dL/d{name}"): value for name, value in total.items()}

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    theirs: dict[tuple[int, str], Any] = {}
    state, whole = torch.zeros(SIZE, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for t in (1, 2, 3):
        x = torch.eye(3, dtype=torch.float64)[t - 1]
        a = tensors["W"] @ x + tensors["U"] @ state + tensors["b"]
        own = a.tanh()
        # Two copies, so that autograd shows what comes back along each arrow.
        up, state = own.clone(), own.clone()
        z = tensors["V"] @ up + tensors["c"]
        whole = whole + torch.nn.functional.cross_entropy(z, torch.tensor(targets[t - 1]))
        theirs |= {(t, "x"): x, (t, "a"): a, (t, "h"): own, (t, "z"): z, (t, "p"): z.softmax(0), (t, "L"): whole}
        theirs[t, "from step t+1"] = state
    places = [(t, name, of) for t in (1, 2, 3) for name, of in (("dL/dz", "z"), ("from step t+1", "from step t+1"),
                                                                ("dL/dh", "h"), ("dL/da", "a"))]  # fmt: skip
    wanted = [theirs[t, of] for t, _, of in places] + list(tensors.values())
    grads = torch.autograd.grad(whole, wanted, allow_unused=True)
    zero = torch.zeros(SIZE, dtype=torch.float64)
    theirs |= {(t, name): zero if grad is None else grad for (t, name, _), grad in zip(places, grads, strict=False)}
    theirs |= {(0, name): tensor for name, tensor in tensors.items()}
    theirs |= {(0, f"dL/d{name}"): grad for name, grad in zip(tensors, grads[len(places) :], strict=True)}
    rows = [
        (t, WORDS[t - 1] if t else "", name, *row)
        for (t, name), value in mine.items()
        for row in _entries(value, theirs[t, name].detach().numpy())
    ]
    return _frame(rows, ["step", "word", "quantity"])


def lstm_table() -> pd.DataFrame:
    """One step of an LSTM that reads "cat" in a given state: gates, cell and state, with those of torch.nn.LSTMCell."""
    import torch

    shapes = [(f"W{gate}", (SIZE, 3)) for gate in "ifgo"] + [(f"U{gate}", (SIZE, SIZE)) for gate in "ifgo"]
    weights = _weights((*shapes, *((f"b{gate}", (SIZE,)) for gate in "ifgo"), ("h0", (SIZE,)), ("c0", (SIZE,))), seed=3)
    x, h, c = np.eye(3)[0], weights["h0"], weights["c0"]
    sums = {gate: weights[f"W{gate}"] @ x + weights[f"U{gate}"] @ h + weights[f"b{gate}"] for gate in "ifgo"}
    i, f, o = (1 / (1 + np.exp(-sums[gate])) for gate in "ifo")
    g = np.tanh(sums["g"])
    cell = f * c + i * g
    mine = {"h before": h, "c before": c, "i": i, "f": f, "g": g, "o": o, "c": cell, "h": o * np.tanh(cell)}
    module = torch.nn.LSTMCell(3, SIZE, dtype=torch.float64)
    with torch.no_grad():
        for name, letter in (("weight_ih", "W"), ("weight_hh", "U"), ("bias_ih", "b")):
            getattr(module, name).copy_(torch.tensor(np.concatenate([weights[f"{letter}{gate}"] for gate in "ifgo"])))
        module.bias_hh.zero_()
        inputs, state = torch.tensor(x)[None], (torch.tensor(h)[None], torch.tensor(c)[None])
        new_h, new_c = module(inputs, state)
        summed = inputs @ module.weight_ih.T + state[0] @ module.weight_hh.T + module.bias_ih
    gates = dict(zip("ifgo", summed[0].chunk(4), strict=True))
    theirs = {name: (gates[name].tanh() if name == "g" else gates[name].sigmoid()).numpy() for name in "ifgo"}
    theirs |= {"h before": h, "c before": c, "c": new_c[0].numpy(), "h": new_h[0].numpy()}
    how = {"i": "σ(W_i x + U_i h + b_i)", "f": "σ(W_f x + U_f h + b_f)", "g": "tanh(W_g x + U_g h + b_g)",
           "o": "σ(W_o x + U_o h + b_o)", "c": "f c + i g", "h": "o tanh(c)"}  # fmt: skip
    parts = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"}
    rows = [
        (parts.get(name, "state"), how.get(name, ""), name, *row)
        for name, value in mine.items()
        for row in _entries(value, theirs[name])
    ]  # fmt: skip
    return _frame(rows, ["part", "equation", "quantity"])


def attention_table() -> pd.DataFrame:
    """One attention step over three encoder states: scores e, weights a and context, by three scores.

    The scores are those of the toolkit's decoders (models/rnn_attention.py): Bahdanau et al. 2015, appendix A.1.2;
    Luong et al. 2015, equation 8.
    """
    import torch

    from ..models.rnn_attention import AdditiveScore, DotScore, GeneralScore, RnnAttention

    weights = _weights((("s", (SIZE,)), ("m", (3, SIZE)), ("W", (SIZE, SIZE)), ("U", (SIZE, SIZE)), ("v", (SIZE,))), 11)
    s, m, W, U, v = weights.values()  # noqa: N806
    scores = {
        "Bahdanau": np.array([v @ np.tanh(W @ s + U @ each) for each in m]),
        "Luong, dot": m @ s,
        "Luong, general": np.array([s @ W @ each for each in m]),
    }
    additive, general = AdditiveScore(SIZE, SIZE).double(), GeneralScore(SIZE, SIZE).double()
    with torch.no_grad():
        additive.query_projection.weight.copy_(torch.tensor(W))
        additive.key_projection.weight.copy_(torch.tensor(U))
        additive.energy.weight.copy_(torch.tensor(v)[None])
        general.key_projection.weight.copy_(torch.tensor(W))
    modules: dict[str, Any] = {"Bahdanau": additive, "Luong, dot": DotScore(), "Luong, general": general}
    rows = []
    for name, e in scores.items():
        a = np.exp(e) / np.exp(e).sum()
        module: RnnAttention = modules[name]
        with torch.no_grad():
            memory = module.remember(torch.tensor(m)[None], None)
            context, theirs = module(torch.tensor(s)[None, None], memory)
            their_e = module.scores(torch.tensor(s)[None, None], memory.keys)[0, 0].numpy()  # type: ignore[operator]
        for quantity, mine, other in (("e", e, their_e), ("a", a, theirs[0, 0].numpy()),
                                      ("context", a @ m, context[0, 0].numpy())):  # fmt: skip
            rows += [
                (name, WORDS[place] if quantity != "context" else "", quantity, *row)
                for place, row in enumerate(_entries(mine, other))
            ]
    return _frame(rows, ["score", "word", "quantity"])


def shape_table() -> pd.DataFrame:
    """The shapes at every arrow of networks with one layer, two layers, and two directions over the three words."""
    import pandas as pd
    import torch

    from ..models import RnnConfig, RnnForSequenceClassification

    rows = []
    sizes: dict[str, Any] = {"vocab_size": 3, "embedding_size": 5, "hidden_size": SIZE, "num_labels": 3}
    for kind in ("one layer", "deep", "bidirectional"):
        own = {"num_hidden_layers": 2 if kind == "deep" else 1, "bidirectional": kind == "bidirectional"}
        config = RnnConfig(**sizes, **own, cell_type="rnn_tanh", pad_token_id=None)
        with torch.no_grad():
            model = RnnForSequenceClassification(config).eval()
            outputs = model(torch.tensor([[0, 1, 2]]), output_hidden_states=True)
        names = ["embeddings", *(f"states of layer {layer + 1}" for layer in range(config.num_hidden_layers))]
        states = list(zip(names, outputs.hidden_states, strict=True))
        path = [("words", torch.zeros(1, 3)), *states, ("logits", outputs.logits)]
        rows += [
            (kind, source, target, " × ".join(map(str, tensor.shape)), _axes(target, kind))
            for (source, _), (target, tensor) in zip(path, path[1:], strict=False)
        ]
    return pd.DataFrame(rows, columns=["network", "from", "to", "shape of to", "axes"])


def _axes(target: str, kind: str) -> str:
    if target == "logits":
        return "text, class"
    two = " (forward and backward, side by side)" if kind == "bidirectional" and "states" in target else ""
    return f"text, word, {'features' if target == 'embeddings' else 'units'}{two}"


def _weights(shapes: Any, seed: int) -> Values:
    """Weights with two digits, so that a reader can compute along."""
    random = np.random.default_rng(seed)
    return {name: np.round(random.uniform(-1, 1, shape), 2) for name, shape in shapes}


def _entries(mine: np.ndarray, theirs: np.ndarray) -> list[tuple[str, float, float]]:
    places = np.ndindex(mine.shape)
    return [(",".join(map(str, place)), float(mine[place]), float(theirs[place])) for place in places]


def _frame(rows: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=[*columns, "index", "value", "torch"])


def _shown(cell: Any) -> str:
    return f"{cell:.6f}" if isinstance(cell, float) else str(cell)


def _draw(values: dict[Any, float], narrow: bool) -> Figure:
    """Three columns of boxes: x, h and p of a step; arrows with what they carry, forward above and backward below."""
    width = page_width(narrow)
    size = 7.0 if narrow else 9.5
    figure, axes = new_figure(width, 290 if narrow else 330, left=2, right=2)
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.45, 2.55)
    axes.set_ylim(-0.45, 2.6)

    def vector(name: str, t: int, count: int, digits: int = 2) -> str:
        return "  ".join(f"{values[name, t, str(place)]:.{digits}f}" for place in range(count))

    def arrow(start: tuple[float, float], end: tuple[float, float], hue: str, dashed: bool = False) -> None:
        look = {"arrowstyle": "-|>", "color": hue, "linewidth": 1.4, "linestyle": "--" if dashed else "-",
                "shrinkA": 0, "shrinkB": 0}  # fmt: skip
        axes.annotate("", xy=end, xytext=start, arrowprops=look)

    back = colour(1)
    for t in (1, 2, 3):
        x = t - 1.0
        box = {"boxstyle": "round,pad=0.45", "facecolor": SURFACE, "edgecolor": LINE, "linewidth": 1.2}
        for y, text in ((0.0, f"{WORDS[t - 1]}\nx = {vector('x', t, 3, 0)}"), (1.0, f"h{t}\n{vector('h', t, 2)}"),
                        (2.0, f"p{t}\n{vector('p', t, 3)}")):  # fmt: skip
            axes.text(x, y, text, ha="center", va="center", fontsize=size, color=INK, bbox=box, linespacing=1.4)
        arrow((x - 0.06, 0.24), (x - 0.06, 0.77), MUTED)
        arrow((x - 0.06, 1.24), (x - 0.06, 1.77), MUTED)
        arrow((x + 0.06, 1.77), (x + 0.06, 1.24), back, dashed=True)
        if t < 3:
            gap = 0.31 if narrow else 0.2
            arrow((x + gap, 1.06), (x + 1 - gap, 1.06), MUTED)
            arrow((x + 1 - gap, 0.94), (x + gap, 0.94), back, dashed=True)
            come = f"{values['from step t+1', t, '0']:.2f}\n{values['from step t+1', t, '1']:.2f}"
            axes.text(x + 0.5, 0.86, come, ha="center", va="top", fontsize=size, color=back)
    axes.text(-0.4, 2.5, "forward", fontsize=size, color=MUTED, va="center")
    axes.text(0.1, 2.5, "back: dL/dh from the next step", fontsize=size, color=back, va="center")
    return figure
