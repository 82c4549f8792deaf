"""Pictures of explained answers, with what they show in words."""

from __future__ import annotations

from torch import Tensor

from trainables.data import Split, Task
from trainables.evaluate.findings import Picture
from trainables.explain import Examination, Readable
from trainables.explain.pictures import draw_image, draw_sound, draw_text
from trainables.objective import Classification, Regression
from trainables.preprocessing import AudioPreprocessing, Preprocessing, State, TextPreprocessing

__all__ = ["picture_of"]


def picture_of(examination: Examination, task: Task, split: Split, position: int, encoded: State, name: str) -> Picture:
    """An overlay of every explainer over one sample.

    Args:
        split: that holds the sample.
        position: of the sample in it.
        encoded: the sample as it is stored, a batch of one.
        name: of the picture.
    """
    said = _said(examination, task, split.targets[position])
    return Picture(
        name=name,
        caption=f"{task.spec.name}, sample {int(split.rows[position])}: {said}. Red speaks for this answer, blue "
        "against it.",
        png=_drawn(examination, task, encoded),
    )


def _said(examination: Examination, task: Task, target: Tensor) -> str:
    """The truth and the answer, in words."""
    answer, names = examination.question.answer, task.class_names
    share = f"(p = {examination.question.whole:.2f})"
    if isinstance(answer.objective, Classification):
        return f"true class {names[int(target)]}, answered {names[answer.index]} {share}"
    if isinstance(answer.objective, Regression):
        answers = answer.objective.answers(answer.outputs.unsqueeze(0))[0].tolist()
        pairs = zip(names, target.tolist(), answers, strict=True)
        return "; ".join(f"true {target_name} {truth:.3g}, answered {value:.3g}" for target_name, truth, value in pairs)
    truth, said = ("yes" if positive else "no" for positive in (target[answer.index] > 0, answer.sign > 0))
    return f"label {names[answer.index]}: true {truth}, answered {said} {share}"


def _drawn(examination: Examination, task: Task, encoded: State) -> bytes:
    if isinstance(encoded, Tensor):
        return draw_image(examination, encoded[0])
    first = encoded[0][0].cpu()
    if isinstance(task.preprocessing, TextPreprocessing):
        tokenizer, ids = task.preprocessing.tokenizer, first.tolist()
        return draw_text(examination, tokenizer.spelled(ids) if isinstance(tokenizer, Readable) else [*map(str, ids)])
    return draw_sound(examination, first, _duration_s(task.preprocessing, first))


def _duration_s(preprocessing: Preprocessing, features: Tensor) -> float | None:
    """Of a waveform; None of a spectrogram, whose hop is the extractor's own."""
    if not isinstance(preprocessing, AudioPreprocessing) or features.ndim > 1:
        return None
    return len(features) / preprocessing.sampling_rate
