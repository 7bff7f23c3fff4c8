"""Worlds come back: an archived version that knows the new images is judged and returns, and nothing is trained."""

from dataclasses import replace

import pytest

from flows.candidate import ARCHIVED, SUCCESSOR, Order, make_candidate
from flows.collecting.collect import retrain_snapshot
from flows.regimes.archive import MOST_TRIED, archived, fitting_version
from flows.regimes.choice import Tried, choose
from flows.regimes.recall import recalled
from infra.clock import now
from models import rollout_runs
from models.noninferiority import PairedCounts
from models.rollout_runs import DONE, ROLLED_BACK, STOPPED, RunFacts, closing
from monitoring.prediction_log import image_key
from tests.flows.card_project import KNOWS, KNOWS_NOTHING, Heard, labelled_traffic, project, promoted, version
from tests.service.cards import CLASSES


def tried(number, lost, won, right, when_judged=0.95, images=40):
    return Tried(number, PairedCounts(images, lost, won), right, when_judged)


def test_the_best_of_those_that_are_surely_better_is_chosen():
    found = choose([tried(1, 2, 12, 0.90), tried(2, 1, 20, 0.95), tried(3, 6, 7, 0.6)], 40, 0.02)

    assert found.version == 2
    assert found.words == "Version 2 is 47.5 points better than the champion on 40 fresh images."


def test_a_version_that_is_only_less_bad_than_the_champion_is_not_chosen():
    found = choose([tried(1, 0, 12, 0.55)], 40, 0.02)

    assert found.version is None
    assert "with 55% right does not know them as well as what it was made for (95%)" in found.words


def test_the_level_is_shared_by_all_that_are_tried():
    alone = choose([tried(1, 1, 7, 0.95)], 40, 0.02)
    among_many = choose([tried(1, 1, 7, 0.95), *(tried(number, 5, 5, 0.9) for number in range(2, 9))], 40, 0.02)

    assert (alone.version, among_many.version) == (1, None)


def test_a_handful_of_images_chooses_nobody():
    assert choose([tried(1, 0, 10, 1.0, images=10)], 10, 0.02).version is None


@pytest.fixture
def returned(tmp_path):
    """Version 1 knows the cards, version 2 replaced it and gets them all wrong; then labelled cards come again."""
    place = project(tmp_path)
    promoted(place, KNOWS)
    promoted(place, KNOWS_NOTHING)
    labelled_traffic(place, 240)
    return place


def test_an_archived_version_that_fits_passes_the_gate_and_nothing_is_trained(returned, tmp_path):
    heard = Heard()
    order = Order(SUCCESSOR, "harm", tmp_path / "run", job_id="job-1")

    outcome = make_candidate(returned, order, heard)

    assert (outcome.state, outcome.version.version, outcome.champion_version) == (ARCHIVED, 1, 2)
    assert outcome.decision.outcome == "promote" or outcome.decision.relief
    assert "so it returns instead of anything being trained" in outcome.words
    assert len(returned.registry.versions()) == 2
    assert not (tmp_path / "run" / "progress.jsonl").exists()
    row = returned.ledger.rows("decisions")[-1]
    assert (row.kind, row.facts["version"], row.facts["job"]) == ("regimes", 1, "job-1")


def test_a_job_that_goes_on_does_not_read_the_judge_images_again(returned, tmp_path):
    order = Order(SUCCESSOR, "harm", tmp_path / "run", job_id="job-1")
    first = make_candidate(returned, order, Heard())

    again = make_candidate(returned, order, Heard())

    assert (again.version, again.decision) == (first.version, first.decision)
    assert len(returned.ledger.rows("judge-readings")) == 1


def test_choosing_an_archived_version_needs_no_judge_image(returned):
    champion = returned.registry.champion()
    snapshot = retrain_snapshot(returned, champion, CLASSES)
    for example in snapshot.judge_recent:
        returned.objects.delete(example.image)
    for example in snapshot.judge_old:
        example.image.unlink()

    fit = fitting_version(returned, snapshot, champion, Heard())

    assert fit.version.version == 1
    assert fit.images == len(snapshot.select_recent) > 20
    assert {image_key(one.image.rpartition("/")[2]) for one in snapshot.select_recent} == {
        one.image for one in snapshot.select if one.source == "production"
    }
    assert returned.ledger.rows("judge-readings") == ()


def test_refused_versions_and_those_beyond_the_cap_are_not_tried(tmp_path):
    place = project(tmp_path, each=12)
    refused = version(place, KNOWS, state="refused")
    others = [version(place, KNOWS) for _ in range(MOST_TRIED + 1)]
    champion = promoted(place, KNOWS_NOTHING)

    found = [one.version for one in archived(place, place.registry.champion()).versions]

    assert found == list(reversed(others))[:MOST_TRIED]
    assert not {refused, champion} & set(found)


