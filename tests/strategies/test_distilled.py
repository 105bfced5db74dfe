"""Texts made by masking and n-gram sampling."""

from __future__ import annotations

from tl_toolkit.strategies.distilled import MASK, varied

TEXTS = [" ".join(f"w{text}x{place}" for place in range(11)) for text in range(211)]


def test_words_are_masked_and_n_grams_cut() -> None:
    made = varied(TEXTS, 2003, seed=1)
    assert len(made) == len(set(made)) == 2003 and not set(made) & set(TEXTS)
    words = [text.split() for text in made]
    cut = [own for own in words if len(own) < 11]
    whole = [own for own in words if len(own) == 11]
    assert {len(own) for own in cut} == {1, 2, 3, 4, 5}
    # A whole text without a mask is no new one: of those with one, 0.1 / (1 - 0.9^11) of the words are masked.
    masked = sum(own.count(MASK) for own in whole) / (11 * len(whole))
    assert abs(masked - 0.1 / (1 - 0.9**11)) < 0.01
    for own in words:  # the words of one text, in their order
        places = [word.split("x") for word in own if word != MASK]
        assert len({text for text, _ in places}) == 1
        assert [int(place) for _, place in places] == sorted(int(place) for _, place in places)


def test_seeds_differ_and_few_words_give_few_texts() -> None:
    assert varied(TEXTS, 50, seed=1) == varied(TEXTS, 50, seed=1) != varied(TEXTS, 50, seed=2)
    assert set(varied(["good film"], 100, seed=1)) <= {"good", "film", f"{MASK} film", f"good {MASK}"}
    assert varied(["good", ""], 10, seed=1) == [] == varied(TEXTS, 0, seed=1)
