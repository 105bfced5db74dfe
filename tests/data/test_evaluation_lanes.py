from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from tl_toolkit.data import evaluation_lanes
from tl_toolkit.data.evaluation_lanes import EvaluationLanes
from tl_toolkit.data.streams import IGNORED, TokenStream

START = 10_000


@pytest.fixture(autouse=True)
def short_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_LANES": 5, "SHORTEST_LANE": 31, "WARM_UP": 13, "MOST_ROWS": 3}.items():
        monkeypatch.setattr(evaluation_lanes, name, value)


def stream_of(tokens: int) -> TokenStream:
    """A stream of unique tokens: each is its own position."""
    return TokenStream(np.arange(tokens, dtype=np.int32), START, 1, tokens, 0)


def lanes_of(tokens: int, *, backward: bool = False, world_size: int = 1) -> list[EvaluationLanes]:
    place = {"backward": backward, "world_size": world_size}
    return [EvaluationLanes(stream_of(tokens), rank=rank, **place) for rank in range(world_size)]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("tokens", [1, 7, 43, 44, 74, 75, 151, 367, 1009])
def test_every_token_counts_once_and_is_predicted_from_the_token_before_it(
    tokens: int, world_size: int, backward: bool
) -> None:
    predicted: Counter[int] = Counter()
    for lanes in lanes_of(tokens, world_size=world_size, backward=backward):
        for window in (window for batch in lanes.batches for window in lanes.windows(batch, 11)):
            for token, target, place in zip(*(part.flatten().tolist() for part in window), strict=True):
                if target != IGNORED:
                    predicted[place] += 1
                    assert place % tokens == target
                    first = tokens - 1 if backward else 0
                    assert token == (START if target == first else target + 1 if backward else target - 1)
    assert set(predicted.values()) == {1}
    assert {place for place in predicted if place < tokens} == set(range(tokens))
    warmed = len(predicted) - tokens
    assert warmed == 13 * (min(5, max(1, (tokens - 13) // 31)) - 1)


@pytest.mark.parametrize("backward", [False, True])
def test_a_lane_is_read_without_gaps_and_warms_up_on_the_end_of_the_lane_before(backward: bool) -> None:
    (lanes,) = lanes_of(211, backward=backward)
    assert lanes.batches.tolist() == [[0, 1, 2], [3, 4, 5]]  # the sixth is empty
    windows = [window[1] for window in lanes.windows(np.arange(5), 17)]
    read = torch.cat(windows[::-1] if backward else windows, dim=1)
    read = 210 - read.flip(1) if backward else read  # positions in reading order
    assert lanes.lanes == 5 and lanes.stride == 40  # (211 - 13) / 5, rounded up
    for lane, positions in enumerate(read):
        expected = np.arange(lane * 40, lane * 40 + 53)
        assert positions[expected < 211].tolist() == expected[expected < 211].tolist()
    assert read[:4, 40:].tolist() == read[1:, :13].tolist()


def test_processes_share_the_batches_of_one_process() -> None:
    """Also the shapes are equal, because rounding depends on them."""
    for tokens, rows in ((509, 3), (130, 3), (110, 3), (97, 2), (43, 1)):
        (whole,) = lanes_of(tokens)
        assert whole.rows == rows
        for world_size in (2, 3, 7):
            parts = lanes_of(tokens, world_size=world_size)
            assert len({part.batches.shape for part in parts}) == 1
            together = np.concatenate([part.batches for part in parts])
            assert together[: len(whole.batches)].tolist() == whole.batches.tolist()
            assert (together[len(whole.batches) :] >= whole.lanes).all()
            for lanes in together[len(whole.batches) :]:
                assert all((targets == IGNORED).all() for _, targets, _ in whole.windows(lanes, 19))


def test_a_text_without_enough_tokens_is_one_lane() -> None:
    for tokens, number in ((13 + 61, 1), (13 + 62, 2), (13 + 154, 4), (13 + 155, 5), (9973, 5)):
        (lanes,) = lanes_of(tokens)
        assert lanes.lanes == number and (lanes.warm_up == 0) == (number == 1)


@pytest.mark.parametrize("backward", [False, True])
def test_losses_by_lane_and_the_differences_of_two_states_on_the_same_tokens(backward: bool) -> None:
    (lanes,) = lanes_of(211, backward=backward)
    counted, warming = (np.random.default_rng(seed).random(211) for seed in (2, 3))
    losses = np.concatenate([counted, warming])
    if backward:
        counted, warming = counted[::-1], warming[::-1]
    ends = [0, 53, 93, 133, 173, 211]
    parts = [counted[begin:end] for begin, end in zip(ends[:-1], ends[1:], strict=True)]
    assert lanes.losses_by_lane(losses) == pytest.approx([part.mean() for part in parts])
    differences = [(warming[at + 6 : at + 13] - counted[at + 6 : at + 13]).mean() for at in (40, 80, 120, 160)]
    assert lanes.differences(losses) == pytest.approx(differences)
    assert lanes_of(7)[0].losses_by_lane(losses[:14]) == pytest.approx([losses[:7].mean()])
    assert lanes_of(7)[0].differences(losses[:14]) == []
