"""Every perturbation keeps its contract, and does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from torch import Tensor

from trainables.perturbations import SEVERITIES
from trainables.perturbations.audio import AUDIO
from trainables.perturbations.contract import generator
from trainables.perturbations.image import IMAGE
from trainables.perturbations.text import TEXT, of_each

RATE = 16_000
SENTENCE = "The quick brown Fox jumps over the lazy dog, and  nobody\tever asks it why: twenty more words would help."


def image(side: int = 32, seed: int = 0) -> Tensor:
    """Soft blobs of colour with some fine detail, as photographs have them."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(40, 215, (1, 3, 5, 5)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")[0]
    return (smooth + torch.from_numpy(rng.normal(0, 12, (3, side, side)))).clamp(0, 255).to(torch.uint8)


def speech(seconds: float = 0.5, seed: int = 0) -> tuple[np.ndarray[Any, Any], int]:
    """Three tones and some hiss under a rising envelope."""
    time = np.arange(int(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * hertz * time) / 8 for hertz in (220, 1100, 4000))
    hiss = 0.02 * np.random.default_rng(seed).standard_normal(len(time))
    return ((tones + hiss) * np.linspace(0.3, 1, len(time))).astype(np.float32), RATE


CASES: list[tuple[str, Any, Callable[[], Any]]] = [
    *((name, function, image) for name, function in IMAGE.items()),
    *((name, function, lambda: SENTENCE) for name, function in TEXT.items()),
    *((name, function, speech) for name, function in AUDIO.items()),
]
every = pytest.mark.parametrize(("name", "function", "make"), CASES, ids=[case[0] for case in CASES])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(np.all(one == other))


def distance(one: Any, other: Any) -> float:
    if isinstance(one, Tensor):
        return float((one.float() - other.float()).square().mean())
    return float(np.square(one[0] - other[0]).mean())


class TestContract:
    def test_there_are_enough_of_each_modality(self) -> None:
        assert len(IMAGE) >= 8
        assert len(TEXT) >= 5
        assert len(AUDIO) >= 5
        assert len({case[0] for case in CASES}) == len(CASES)  # seeds are drawn by name
        assert SEVERITIES == (1, 2, 3)

    @every
    def test_equal_draws_give_the_same(self, name: str, function: Any, make: Callable[[], Any]) -> None:
        for severity in SEVERITIES:
            sample = make()
            state = torch.get_rng_state(), np.random.get_state()[1].tolist()
            first, second = (function(sample, severity, generator(name, 7)) for _ in range(2))
            assert same(first, second)
            assert torch.equal(state[0], torch.get_rng_state()), "the global generator is nobody's"
            assert state[1] == np.random.get_state()[1].tolist()

    @every
    def test_the_sample_itself_stays(self, name: str, function: Any, make: Callable[[], Any]) -> None:
        sample = make()
        function(sample, 3, generator(name, 7))
        assert same(sample, make())

    @every
    def test_it_changes_something_and_keeps_the_form(self, name: str, function: Any, make: Callable[[], Any]) -> None:
        for severity in SEVERITIES:
            sample, changed = make(), function(make(), severity, generator(name, 3))
            assert not same(sample, changed)
            if isinstance(changed, Tensor):
                assert (changed.dtype, changed.shape, changed.is_contiguous()) == (torch.uint8, sample.shape, True)
            elif isinstance(changed, tuple):
                (waveform, rate), (before, _) = changed, sample
                assert (waveform.dtype, waveform.shape, rate) == (np.float32, before.shape, RATE)
                assert np.abs(waveform).max() <= 1
            else:
                assert isinstance(changed, str)
                assert changed.strip()

    @pytest.mark.parametrize("side", [32, 64, 224])
    @pytest.mark.parametrize("name", IMAGE)
    def test_severity_grows_in_pixels(self, name: str, side: int) -> None:
        images = [image(side, seed) for seed in range(4)]
        means = [
            np.mean([distance(x, IMAGE[name](x, severity, generator(name, i))) for i, x in enumerate(images)])
            for severity in SEVERITIES
        ]
        assert 0 < means[0] < means[1] < means[2]

    @pytest.mark.parametrize("name", AUDIO)
    def test_severity_grows_in_sounds(self, name: str) -> None:
        sounds = [speech(seed=seed) for seed in range(4)]
        means = [
            np.mean([distance(x, AUDIO[name](x, severity, generator(name, i))) for i, x in enumerate(sounds)])
            for severity in SEVERITIES
        ]
        assert 0 < means[0] < means[1] < means[2]

    @pytest.mark.parametrize("name", IMAGE)
    @pytest.mark.parametrize("side", [2, 8, 17, 300])
    def test_images_of_any_side(self, name: str, side: int) -> None:
        for severity in SEVERITIES:
            assert IMAGE[name](image(side), severity, generator(name, 0)).shape == (3, side, side)


