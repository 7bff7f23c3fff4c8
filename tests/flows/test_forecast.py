"""A tenth of the training first: what the gate could not see is not trained, and the words say what would change it."""

import json
from dataclasses import replace

import pytest

from flows.candidate import CANDIDATE, DECLINED, SUCCESSOR, Order, make_candidate
from flows.collecting.collect import retrain_snapshot
from flows.collecting.manifest import kept_manifest
from flows.collecting.preparing import prepared
from flows.first_model import train
from flows.forecasting.forecast import forecast_gain
from infra.jobs import claim_job, finish_job, note_run_dir, queue_job
from models.gain_forecast import LEAST_CHANCE, Proof, ceiling, forecast
from models.noninferiority import PairedCounts, chance_of_passing
from tests.flows.card_project import KNOWS, Heard, labelled_traffic, project, promoted
from tests.flows.tiny_network import TINY_NETWORK
from tests.service.cards import CLASSES

GAIN = Proof(images=60, margin=0.0, level=0.02)


def test_a_large_gain_of_the_trial_is_worth_the_whole_training():
    found = forecast(PairedCounts(60, 2, 20), 1.0, GAIN)

    assert found.worthwhile
    assert found.gain == pytest.approx(0.3)
    assert found.words.endswith("so the whole training is worth it.")


def test_a_gain_that_the_judge_images_could_not_show_declines_and_says_how_many_would():
    few = forecast(PairedCounts(60, 3, 5), 1.0, Proof(20, 0.0, 0.02))
    enough = forecast(PairedCounts(60, 3, 5), 1.0, Proof(20 + few.needed, 0.0, 0.02))

    assert not few.worthwhile
    assert f"About {few.needed} more recent judge images would do." in few.words
    assert enough.worthwhile


def test_the_chance_is_that_of_the_gates_own_test_for_the_most_that_can_be_hoped_for():
    found = forecast(PairedCounts(60, 3, 9), 1.0, GAIN)

    discordance = 2 * 3 / 60 + found.hopeful
    assert found.hopeful > found.gain > 0
    assert found.chance == chance_of_passing(60, 0.0, discordance, -found.hopeful, 0.02)


def test_where_even_perfection_could_not_be_seen_nothing_is_tried():
    found = ceiling(PairedCounts(40, 0, 1), 1.0, Proof(40, 0.0, 0.02))

    assert not found.worthwhile
    assert found.words.startswith("Even a candidate that were always right would gain 2.5 points on 40 fresh images")


def test_the_whole_may_gain_more_than_the_trial_but_never_more_than_perfection():
    trial, few = PairedCounts(24, 1, 4), Proof(13, 0.0, 0.02)

    free, bound = forecast(trial, 1.0, few), forecast(trial, 1.0, few, most=0.2)

    assert free.hopeful > 2 * free.gain
    assert bound.hopeful == 0.2
    assert (free.worthwhile, bound.worthwhile) == (True, False)


def test_a_trial_that_is_surely_worse_has_nothing_to_hope_for():
    found = forecast(PairedCounts(100, 30, 2), 1.0, GAIN)

    assert (found.worthwhile, found.needed) == (False, None)
    assert "other images are needed, or another kind of training" in found.words


def test_images_that_come_in_groups_count_for_less():
    alone = forecast(PairedCounts(40, 2, 8), 1.0, GAIN)
    in_groups = forecast(PairedCounts(40, 2, 8), 4.0, GAIN)

    assert in_groups.chance < alone.chance


def test_where_no_gain_has_to_be_proven_it_is_enough_to_rule_a_loss_out():
    harmless = PairedCounts(200, 2, 2)

    assert forecast(harmless, 1.0, Proof(400, 0.05, 0.04)).worthwhile
    assert not forecast(harmless, 1.0, Proof(30, 0.02, 0.04)).worthwhile


def test_without_a_judge_image_drawn_by_chance_no_gain_can_be_proven():
    found = ceiling(PairedCounts(40, 0, 20), 1.0, Proof(0, 0.0, 0.02))

    assert found.chance < LEAST_CHANCE
    assert found.words.startswith("No recent judge image can prove a gain: only labels drawn by chance do")


@pytest.fixture
def content(tmp_path):
    """The champion knows the cards that have come since, so that no training could better it."""
    place = project(tmp_path)
    promoted(place, KNOWS)
    labelled_traffic(place, 300)
    return place


def test_a_retrain_whose_gain_could_not_be_seen_is_declined_and_nothing_is_registered(content, tmp_path):
    order = Order(SUCCESSOR, "harm", tmp_path / "run", job_id="job-1")

    outcome = make_candidate(content, order, Heard())

    assert (outcome.state, outcome.version.version, outcome.promoted) == (DECLINED, 1, False)
    assert outcome.words.startswith("Not trained. Even a candidate that were always right would gain 0.0 points")
    (objection,) = outcome.decision.objections
    assert (objection.check, objection.scope) == ("forecast", "recent")
    assert len(content.registry.versions()) == 1
    assert content.ledger.rows("judge-readings") == ()
    row = content.ledger.rows("decisions")[-1]
    assert (row.kind, row.facts["job"], row.facts["worthwhile"]) == ("forecast", "job-1", False)
    assert not (tmp_path / "run" / "images").exists()


