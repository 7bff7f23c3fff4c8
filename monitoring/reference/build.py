"""Building a reference profile: held-out images go through the model that will serve, as production images do."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.errors import UserError
from models.examples import Example
from models.gate_records import Answers
from models.preprocessing import decode_for, normalise, resize
from models.runtime import Runtime
from monitoring.image_stats import sample_of, statistics_of_all
from monitoring.reference.fit import columns_of, fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

Pixels = NDArray[np.uint8]

_LEAST_ROWS, _MOST_ROWS = 500, 5_000
_LEAST_TO_JUDGE = 200
_OVERALL = "overall"
_BATCH = 64


def build(
    runtime: Runtime,
    examples: Sequence[Example],
    read_image: Callable[[Example], bytes],
    *,
    version: int,
    judged_errors: Mapping[str, tuple[int, int]],
    categories: Iterable[str] = (),
    identifiers: Iterable[str] = (),
    trained_on: Sequence[Mapping[str, str]] = (),
    seed: int = 0,
) -> ReferenceProfile:
    """
    The profile of held-out (select) examples.

    Fewer than 500 images are scored again, each time distorted a little afresh, until there are 500 rows; of more
    than 5,000 an evenly spread part is taken.

    Args:
        runtime: The exported model.
        examples: Never trained on.
        read_image: The bytes of an example.
        version: Of the model.
        judged_errors: See `ReferenceProfile`; `judged_errors` below computes them.
        categories: Metadata columns that are categories whatever their values look like: source and subgroups.
        identifiers: Metadata columns that name images or sessions: a new value there means nothing.
        trained_on: Metadata of the training images: a value that is only there is not new to the model.
        seed: Of the distortion.

    Raises:
        UserError: there is no held-out image.
    """
    if not examples:
        raise UserError("There is no held-out image to compare production with; give some rows split = select.")
    chosen = [examples[index] for index in _spread(len(examples), _MOST_ROWS)]
    rounds = max(1, -(-_LEAST_ROWS // len(chosen)))
    chance = np.random.default_rng([seed, version])
    batch, truth = _score(runtime, chosen, read_image, rounds, chance)
    return fit(
        batch,
        truth,
        version=version,
        classes=runtime.artifact.classes,
        rounds=rounds,
        judged_errors=judged_errors,
        columns=columns_of([one.metadata for one in chosen], trained_on, frozenset(categories), frozenset(identifiers)),
    )


def judged_errors(sets: Sequence[Answers], subgroups: Sequence[str]) -> dict[str, tuple[int, int]]:
    """
    Errors and images on the judge sets, overall and of every class and subgroup with at least 200 images.

    With several sets (old and recent images) each detector takes the one with the larger error: what production
    will be made of is not known, and either is fine. A set of fewer than 200 counts only together with the others, for
    the bound of a few images leaves room for any harm: one error of 17 is no proof that a quarter may be wrong.
    """
    counted = [_errors(answers, subgroups) for answers in sets if answers.images]
    found: dict[str, tuple[int, int]] = {}
    for name in dict.fromkeys(name for one in counted for name in one):
        pairs = [one[name] for one in counted if name in one]
        together = (sum(errors for errors, _ in pairs), sum(images for _, images in pairs))
        large = [pair for pair in (*pairs, together) if pair[1] >= _LEAST_TO_JUDGE]
        if large or name == _OVERALL:
            found[name] = max(large or [together], key=lambda pair: pair[0] / pair[1])
    return found


def distorted(pixels: Pixels, chance: np.random.Generator) -> Pixels:
    """The picture as the same camera might have taken it a moment later: a little turned, moved, lit, and noisy."""
    height, width = pixels.shape[:2]
    move = (round(float(chance.uniform(-0.03, 0.03)) * width), round(float(chance.uniform(-0.03, 0.03)) * height))
    border = tuple(int(value) for value in np.median(np.concatenate([pixels[0], pixels[-1]]), axis=0))
    turned = Image.fromarray(pixels).rotate(
        float(chance.uniform(-3, 3)), Image.Resampling.BILINEAR, translate=move, fillcolor=border
    )
    lit = np.asarray(turned, dtype=np.float64) * float(chance.uniform(0.92, 1.08))
    return np.clip(np.rint(lit + chance.normal(0, 1.5, lit.shape)), 0, 255).astype(np.uint8)


def _errors(answers: Answers, subgroups: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Errors and images of one set, overall and of every class and subgroup that is there."""
    members = {_OVERALL: np.ones(answers.images, dtype=bool)}
    for index, label in enumerate(answers.classes):
        members[f"class={label}"] = answers.truth == index
    for column in subgroups:
        values = np.array([row.get(column, "") for row in answers.metadata], dtype=object)
        for value in sorted(set(values) - {""}):
            members[f"{column}={value}"] = values == value
    wrong = ~answers.right
    return {name: (int(wrong[member].sum()), int(member.sum())) for name, member in members.items() if member.any()}


def _score(
    runtime: Runtime,
    examples: Sequence[Example],
    read_image: Callable[[Example], bytes],
    rounds: int,
    chance: np.random.Generator,
) -> tuple[Batch, tuple[str, ...]]:
    statistics, probabilities, embeddings = [], [], []
    preprocessing = runtime.artifact.preprocessing
    for round_number in range(rounds):
        for start in range(0, len(examples), _BATCH):
            files = [read_image(one) for one in examples[start : start + _BATCH]]
            images = [decode_for(data, preprocessing) for data in files]
            pictures = [image.pixels for image in images]
            if round_number:
                pictures = [distorted(picture, chance) for picture in pictures]
            samples = [
                sample_of(picture, image.width, image.height, len(data))
                for picture, image, data in zip(pictures, images, files, strict=True)
            ]
            statistics.append(statistics_of_all(samples))
            resized = np.stack([resize(picture, preprocessing) for picture in pictures])
            outputs = runtime.run(normalise(resized, preprocessing))
            probabilities.append(outputs.probabilities)
            embeddings.append(outputs.embedding)
    shares = np.concatenate(probabilities).astype(np.float64)
    classes = runtime.artifact.classes
    batch = Batch(
        statistics=np.concatenate(statistics).astype(np.float64),
        probabilities=shares,
        embedding=np.concatenate(embeddings).astype(np.float64),
        labels=tuple(classes[index] for index in shares.argmax(axis=1)),
        metadata=tuple(example.metadata for example in examples) * rounds,
    )
    return batch, tuple(example.label for example in examples) * rounds


def _spread(count: int, most: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))