class TestImages:
    def test_noise_has_the_strength_of_the_benchmarks(self) -> None:
        for side, wanted in ((32, 0.10), (224, 0.38), (16, 0.10), (512, 0.38)):
            grey = torch.full((3, side, side), 128, dtype=torch.uint8)
            stds = [
                float((IMAGE["gaussian_noise"](grey, 3, generator("gaussian_noise", row)) / 255.0 - 128 / 255).std())
                for row in range(4)
            ]
            if wanted < 0.2:  # the stronger is clipped
                assert np.mean(stds) == pytest.approx(wanted, rel=0.05)
            else:
                assert 0.3 < np.mean(stds) < wanted

    def test_between_the_sizes_lies_the_mean(self) -> None:
        side = round((32 * 224) ** 0.5)
        grey = torch.full((3, side, side), 128, dtype=torch.uint8)
        found = (IMAGE["gaussian_noise"](grey, 1, generator("gaussian_noise", 0)).float() / 255).std()
        assert float(found) == pytest.approx((0.04 * 0.08) ** 0.5, rel=0.05)

    def test_a_square_is_covered_and_nothing_else(self) -> None:
        black = torch.zeros(3, 40, 40, dtype=torch.uint8)
        before = torch.zeros(40, 40, dtype=torch.bool)
        for severity, side in zip(SEVERITIES, (10, 15, 20), strict=True):
            covered = IMAGE["occlusion"](black, severity, generator("occlusion", 5)) == 128
            rows, columns = covered[0].nonzero().T
            assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (side, side)
            assert covered.sum() == 3 * side**2
            assert bool((covered[0] | ~before).all()), "a larger square holds the smaller one"
            before = covered[0]

    def test_brightness_is_that_of_hsv(self) -> None:
        sample = image()
        hsv = rgb_to_hsv(sample.permute(1, 2, 0).numpy() / 255)
        hsv[..., 2] = (hsv[..., 2] + 0.15).clip(0, 1)
        wanted = 255 * hsv_to_rgb(hsv).transpose(2, 0, 1)
        assert np.abs(IMAGE["brightness"](sample, 2, generator("", 0)).numpy() - wanted).max() <= 0.5 + 1e-6

    def test_black_becomes_grey(self) -> None:
        black = torch.zeros(3, 32, 32, dtype=torch.uint8)
        assert (IMAGE["brightness"](black, 3, generator("", 0)) == 76).all()  # 0.3 of 255, rounded to even

    def test_contrast_keeps_the_mean(self) -> None:
        sample = image()
        changed = IMAGE["contrast"](sample, 3, generator("", 0)).float()
        assert torch.allclose(changed.mean(dim=(1, 2)), sample.float().mean(dim=(1, 2)), atol=0.1)
        shrunk = changed.std(dim=(1, 2)) / sample.float().std(dim=(1, 2))
        assert torch.allclose(shrunk, torch.tensor(0.15), rtol=0.02)

    def test_half_of_the_images_turn_to_the_left(self) -> None:
        dot = torch.zeros(3, 33, 33, dtype=torch.uint8)
        dot[:, 2:5, 15:18] = 255
        lefts = []
        for row in range(40):
            turned = IMAGE["rotation"](dot, 3, generator("rotation", row))[0].float()
            lefts.append(float((turned.sum(0) * torch.arange(33)).sum() / turned.sum()) < 16)
        assert 10 < sum(lefts) < 30