def test_asked_again_a_declined_job_stays_declined_and_leaves_no_second_row(content, tmp_path):
    order = Order(SUCCESSOR, "harm", tmp_path / "run")
    first = make_candidate(content, order, Heard())

    again = make_candidate(content, order, Heard())

    assert again.words == first.words
    assert [row.kind for row in content.ledger.rows("decisions")].count("forecast") == 1


def why_not(place, run_dir, reason="harm", forecast=None):
    heard, champion = Heard(), place.registry.champion()
    order = Order(SUCCESSOR, reason, run_dir, forecast=forecast)
    found = forecast_gain(place, order, retrain_snapshot(place, champion, CLASSES), champion, heard)
    return found, heard.words


def test_what_a_person_asks_for_is_not_forecast_unless_asked(content, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for reason in ("manual", "new camera in hall 3"):
        found, words = why_not(content, run_dir, reason)
        assert found is None
        assert words == ["No forecast: a person asked for the training (`kedge retrain --forecast` asks for both)."]

    asked, _ = why_not(content, run_dir, "manual", forecast=True)

    assert asked is not None


def test_a_tiny_training_is_not_forecast_and_says_so(content, tmp_path):
    job = claim_job(content.engine, queue_job(content.engine, "retrain", "manual").id)
    finish_job(content.engine, job.id, "done", outcome={"version": 1, "promoted": True, "seconds": 34.2})

    found, words = why_not(content, tmp_path / "run")

    assert found is None
    assert words == ["No forecast: the last training took 34 s in all, and a micro-run would spare little of that."]


def test_a_training_that_is_mostly_start_and_export_is_tiny_on_a_slow_machine_too(content, tmp_path):
    run_dir = tmp_path / "earlier"
    (run_dir / "candidate").mkdir(parents=True)
    job = claim_job(content.engine, queue_job(content.engine, "retrain", "manual").id)
    note_run_dir(content.engine, job.id, str(run_dir))
    (run_dir / "candidate" / "training.json").write_text(json.dumps({"seconds": 74.4}))
    finish_job(content.engine, job.id, "done", outcome={"version": 1, "promoted": True, "seconds": 209.1})

    found, words = why_not(content, tmp_path / "run")
    (run_dir / "candidate" / "training.json").write_text(json.dumps({"seconds": 190.0}))
    (tmp_path / "run").mkdir()
    long_one, _ = why_not(content, tmp_path / "run")

    assert found is None
    assert words[0].startswith("No forecast: training was 74 s of the 209 s that the last one took")
    assert long_one is not None


def test_the_setting_turns_it_off(content, tmp_path):
    trigger = replace(content.settings.trigger, forecast=False)
    off = replace(content, settings=replace(content.settings, trigger=trigger))

    found, words = why_not(off, tmp_path / "run")

    assert (found, words) == (None, ["No forecast: trigger.forecast is off."])


@pytest.mark.slow
def test_a_real_micro_run_sees_the_gain_and_leaves_nothing_but_its_answer(tmp_path):
    """A small network learns the cards under wrong names, which then come under their right ones."""
    place = project(
        tmp_path,
        settings=TINY_NETWORK + "[gate]\nmin_precision = 0.0\nmin_recall = 0.0\n",
    )
    text = (tmp_path / "manifest.csv").read_text().splitlines()
    turned = {"dark": "light", "light": "red", "red": "dark"}
    rows = [text[0], *(f"{image},{turned[label]}" for image, label in (line.split(",") for line in text[1:]))]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    small = replace(place.settings.train, most_epochs_per_stage=6)
    place = replace(place, settings=replace(place.settings, train=small))
    assert train(place, Heard()).state == CANDIDATE
    if place.registry.champions.current() is None:
        place.registry.champions.promote(1, actor="test", reason="test")
    labelled_traffic(place, 400)
    champion, heard = place.registry.champion(), Heard()
    order = Order(SUCCESSOR, "harm", tmp_path / "run", job_id="job-1", forecast=True)
    snapshot = prepared(place, order, champion, heard)

    found = forecast_gain(place, order, snapshot, champion, heard)

    assert kept_manifest(place, champion).is_whole
    assert "Trying a tenth of the training, to see what the whole could bring …" in heard.words
    assert found is not None
    assert found.images == len(snapshot.select_recent)
    assert not (tmp_path / "run" / "forecast").exists()
    assert json.loads((tmp_path / "run" / "forecast.json").read_text())["worthwhile"] is found.worthwhile
    assert forecast_gain(place, order, snapshot, champion, heard) == found
    assert place.ledger.rows("judge-readings")[-1].facts["reason"] == "first"
