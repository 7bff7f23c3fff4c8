"""Volunteered labels train, but neither forecasts nor regime memory nor the proof of a gain rest on them."""

from dataclasses import replace

import pytest

from flows.collecting.by_chance import drawn_by_chance
from flows.collecting.collect import retrain_snapshot
from infra import schema
from infra.clock import now
from infra.database import writing
from monitoring.labelling.requests import GATE
from tests.flows.card_project import KNOWS, labelled_traffic, project, promoted
from tests.service.cards import CLASSES


@pytest.fixture
def place(tmp_path):
    """Labels have come, and nobody says that feedback is random."""
    made = project(tmp_path, each=12)
    promoted(made, KNOWS)
    labelled_traffic(made, 60)
    monitor = replace(made.settings.monitor, feedback_is_random=False)
    return replace(made, settings=replace(made.settings, monitor=monitor))


def asked(place, example, stratum, *, in_audit=False, group=""):
    """A label that was asked for, and why."""
    row = {
        "name": place.settings.project.name, "prediction_id": str(example.image)[-12:], "predicted_at": now(),
        "asked_at": now(), "model_version": 1, "stratum": stratum, "probability": 0.1, "uniform_probability": 0.1,
        "in_audit": in_audit, "policy": "test", "state": "answered",
        "image_sha256": str(example.image).rpartition("/")[2], "facts": {"gate": {"group": group}} if group else {},
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.label_requests.insert().values(**row))


def test_only_labels_that_were_drawn_without_regard_to_an_answer_are_a_fair_sample(place):
    fresh = [
        one for one in retrain_snapshot(place, place.registry.champion(), CLASSES).train if one.source == "production"
    ]
    audited, for_the_gate, for_a_class, uncertain, volunteered = fresh[:5]
    asked(place, audited, "audit", in_audit=True)
    asked(place, for_the_gate, GATE, group="overall")
    asked(place, for_a_class, GATE, group="class=red")
    asked(place, uncertain, "uncertain")

    found = drawn_by_chance(place, [audited, for_the_gate, for_a_class, uncertain, volunteered])

    assert found == (audited, for_the_gate)


def test_where_the_settings_say_that_feedback_is_random_all_of_it_is(place):
    monitor = replace(place.settings.monitor, feedback_is_random=True)
    random = replace(place, settings=replace(place.settings, monitor=monitor))
    fresh = retrain_snapshot(place, place.registry.champion(), CLASSES).select_recent

    assert fresh
    assert drawn_by_chance(place, fresh) == ()
    assert drawn_by_chance(random, fresh) == fresh