@pytest.fixture
def known(tmp_path):
    """Versions 1 and 2 know the cards; 3 is champion."""
    place = project(tmp_path, each=12)
    for _ in range(2):
        promoted(place, KNOWS)
    promoted(place, KNOWS_NOTHING)
    return place


def archive_of(place):
    found = archived(place, place.registry.champion())
    return [one.version for one in found.versions], dict(found.left_out), found.words


def rolled_out(place, number, end, words, *, overtaken=False):
    """A rollout of the version that ended so, some stage before that being of no matter here."""
    engine, champion = place.engine, place.registry.champions.current()
    run = rollout_runs.begin(
        engine, "cards", number, champion_version=champion, stage="canary", reason="test", job_id=None,
        facts=RunFacts(), words="begun",
    )  # fmt: skip
    decided = rollout_runs.move(engine, run, closing(run, end, words, overtaken=overtaken), "closing")
    at = now()
    over = replace(decided, stage=end, stage_since=at, ended_at=at, facts=replace(decided.facts, closing=""))
    rollout_runs.move(engine, decided, over, end)


def test_a_version_that_a_successor_replaced_may_return(known):
    assert archive_of(known) == ([2, 1], {}, "")


def test_a_version_that_a_person_went_back_from_is_not_tried_until_a_later_promotion_lasts(known):
    known.registry.champions.promote(2, actor="ada", reason="by hand")
    known.registry.champions.rollback(actor="ada", reason="reads sevens as ones")
    after_going_back = archive_of(known)
    known.registry.champions.promote(2, actor="ada", reason="it was the camera")
    known.registry.champions.promote(3, actor="ada", reason="a better one")

    assert after_going_back == (
        [1],
        {2: "rolled back by ada: reads sevens as ones"},
        "Sent out before and taken back, so not tried: 1: version 2 (rolled back by ada: reads sevens as ones).",
    )
    assert archive_of(known) == ([2, 1], {}, "")


def test_a_version_that_no_worker_would_take_is_not_tried(known):
    known.registry.champions.put_back(
        known.registry.champions.promote(1, actor="ada", reason="by hand"), actor="kedge", reason="refused"
    )

    assert archive_of(known)[:2] == ([2], {1: "put back by kedge: refused"})


@pytest.mark.parametrize("end", [STOPPED, ROLLED_BACK])
def test_a_version_whose_rollout_a_guard_ended_is_not_tried(known, end):
    rolled_out(known, 2, end, "its labelled answers are wrong more often")

    assert archive_of(known)[1] == {
        2: f"its rollout was {end.replace('_', ' ')}: its labelled answers are wrong more often"
    }


def test_a_version_that_was_only_overtaken_or_whose_probation_is_over_is_tried(known):
    rolled_out(known, 2, STOPPED, "overtaken by version 3, whose rollout began", overtaken=True)
    rolled_out(known, 1, STOPPED, "too slow")
    rolled_out(known, 1, DONE, "its probation is over")

    assert archive_of(known) == ([2, 1], {}, "")


@pytest.mark.parametrize(
    "words", ["overtaken by version 3, whose rollout began", "version 3 became champion meanwhile: ada, by hand"]
)
def test_that_a_version_was_overtaken_is_read_from_the_words_of_rollouts_before_that_was_written(known, words):
    rolled_out(known, 2, STOPPED, words)

    assert archive_of(known) == ([2, 1], {}, "")


def test_what_its_own_rollout_sent_back_is_named_among_those_left_out(known):
    known.registry.champions.promote(2, actor="kedge rollout", reason="retrain for harm")
    known.registry.champions.send_back(2, actor="kedge rollout", reason="wrong answers")

    assert archive_of(known)[:2] == ([1], {2: "rolled back by kedge rollout: wrong answers"})


def test_a_version_that_fits_is_left_alone_where_a_person_went_back_from_it_and_the_words_say_so(returned, tmp_path):
    returned.registry.champions.promote(1, actor="ada", reason="by hand")
    returned.registry.champions.rollback(actor="ada", reason="reads sevens as ones")
    champion = returned.registry.champion()
    snapshot = retrain_snapshot(returned, champion, CLASSES)

    found = recalled(returned, tmp_path / "run", snapshot, champion, "harm", Heard(), "job-1")

    assert (champion.version, found) == (2, None)
    row = returned.ledger.rows("decisions")[-1]
    assert row.facts["words"].endswith("not tried: 1: version 1 (rolled back by ada: reads sevens as ones).")
