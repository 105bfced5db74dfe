"""A linear-chain conditional random field, which scores the tags of a sentence jointly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .token_order import TokenOrder

IGNORED = -100


def run_steps(step: Callable[..., tuple[Tensor, Tensor]], state: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Run `state, output = step(state, *inputs[t])` along the first axis; the last state, and all outputs stacked.

    Without steps, the outputs have the shape and the type of the state.
    """
    outputs = []
    for position in range(len(inputs[0])):
        state, output = step(state, *(tensor[position] for tensor in inputs))
        outputs.append(output)
    return state, torch.stack(outputs) if outputs else state.new_zeros(0, *state.shape)


class LinearChainCrf(nn.Module):
    """Tag sequences y of a sentence with emission scores e (Lafferty et al. 2001; Lample et al. 2016, section 2.2).

    `s(y) = start[y_1] + sum_t e_t[y_t] + sum_t transitions[y_t, y_(t+1)] + end[y_n]` (Lample's equation 1), and
    `p(y) = exp s(y) / Z` with the sum Z of `exp s` over all sequences. Masked positions are skipped wherever they are:
    the tags on both sides of a gap are neighbours. All computations are in log space, in float32 or higher precision.
    Transitions are initialised to zero; then positions are independent and p is a product of softmaxes.
    """

    loop = staticmethod(run_steps)

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.start_transitions = nn.Parameter(torch.zeros(num_labels))
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))  # from, to
        self.end_transitions = nn.Parameter(torch.zeros(num_labels))

    def forward(
        self, emissions: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Posterior marginals, and the log-likelihood of the labels.

        One loop over time computes three recursions as one batch: forward, backward (the same recursion over the
        flipped sentence with transposed transitions), and the one constrained to the labels.

        Args:
            emissions: (batch, time, num_labels).
            mask: (batch, time), true or 1 for real positions; None if all are real.
            labels: (batch, time) tags; -100 for unknown tags. These positions stay in the chain and are summed over
                (Tsuboi et al. 2008, "Training conditional random fields using incomplete annotations", equation 5):
                the result is the likelihood of the known tags. Labels of masked positions are ignored.

        Returns:
            `log p(y_t)` at every position (batch, time, num_labels), zeros at masked positions; and the log-likelihood
            of each sentence (batch,), 0 for a sentence without known tags, or None without labels.
        """
        order, scores = self._prepare(emissions, mask)
        start, transitions, end = self._transitions(scores.dtype)
        directions = [scores, order.flip(scores)]
        starts, ends, steps = [start, end], [end, start], [transitions, transitions.T]
        if labels is not None:
            # A row without real positions begins with a masked one, whose label may be invalid.
            tags = order.compact(labels.masked_fill(~order.mask, IGNORED))[..., None]  # (batch, time, 1)
            every = torch.arange(scores.shape[-1], device=scores.device)
            directions.append(scores.masked_fill((tags != IGNORED) & (tags != every), -torch.inf))
            starts, ends, steps = [*starts, start], [*ends, end], [*steps, transitions]

        inputs = torch.stack(directions)  # (runs, batch, time, labels)
        step = torch.stack(steps)  # (runs, from, to); in a graph, an axis of one would have a free size within the loop
        is_real = order.compact(order.mask)[:, :, None]  # (batch, time, 1)
        first = inputs[:, :, 0] + torch.stack(starts)[:, None]  # (runs, batch, labels)

        def advance(state: Tensor, scores: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor]:
            following = torch.logsumexp(state[..., None] + step[:, None], dim=-2) + scores
            state = following.where(is_real, state)
            return state, state

        last, later = self.loop(advance, first, inputs.movedim(2, 0)[1:], is_real.movedim(1, 0)[1:])
        log_sums = torch.logsumexp(last + torch.stack(ends)[:, None], dim=-1)  # (runs, batch)

        forwards, backwards = torch.cat([first[None], later]).movedim(0, 2)[:2]  # (batch, time, labels)
        # Both recursions include the emission of the position itself.
        marginals = forwards + order.flip(backwards) - scores - log_sums[0, :, None, None]
        likelihood = None
        if labels is not None:
            likelihood = (log_sums[2] - log_sums[0]).masked_fill(order.lengths == 0, 0.0)
        return order.restore(marginals), likelihood

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The most probable tag sequence of each sentence (Viterbi 1967).

        It can differ from the tags with the greatest marginals: these are the most probable at each single position,
        but may form an impossible sequence.

        Returns:
            Tags (batch, time), -100 at masked positions; arguments as in `forward`.
        """
        order, scores = self._prepare(emissions, mask)
        start, transitions, end = self._transitions(scores.dtype)
        is_real = order.compact(order.mask)[:, :, None]  # (batch, time, 1)
        stay = torch.arange(scores.shape[-1], device=scores.device)

        def advance(best: Tensor, scores: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor]:
            score, origin = (best[:, :, None] + transitions).max(dim=1)
            return (score + scores).where(is_real, best), origin.where(is_real, stay)

        def go_back(tag: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
            tag = origin.gather(1, tag)
            return tag, tag

        # (batch, labels): score of the best sequence that ends with each tag, and the tag before it
        best, origins = self.loop(advance, scores[:, 0] + start, scores.movedim(1, 0)[1:], is_real.movedim(1, 0)[1:])
        tag = (best + end).argmax(dim=-1, keepdim=True)  # (batch, 1)
        _, earlier = self.loop(go_back, tag, origins.flip(0))
        path = torch.cat([earlier.flip(0), tag[None]])[..., 0].T  # (batch, time), real positions first
        in_place = order.inverse.clamp(max=path.shape[1] - 1)
        return path.gather(1, in_place).masked_fill(~order.mask, IGNORED)

    def _transitions(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        return self.start_transitions.to(dtype), self.transitions.to(dtype), self.end_transitions.to(dtype)

    @staticmethod
    def _prepare(emissions: Tensor, mask: Tensor | None) -> tuple[TokenOrder, Tensor]:
        """The order that puts real positions first, and the emissions in this order."""
        if mask is None:
            mask = torch.ones(emissions.shape[:2], dtype=torch.bool, device=emissions.device)
        if mask.shape != emissions.shape[:2]:
            raise ValueError(
                f"The mask of a CRF must be (batch, time) = {tuple(emissions.shape[:2])}, got {tuple(mask.shape)}."
            )
        order = TokenOrder(mask.bool())
        return order, order.compact(emissions.to(torch.promote_types(emissions.dtype, torch.float32)))