class TestTexts:
    def test_shares_of_words(self) -> None:
        text = " ".join(f"word{i}" for i in range(100))
        for severity, share in zip(SEVERITIES, (10, 20, 40), strict=True):
            dropped = TEXT["word_drop"](text, severity, generator("word_drop", 0)).split()
            assert len(dropped) == 100 - share
            assert set(dropped) < set(text.split())
            typed = TEXT["typos"](text, severity, generator("typos", 0)).split()
            assert sum(one != other for one, other in zip(typed, text.split(), strict=True)) == share
            swapped = TEXT["word_swap"](text, severity, generator("word_swap", 0)).split()
            assert sum(one != other for one, other in zip(swapped, text.split(), strict=True)) == share
            assert sorted(swapped) == sorted(text.split())
            joined = TEXT["joined_words"](text, severity, generator("joined_words", 0))
            assert joined.count(" ") == 99 - round(share / 100 * 99)
            assert joined.replace(" ", "") == text.replace(" ", "")

    def test_a_higher_severity_adds_to_the_lower(self) -> None:
        text = " ".join(f"word{i}" for i in range(50))
        mild, strong = (TEXT["typos"](text, severity, generator("typos", 1)).split() for severity in (1, 3))
        assert all(m in (w, s) for w, m, s in zip(text.split(), mild, strong, strict=True))

    def test_all_letters_change_case_in_the_end(self) -> None:
        assert TEXT["casing"]("Ab cd 12", 3, generator("casing", 0)) == "aB CD 12"

    @pytest.mark.parametrize("name", TEXT)
    @pytest.mark.parametrize("text", ["", " ", "a", "7", "\n\n", "天气很好", " Tag "])
    def test_little_text_is_no_problem(self, name: str, text: str) -> None:
        for severity in SEVERITIES:
            changed = TEXT[name](text, severity, generator(name, 0))
            assert bool(changed.strip()) == bool(text.strip())

    @given(text=st.text(max_size=60), severity=st.sampled_from(SEVERITIES), row=st.integers(0, 2**40))
    @settings(max_examples=40, deadline=None)
    def test_any_text_can_be_damaged(self, text: str, severity: int, row: int) -> None:
        for name, function in TEXT.items():
            assert bool(function(text, severity, generator(name, row)).strip()) == bool(text.strip())

    def test_the_texts_of_a_pair_have_draws_of_their_own(self) -> None:
        one, other = of_each(TEXT["word_drop"])((SENTENCE, SENTENCE), 3, generator("word_drop", 0))
        assert one != SENTENCE != other
        assert one != other
        assert of_each(TEXT["word_drop"])((SENTENCE,), 3, generator("word_drop", 0)) == (one,)


class TestSounds:
    def test_noise_is_as_far_below_the_sound_as_it_says(self) -> None:
        waveform, rate = speech(2.0)
        for severity, wanted in zip(SEVERITIES, (20, 10, 0), strict=True):
            added = AUDIO["noise"]((waveform, rate), severity, generator("noise", 0))[0] - waveform
            assert 10 * np.log10(np.mean(waveform**2) / np.mean(added**2)) == pytest.approx(wanted, abs=0.3)

    def test_silence_stays_silent(self) -> None:
        silence = np.zeros(100, dtype=np.float32), RATE
        for name, function in AUDIO.items():
            assert not function(silence, 3, generator(name, 0))[0].any(), name

    def test_gain_is_in_decibels(self) -> None:
        waveform, rate = speech()
        quieter = AUDIO["gain"]((waveform, rate), 2, generator("gain", 0))[0]
        assert np.allclose(quieter, waveform * 0.2512, rtol=1e-3)

    def test_one_piece_of_the_time_is_masked(self) -> None:
        loud = np.ones(1000, dtype=np.float32), RATE
        masked = AUDIO["time_mask"](loud, 3, generator("time_mask", 4))[0]
        assert (masked == 0).sum() == 400
        assert np.abs(np.diff(masked)).sum() in (1, 2)

    def test_clipping_keeps_the_peak(self) -> None:
        waveform, rate = speech()
        clipped = AUDIO["clipping"]((waveform, rate), 3, generator("clipping", 0))[0]
        assert np.abs(clipped).max() == pytest.approx(np.abs(waveform).max(), rel=1e-6)
        assert (np.abs(clipped) > 0.999 * np.abs(waveform).max()).mean() > 0.3

    def test_high_tones_are_gone_and_low_ones_stay(self) -> None:
        time = np.arange(RATE) / RATE
        for hertz, kept in ((100, True), (4000, False)):
            tone = (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)
            passed = AUDIO["low_pass"]((tone, RATE), 3, generator("low_pass", 0))[0][RATE // 4 : -RATE // 4]
            assert np.abs(passed).max() > 0.49 if kept else np.abs(passed).max() < 0.001

    def test_a_rate_below_the_cut_off_is_left(self) -> None:
        waveform, _ = speech()
        assert same(AUDIO["low_pass"]((waveform, 1000), 1, generator("", 0)), (waveform, 1000))

    @pytest.mark.parametrize("name", AUDIO)
    def test_one_sample_is_a_sound(self, name: str) -> None:
        for severity in SEVERITIES:
            assert len(AUDIO[name]((np.ones(1, dtype=np.float32), RATE), severity, generator(name, 0))[0]) == 1
