"""A canary or shadow beside the champion: from the log's tables to the records that people and rules judge by."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from infra.clock import new_id, now
from infra.settings import load
from models.intervals import wilson
from models.prediction import Label, Prediction, ShadowAnswer
from monitoring.comparison import FEW, ClassCount, Disagreement, Pairs, compare_canary, compare_shadow
from monitoring.log.trials import answer_rows, shadow_rows
from monitoring.prediction_log import PredictionLog

START = now() - timedelta(hours=1)
CHAMPION, TRIAL = 1, 2
CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def log(tmp_path) -> PredictionLog:
    return PredictionLog(load(tmp_path, {}).storage)


def answer(label: str, *, version: int = CHAMPION, minutes: float = 1, ms: float = 2.0, **metadata: str) -> Prediction:
    at = START + timedelta(minutes=minutes)
    return Prediction(
        id=new_id(at), at=at, model_version=version, label=label, confidence=0.75, probabilities=(0.75, 0.25),
        embedding=None, statistics=(0.5,), image_sha256="0" * 64, image_width=1, image_height=1, image_format="png",
        image_bytes=4, image_kept=True, metadata=metadata, forward_ms=ms,
    )  # fmt: skip


def pair(theirs: str, ours: str, *, champion: int = CHAMPION, minutes: float = 1, **metadata: str) -> ShadowAnswer:
    at = START + timedelta(minutes=minutes)
    return ShadowAnswer(new_id(at), at, champion, theirs, 0.5, 2.0, TRIAL, ours, 0.75, 8.0, metadata)


def labelled(log: PredictionLog, *labels: tuple[str, str], segment: int = 1) -> None:
    rows = [Label(identifier, label, now(), "ada", place) for place, (identifier, label) in enumerate(labels, start=1)]
    log.append_labels("spool", segment, list(enumerate(rows)))


def shadowed(log: PredictionLog, pairs: Sequence[ShadowAnswer], segment: int = 1) -> None:
    log.append_shadows("spool", segment, list(enumerate(pairs)))


def predicted(log: PredictionLog, answers: Sequence[Prediction], segment: int = 1) -> None:
    log.append_predictions("spool", segment, list(enumerate(answers)))


def shadow_comparison(log: PredictionLog, subgroups: Sequence[str] = ()):
    return compare_shadow(shadow_rows(log, TRIAL, START, CLASSES), CHAMPION, TRIAL, subgroups)


def canary_comparison(log: PredictionLog, subgroups: Sequence[str] = ()):
    return compare_canary(answer_rows(log, (CHAMPION, TRIAL), START, CLASSES), CHAMPION, TRIAL, subgroups)


def test_a_shadows_agreement_comes_with_its_interval_and_where_they_part(log):
    alike = [pair("cat", "cat") for _ in range(35)]
    shadowed(log, [*alike, pair("cat", "dog"), pair("dog", "cat"), pair("cat", "dog")])

    overall = shadow_comparison(log).overall

    assert overall.agreement is not None
    assert (overall.agreement.value, overall.agreement.low, overall.agreement.high) == (35 / 38, *wilson(35, 38))
    assert overall.disagreements == (Disagreement("cat", "dog", 2), Disagreement("dog", "cat", 1))
    assert overall.champion.classes == (ClassCount("cat", 37), ClassCount("dog", 1))
    assert overall.trial.classes == (ClassCount("cat", 36), ClassCount("dog", 2))
    assert (overall.champion.mean_confidence, overall.trial.mean_confidence) == (0.5, 0.75)
    assert (overall.champion.forward_ms_median, overall.trial.forward_ms_p95) == (2.0, 8.0)
    assert (overall.few, overall.few_labels) == (False, True)


def test_labelled_images_are_counted_by_who_was_right(log):
    answers = [("cat", "cat"), ("cat", "dog"), ("cat", "dog"), ("cat", "dog"), ("cat", "cat"), ("cat", "dog")]
    truths = ["cat", "cat", "dog", "dog", "dog"]  # of the last nobody knows it
    rows = [pair(*both) for both in answers]
    shadowed(log, rows)
    labelled(log, *zip([row.id for row in rows], truths, strict=False))

    overall = shadow_comparison(log).overall

    assert overall.pairs == Pairs(both=1, only_champion=1, only_trial=2, neither=1)
    assert (overall.champion.right, overall.trial.right) == (2, 3)
    assert overall.champion.labelled == overall.trial.labelled == 5
    assert (overall.trial.accuracy.low, overall.trial.accuracy.high) == wilson(3, 5)


def test_the_last_label_of_an_image_counts(log):
    row = pair("cat", "dog")
    shadowed(log, [row])
    labelled(log, (row.id, "cat"), (row.id, "dog"))

    assert shadow_comparison(log).overall.pairs == Pairs(0, 0, only_trial=1, neither=0)


def test_a_label_that_no_version_could_answer_judges_neither(log):
    row, asked = pair("cat", "dog"), answer("cat")
    shadowed(log, [row])
    predicted(log, [asked])
    labelled(log, (row.id, "cat"), (row.id, "zebra"), (asked.id, "zebra"))

    assert shadow_comparison(log).overall.pairs == Pairs(0, 0, 0, 0)
    assert canary_comparison(log).overall.champion.labelled == 0


def test_each_value_of_a_subgroup_is_compared_and_small_ones_are_marked(log):
    many = [pair("cat", "cat", camera="A", hall="1") for _ in range(FEW)]
    shadowed(log, [*many, pair("cat", "dog", camera="it's [B]"), pair("cat", "dog"), pair("cat", "dog", camera="")])

    compared = shadow_comparison(log, ["camera", "no such column"])

    assert [(group.title, group.few, group.champion.predictions) for group in compared.groups] == [
        ("camera=A", False, FEW),
        ("camera=it's [B]", True, 1),
    ]
    assert compared.overall.champion.predictions == FEW + 3


def test_what_a_shadow_answered_beside_another_version_is_left_out_and_counted(log):
    shadowed(log, [pair("cat", "cat"), pair("cat", "dog", champion=7)])

    compared = shadow_comparison(log)

    assert (compared.left_out, compared.overall.champion.predictions) == (1, 1)


def test_what_came_before_the_trial_or_of_another_version_does_not_count(log):
    other = replace(pair("cat", "dog"), version=9)
    shadowed(log, [pair("cat", "cat"), pair("cat", "dog", minutes=-1), pair("cat", "dog", minutes=-3000), other])
    predicted(log, [answer("cat"), answer("cat", minutes=-1), answer("cat", version=9), answer("cat", version=TRIAL)])

    sides = canary_comparison(log).overall

    assert shadow_comparison(log).overall.champion.predictions == 1
    assert (sides.champion.predictions, sides.trial.predictions) == (1, 1)


def test_an_image_that_was_asked_twice_counts_once(log):
    row, asked = pair("cat", "cat"), answer("cat")
    shadowed(log, [row, replace(row, label="dog", at=row.at + timedelta(seconds=1))])
    first_asked_before_the_trial = replace(answer("dog"), repeated=True)
    predicted(log, [asked, replace(asked, repeated=True), replace(asked, label="dog"), first_asked_before_the_trial])

    assert [one.label for one in shadow_comparison(log).overall.trial.classes] == ["cat"]
    assert canary_comparison(log).overall.champion.classes == (ClassCount("cat", 1),)


def test_a_canarys_callers_are_compared_with_the_champions(log):
    theirs = [answer("cat", ms=float(ms), camera="A") for ms in range(1, 101)]
    ours = [answer("cat" if place % 4 else "dog", version=TRIAL, ms=4.0, camera="AB"[place % 2]) for place in range(40)]
    predicted(log, [*theirs, *ours])
    labelled(log, *[(row.id, "cat") for row in (*theirs[:50], *ours)])

    compared = canary_comparison(log, ["camera"])
    champion, trial = compared.overall.champion, compared.overall.trial

    assert (champion.predictions, champion.labelled, champion.right) == (100, 50, 50)
    assert (champion.forward_ms_median, champion.forward_ms_p95) == pytest.approx((50.5, 95.05))
    assert (trial.predictions, trial.right, trial.classes) == (40, 30, (ClassCount("cat", 30), ClassCount("dog", 10)))
    assert (trial.accuracy.value, trial.accuracy.low, trial.accuracy.high) == (0.75, *wilson(30, 40))
    assert (compared.overall.few, compared.overall.few_labels) == (False, False)
    assert [(group.title, group.trial.predictions, group.few) for group in compared.groups] == [
        ("camera=A", 20, True),
        ("camera=B", 20, True),
    ]
    assert compared.overall.agreement is compared.overall.pairs is None


def test_latency_that_nobody_measured_is_nothing_and_not_zero(log):
    predicted(log, [replace(answer("cat"), forward_ms=None)])

    champion = canary_comparison(log).overall.champion

    assert (champion.predictions, champion.forward_ms_median, champion.forward_ms_p95) == (1, None, None)


@pytest.mark.parametrize("compare", [shadow_comparison, canary_comparison])
def test_before_the_first_answer_everything_is_empty_and_nothing_fails(log, compare):
    compared = compare(log, ["camera"])

    assert (compared.overall.champion.predictions, compared.overall.trial.classes) == (0, ())
    assert (compared.overall.champion.mean_confidence, compared.overall.trial.accuracy.value) == (None, None)
    assert (compared.overall.few, compared.groups) == (True, ())


@pytest.mark.parametrize("seed", range(5))
def test_groups_add_up_to_all(seed):
    chance = np.random.default_rng(seed)
    count = 200
    names, cameras = np.array(["cat", "dog", "owl"]), chance.integers(0, 4, count)
    truths = [str(name) if chance.random() < 0.5 else None for name in chance.choice(names, count)]
    rows = pl.DataFrame(
        {
            "champion_version": [CHAMPION] * count,
            "version": [TRIAL] * count,
            **{name: chance.choice(names, count) for name in ("champion_label", "label")},
            **{name: chance.random(count) for name in ("champion_confidence", "confidence")},
            **{name: chance.random(count) for name in ("champion_forward_ms", "forward_ms")},
            "metadata": [f'{{"camera": "{camera}"}}' for camera in cameras],
            "true_label": truths,
        }
    )

    compared = compare_shadow(rows, CHAMPION, TRIAL, ["camera"])

    overall, groups = compared.overall, compared.groups
    assert overall.pairs is not None
    assert sum(group.champion.predictions for group in groups) == overall.champion.predictions == count
    for name in ("both", "only_champion", "only_trial", "neither"):
        assert sum(getattr(group.pairs, name) for group in groups) == getattr(overall.pairs, name)
    assert overall.pairs.both + overall.pairs.only_trial == overall.trial.right
    assert sum(vars(overall.pairs).values()) == overall.champion.labelled
