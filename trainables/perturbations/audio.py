"""Damaged sounds: waveforms at the rate of their source, before they are resampled and made into features."""

from __future__ import annotations

from typing import Final

import numpy as np

from trainables.data.audio import Sound
from trainables.perturbations.contract import Perturbation

__all__ = ["AUDIO"]

_SNR_DB: Final = (20.0, 10.0, 0.0)
_QUIETER_DB: Final = (6.0, 12.0, 24.0)
_CLIPPED: Final = (0.5, 0.25, 0.1)
_SILENCED: Final = (0.1, 0.2, 0.4)
_CUT_OFF_HZ: Final = (3000.0, 1500.0, 750.0)

_ORDER: Final = 4
_PADDING: Final = 15
"""Samples by which SciPy prolongs a sound at both ends for a filter of this order."""


def noise(sound: Sound, severity: int, rng: np.random.Generator) -> Sound:
    """White noise 20, 10, 0 dB below the mean power of the sound; silence stays silent."""
    waveform, rate = sound
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    level = (power * 10 ** (-_SNR_DB[severity - 1] / 10)) ** 0.5
    drawn = rng.standard_normal(len(waveform), dtype=np.float32)
    return np.asarray((waveform + level * drawn).clip(-1, 1), dtype=np.float32), rate


def gain(sound: Sound, severity: int, rng: np.random.Generator) -> Sound:
    """Quieter by 6, 12, 24 dB."""
    waveform, rate = sound
    return waveform * np.float32(10 ** (-_QUIETER_DB[severity - 1] / 20)), rate


def clipping(sound: Sound, severity: int, rng: np.random.Generator) -> Sound:
    """Recorded too loud: cut off at 0.5, 0.25, 0.1 of its peak and brought back to it."""
    waveform, rate = sound
    kept = _CLIPPED[severity - 1]
    limit = kept * np.abs(waveform).max()
    return np.asarray(waveform.clip(-limit, limit) / kept, dtype=np.float32), rate


def time_mask(sound: Sound, severity: int, rng: np.random.Generator) -> Sound:
    """10, 20, 40 % of its duration is silent, in one piece anywhere (arXiv 1904.08779)."""
    waveform, rate = sound
    num_masked = round(_SILENCED[severity - 1] * len(waveform))
    start = round(rng.random() * (len(waveform) - num_masked))
    masked = waveform.copy()
    masked[start : start + num_masked] = 0
    return masked, rate


def low_pass(sound: Sound, severity: int, rng: np.random.Generator) -> Sound:
    """Nothing above 3000, 1500, 750 Hz (Butterworth of fourth order, forwards and backwards, so that nothing is
    delayed); a sound whose rate holds no higher ones is left."""
    from scipy.signal import butter, sosfiltfilt  # takes as long to import as half of torch

    waveform, rate = sound
    if 2 * _CUT_OFF_HZ[severity - 1] >= rate:
        return waveform.copy(), rate
    sections = butter(_ORDER, _CUT_OFF_HZ[severity - 1], fs=rate, output="sos")
    filtered = sosfiltfilt(sections, waveform, padlen=min(_PADDING, len(waveform) - 1))
    return np.asarray(filtered, dtype=np.float32).clip(-1, 1), rate


AUDIO: Final[dict[str, Perturbation[Sound]]] = {
    "noise": noise,
    "gain": gain,
    "clipping": clipping,
    "time_mask": time_mask,
    "low_pass": low_pass,
}
