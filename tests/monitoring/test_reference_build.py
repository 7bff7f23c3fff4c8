import io

import numpy as np
import pytest
from PIL import Image

from infra.errors import UserError
from models.examples import Example
from models.gate_records import Answers
from models.preprocessing import decode_for
from models.runtime import Runtime
from monitoring.image_stats import sample_of, statistics_of_all
from monitoring.reference.build import build, distorted, judged_errors
from monitoring.reference.fit import columns_of
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import drift_report
from monitoring.watching.batch import batch_of
from tests.service.cards import CLASSES, write_candidate

COLOURS = {"dark": (20, 20, 20), "light": (230, 230, 230), "red": (200, 30, 30)}


def card(label: str, chance: np.random.Generator) -> bytes:
    pixels = np.full((40, 40, 3), COLOURS[label]) + chance.normal(0, 8, (40, 40, 3)) + chance.normal(0, 5, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def runtime(tmp_path):
    return Runtime.open(write_candidate(tmp_path / "candidate"))


def profile_of(runtime: Runtime, images: int) -> ReferenceProfile:
    chance = np.random.default_rng(0)
    cards = {f"card-{place}": card(CLASSES[place % 3], chance) for place in range(images)}
    examples = [
        Example(image=name, label=CLASSES[place % 3], metadata={"camera": "AB"[place % 2]})
        for place, name in enumerate(cards)
    ]
    return build(
        runtime,
        examples,
        lambda example: cards[str(example.image)],
        version=4,
        judged_errors={"overall": (1, 100)},
        categories=("camera",),
    )


def test_few_images_are_scored_again_and_again_until_there_are_five_hundred_rows(runtime):
    profile = profile_of(runtime, 120)

    assert (profile.images, len(profile.batch)) == (120, 600)
    assert profile.columns["camera"].values == {"A": 60, "B": 60}
    right = [one == other for one, other in zip(profile.batch.labels, profile.truth, strict=True)]
    assert np.mean(right) > 0.95
    first, second = profile.batch.statistics[:120], profile.batch.statistics[120:240]
    assert not np.allclose(first, second)


def test_the_same_seed_gives_the_same_profile(runtime):
    assert profile_of(runtime, 60).limits == profile_of(runtime, 60).limits


def test_without_held_out_images_there_is_no_profile(runtime):
    with pytest.raises(UserError, match=r"There is no held-out image .* split = select"):
        build(runtime, [], lambda _: b"", version=1, judged_errors={})


def test_a_distorted_picture_is_nearly_the_same_picture():
    chance = np.random.default_rng(1)
    pixels = np.full((64, 48, 3), 120, dtype=np.uint8)
    pixels[20:40, 10:30] = 240

    again = distorted(pixels, chance)

    assert again.shape == pixels.shape
    assert not np.array_equal(again, pixels)
    assert np.abs(again.astype(float) - pixels).mean() < 20


def answers(images: int, wrong: int, camera: str) -> Answers:
    truth = np.zeros(images, dtype=np.int64)
    answer = np.where(np.arange(images) < wrong, 1, 0)
    return Answers("f", ("a", "b"), truth, answer, np.ones(images), ("g",) * images, ({"camera": camera},) * images)


def test_judged_errors_take_large_groups_and_the_worse_of_old_and_recent():
    found = judged_errors([answers(400, 8, "A"), answers(250, 20, "B")], ["camera"])

    assert found == {"overall": (20, 250), "class=a": (20, 250), "camera=A": (8, 400), "camera=B": (20, 250)}


def test_a_few_recent_images_count_only_together_with_the_old_ones():
    # Of one error in 17 the bound would be 23 %: of such a successor's harm the watch would never hear.
    found = judged_errors([answers(566, 13, "A"), answers(17, 1, "B")], ["camera"])

    assert found == {"overall": (14, 583), "class=a": (14, 583), "camera=A": (13, 566)}


def test_where_all_images_are_few_they_are_the_judge_set_all_the_same():
    found = judged_errors([answers(50, 2, "A"), answers(20, 1, "A")], ["camera"])

    assert found == {"overall": (3, 70)}


def test_a_batch_without_embeddings_still_has_a_report(runtime):
    profile = profile_of(runtime, 120)

    report = drift_report(profile, batch_of([], 3, profile.embedding_size))

    assert report.atypical == {}


def test_what_only_training_images_have_is_known_and_a_session_is_never_new():
    held_out = [{"device": "A", "session": f"s{index % 30}", "lux": f"{100 + index / 7:.2f}"} for index in range(60)]
    trained = [{"device": "B", "session": "t", "lux": "900"}]

    columns = columns_of(held_out, trained, categories=frozenset({"device"}), identifiers=frozenset({"session"}))

    assert columns["device"].values == {"A": 60, "B": 0}
    assert [columns["device"].is_new(device) for device in "ABC"] == [False, False, True]
    assert not columns["session"].is_new("never seen")
    assert [columns["lux"].is_new(lux) for lux in ("500", "950")] == [False, True]


def test_large_photographs_are_measured_as_serving_will_see_them(runtime):
    chance = np.random.default_rng(0)
    photo = Image.fromarray(chance.integers(0, 256, (400, 600, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    image = decode_for(buffer.getvalue(), runtime.artifact.preprocessing)

    profile = build(runtime, [Example("one", "dark")], lambda _: buffer.getvalue(), version=1, judged_errors={})

    assert image.pixels.shape == (50, 75, 3)
    expected = statistics_of_all([sample_of(image.pixels, image.width, image.height, len(buffer.getvalue()))])[0]
    assert profile.batch.statistics[0] == pytest.approx(expected, rel=1e-6)
    assert profile.batch.statistics[0, 5:7] == pytest.approx([np.log(600 / 400), 0.24])
    assert profile.batch.statistics[0, 8] == pytest.approx(len(buffer.getvalue()) / 240_000)
