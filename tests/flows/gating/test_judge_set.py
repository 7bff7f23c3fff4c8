"""Which images judge, and what each of them counts for."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from flows.collecting.manifest import keep_manifest
from flows.collecting.snapshot import Snapshot
from flows.gating.judge_set import judge_set
from flows.gating.untrained import untrained
from flows.judging import judge
from infra import schema
from infra.database import writing
from infra.files import sha256_of
from models.examples import Example
from models.gate_records import DIFFERENT
from monitoring.prediction_log import image_key
from tests.flows.gating.opinions import TWO, card, cards, judged_on, open_project, reader, registered

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def place(tmp_path):
    return open_project(tmp_path / "project")


def produced(place, number: int, label: str = "dark") -> Example:
    content = f"{number:064x}"
    place.objects.put(image_key(content), card((label,) * 3, number))
    return Example(image_key(content), label, "judge", group=content, source="production")


def ask(place, example: Example, stratum: str, *, group: str = "", scope: str = "", in_audit: bool = False) -> None:
    content = str(example.image).rpartition("/")[2]
    facts = {"gate": {"version": 2, "group": group, "scope": scope}} if group else {}
    with writing(place.engine) as connection:
        connection.execute(schema.label_requests.insert().values(
            name="cards", prediction_id=content[-9:], predicted_at=NOON, asked_at=NOON, model_version=1,
            stratum=stratum, probability=0.5, uniform_probability=0.1, in_audit=in_audit, policy="poisson-1",
            state="answered", label=example.label, image_sha256=content, facts=facts,
        ))  # fmt: skip


def test_what_is_asked_of_the_old_world_judges_with_the_old_images(place):
    old, recent = produced(place, 1), produced(place, 2)
    ask(place, old, "gate", group="overall", scope="old")
    ask(place, recent, "gate", group="overall", scope="recent")

    found = judge_set(place, judged_on([], [old, recent]))

    assert (found.old.examples, found.recent.examples) == ((old,), (recent,))
    assert found.old.asked_for == found.recent.asked_for == ("",)


def test_what_is_asked_as_one_class_counts_for_it_alone_and_as_another_not_at_all(place):
    mine, other = produced(place, 1, "dark"), produced(place, 2, "light")
    for one in (mine, other):
        ask(place, one, "gate", group="class=dark", scope="recent")

    found = judge_set(place, judged_on([], [mine, other]))

    assert found.recent.examples == (mine,)
    assert found.recent.asked_for == ("class=dark",)


def test_a_picture_that_chance_drew_as_well_counts_as_any_other(place):
    one = produced(place, 1, "light")
    ask(place, one, "gate", group="class=dark", scope="recent", in_audit=True)

    found = judge_set(place, judged_on([], [one]))

    assert (found.recent.asked_for, found.recent.by_chance) == (("",), (True,))


def test_what_is_asked_since_a_candidate_answers_it_differently_counts_for_that_one_alone(place):
    one = produced(place, 1)
    ask(place, one, "gate", group=DIFFERENT, scope="recent")

    its_own, of_another = judge_set(place, judged_on([], [one]), 2), judge_set(place, judged_on([], [one]), 3)

    assert (its_own.recent.examples, its_own.recent.asked_for) == ((one,), (DIFFERENT,))
    assert of_another.recent.examples == judge_set(place, judged_on([], [one])).recent.examples == ()


@pytest.mark.parametrize(
    ("stratum", "in_audit", "by_chance"),
    [("audit", True, True), ("gate", False, True), ("uncertain", False, False), ("disagreement", False, False)],
)
def test_only_what_was_drawn_without_regard_to_an_answer_can_prove_a_gain(place, stratum, in_audit, by_chance):
    one = produced(place, 1)
    ask(place, one, stratum, in_audit=in_audit)

    assert judge_set(place, judged_on([], [one])).recent.by_chance == (by_chance,)


def test_volunteered_labels_prove_no_gain_unless_the_settings_say_that_they_are_random(place, tmp_path):
    one = produced(place, 1)
    random = open_project(tmp_path / "other", "[monitor]\nfeedback_is_random = true\n")

    assert judge_set(place, judged_on([], [one])).recent.by_chance == (False,)
    assert judge_set(random, judged_on([], [one])).recent.by_chance == (True,)


def test_a_gain_on_what_callers_corrected_is_no_gain(place, tmp_path):
    """The champion reads red and was corrected where it erred; a candidate that is no better reads green."""
    champion = registered(place, reader(tmp_path / "a", 0))
    old = cards(tmp_path / "cards", 400, (0.02, 0.02, 0.0))
    corrected = []
    for number in range(60):
        data = card(("light", "dark", "dark"), 900 + number)
        place.objects.put(image_key(f"{number:064x}"), data)
        corrected.append(replace(produced(place, 2_000 + number), image=image_key(f"{number:064x}")))

    decision = judge(place, reader(tmp_path / "b", 1), judged_on(old, corrected), champion, "harm").decision

    gain = next(one for one in decision.checks if one.name == "gain")
    assert (gain.images, gain.result, decision.relief) == (0, "undecided", False)


def test_a_second_reading_proves_the_gain_on_what_the_candidate_was_seen_to_answer_differently(place, tmp_path):
    """The champion reads red, the candidate green; of 40 pictures on which they differ green is right on 30."""
    champion = registered(place, reader(tmp_path / "a", 0))
    candidate = registered(place, reader(tmp_path / "b", 1), promoted=False)
    old = cards(tmp_path / "cards", 400, (0.02, 0.02, 0.0))
    asked = []
    for number in range(40):
        red, green = ("light", "dark") if number < 30 else ("dark", "light")
        one = replace(produced(place, 3_000 + number), image=image_key(f"{number:064x}"))
        place.objects.put(str(one.image), card((red, green, "dark"), 900 + number))
        ask(place, one, "gate", group=DIFFERENT, scope="recent")
        asked.append(one)

    its_own = judge(place, tmp_path / "b", judged_on(old, asked), champion, "harm").decision
    of_another = judge(place, reader(tmp_path / "c", 1, mark=0.5), judged_on(old, asked), champion, "harm").decision

    assert candidate.version == 2
    gain = next(one for one in its_own.checks if one.name == "gain")
    assert (gain.images, gain.result) == (40, "passed")
    assert any("no recent labelled image is kept for judging" in one.words for one in of_another.objections)


def test_images_labelled_for_one_class_stay_out_of_the_scores_that_are_published(place, tmp_path):
    champion = registered(place, reader(tmp_path / "a", 0))
    old = cards(tmp_path / "cards", 80, (0.0, 0.0, 0.0))
    asked = produced(place, 1)
    ask(place, asked, "gate", group="class=dark", scope="old")

    judged = judge(place, reader(tmp_path / "b", 1), judged_on(old, [asked]), champion, "manual")

    recall = next(one for one in judged.decision.checks if (one.name, one.group) == ("recall", "class=dark"))
    assert (judged.scorecard.images, judged.old.images, recall.images) == (80, 80, 41)


def test_a_later_judge_image_that_looks_like_one_that_trained_is_left_out(place, tmp_path):
    version = registered(place, reader(tmp_path / "a", 0))
    manifest = place.settings.data.manifest
    manifest.parent.mkdir(parents=True, exist_ok=True)
    trained = cards(manifest.parent, 4, (0.0, 0.0, 0.0))
    files = {str(one.image): sha256_of(one.image) for one in trained}
    training = tuple(replace(one, split="train") for one in trained)
    keep_manifest(place, version, Snapshot(TWO, training, (), (), (), {}, "", files=files))
    content = trained[0].image.read_bytes()
    twin = tmp_path / "twin.png"
    twin.write_bytes(content)
    other = produced(place, 77)

    left = untrained(place, judged_on([], [Example(twin, "dark", "judge"), other]), version)

    assert left.judge_recent == (other,)
