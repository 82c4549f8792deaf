"""A sample cut into pieces is whole with all of them, and only the named ones go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import END, KEYWORD, MASK, PAD, PIXELS, SIDE, SOUND, START, TEXT, Numbers, corner_image, sound, text
from torch import Tensor
from torch.testing import assert_close

from trainables.errors import InvalidConfig
from trainables.explain import Pieces, pieces_of
from trainables.explain.pieces import ALWAYS, MAX_TOKENS
from trainables.preprocessing import AudioPreprocessing, TextPreprocessing

CASES = {
    "image": lambda: pieces_of(PIXELS, corner_image()),
    "text": lambda: pieces_of(TEXT, text(9, 10, KEYWORD)),
    "waveform": lambda: pieces_of(SOUND, sound(3)),
}


def only(pieces: Pieces, *numbers: int) -> tuple[Tensor, ...]:
    state = pieces.with_only(torch.isin(torch.arange(pieces.num), torch.tensor(numbers)).unsqueeze(0))
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("name", CASES)
def test_all_pieces_are_the_sample(name: str) -> None:
    pieces = CASES[name]()
    for part, original in zip(only(pieces, *range(pieces.num)), pieces.sample, strict=True):
        assert torch.equal(part, original)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_places_of_present_pieces_show_the_sample_and_others_what_stands_for_absence(name: str, data: Any) -> None:
    pieces = CASES[name]()
    numbers = data.draw(st.sets(st.integers(0, pieces.num - 1)))
    first, *others = only(pieces, *numbers)
    shown = torch.isin(pieces.numbers, torch.tensor([ALWAYS, *numbers])).expand_as(first[0])
    assert torch.equal(first[0][shown], pieces.sample[0][0][shown])
    assert torch.equal(first[0][~shown], pieces.absent[0][~shown])
    assert all(torch.equal(one, other) for one, other in zip(others, pieces.sample[1:], strict=True))


def test_an_image_is_a_grid_of_49_cells_of_even_size() -> None:
    pieces = pieces_of(PIXELS, torch.zeros(1, 3, 30, 30))
    assert pieces.num == 49
    assert set(pieces.numbers.flatten().bincount().tolist()) == {16, 20, 25}
    assert_close(pieces.summed(torch.ones(3, 30, 30)), 3.0 * pieces.numbers.flatten().bincount())


def test_an_absent_cell_shows_its_blurred_surroundings() -> None:
    pieces = pieces_of(PIXELS, corner_image())
    assert pieces.absent.std() < 0.5 * pieces.sample[0].std()
    assert_close(pieces.absent.mean(), pieces.sample[0].mean(), atol=0.1, rtol=0)


def test_an_image_of_fewer_pixels_than_cells_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="image_size must be at least 7"):
        pieces_of(PIXELS, torch.zeros(1, 3, 6, 6))


def test_special_tokens_and_padding_stay_and_others_are_masked() -> None:
    pieces = pieces_of(TEXT, text(9, KEYWORD, padding=1))
    ids, mask, _ = only(pieces)
    assert ids.tolist() == [[START, MASK, MASK, END, PAD]]
    assert mask.tolist() == [[1, 1, 1, 1, 0]]
    assert pieces.numbers.tolist() == [ALWAYS, 0, 1, ALWAYS, ALWAYS]


def test_without_a_mask_token_padding_stands_for_absence() -> None:
    preprocessing = TextPreprocessing(tokenizer=Numbers(mask_id=None), max_length=64)
    ids, *_ = only(pieces_of(preprocessing, text(9, padding=0)))
    assert ids.tolist() == [[START, PAD, END]]


def test_tokens_of_long_texts_are_taken_together_in_order() -> None:
    count = 2 * MAX_TOKENS + 5
    pieces = pieces_of(TEXT, text(*[9] * count, padding=0))
    content = pieces.numbers[pieces.numbers != ALWAYS]
    assert pieces.num == MAX_TOKENS
    assert content.tolist() == sorted(content.tolist())
    assert set(content.bincount().tolist()) == {2, 3}


def test_a_text_without_words_has_no_pieces() -> None:
    pieces = pieces_of(TEXT, text())
    assert pieces.num == 0
    assert torch.equal(only(pieces)[0], pieces.sample[0])


def test_absent_stretches_are_what_the_extractor_makes_of_silence() -> None:
    (waveform, _) = only(pieces_of(SOUND, sound(3)))
    assert (waveform == -1).all()


def test_filled_up_frames_of_a_spectrogram_are_in_no_stretch() -> None:
    class Frames:
        key = "frames"

        def __call__(self, waveform: Any) -> Any:
            return waveform.reshape(-1, 5) - 2

    features = torch.randn(1, 40, 5)
    features[:, 32:] = 0
    preprocessing = AudioPreprocessing(sampling_rate=100, extractor=Frames())
    pieces = pieces_of(preprocessing, (features, torch.ones(1, 40, dtype=torch.int64)))
    assert pieces.numbers.shape == (40, 1)
    assert (pieces.numbers[33:] == ALWAYS).all()
    assert sorted(set(pieces.numbers[:33].flatten().tolist())) == list(range(16))
    assert (only(pieces)[0][0, :33] == -2).all()


def test_the_grid_divides_the_planted_images() -> None:
    assert pieces_of(PIXELS, corner_image()).numbers[0, :4, :4].unique().tolist() == [0]
    assert SIDE % 7 == 0
