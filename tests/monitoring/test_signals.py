import io
import json
from dataclasses import replace

import numpy as np
import pytest

from monitoring.evidence_records import CHANNELS
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import atypical, drift_report
from monitoring.watching.batch import batch_of
from tests.monitoring.birds import BIRDS, EMBEDDING, Birds, bird_profile


def batch(rows):
    return batch_of(rows, len(BIRDS), EMBEDDING)


def test_about_one_in_a_hundred_ordinary_predictions_is_atypical(reference):
    shares = drift_report(reference, batch(Birds(seed=7).traffic(3_000)[0])).atypical

    assert set(shares) == set(CHANNELS)
    assert all(share < 0.04 for share in shares.values())


def test_strange_pictures_are_atypical_in_every_channel_that_sees_them(reference):
    report = drift_report(reference, batch(Birds(seed=8).traffic(200, camera="C", strange=True)[0]))

    assert report.atypical["image statistics"] > 0.95
    assert report.atypical["embedding"] > 0.95
    assert report.atypical["metadata"] == 1.0
    assert report.new_values == {"camera": {"C": 200}}
    effects = {signal.name: signal.effect for signal in report.signals}
    assert effects["brightness"] > 0.9
    assert effects["aspect"] == 0.0


def test_a_source_that_sends_no_metadata_is_not_a_new_one(reference):
    rows = [replace(row, metadata={}) for row in Birds().traffic(50)[0]]

    assert atypical(reference, batch(rows))["metadata"].sum() == 0


def test_a_camera_that_has_gone_is_named_once_chance_cannot_explain_it(reference):
    said = [drift_report(reference, batch(Birds().traffic(count, camera="A")[0])).notes for count in (8, 100)]

    assert said == [(), ("camera B does not occur: 0 of 100, 50% of the reference.",)]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_empty_and_tiny_batches_have_a_report(reference, count):
    report = drift_report(reference, batch(Birds().traffic(count)[0]))

    assert report.signals == ()
    assert len(report.atypical) == (4 if count else 0)


def test_a_profile_made_before_a_statistic_was_added_lacks_it_and_nothing_is_atypical_for_it(reference):
    data = dict(np.load(io.BytesIO(reference.to_bytes())))
    facts = json.loads(data["facts"].tobytes())
    del facts["statistics"]
    data["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    data |= {name: data[name][..., :7] for name in ("statistics", "median", "scale")}
    buffer = io.BytesIO()
    np.savez(buffer, **data)
    rows = [replace(row, statistics=(*row.statistics, -0.9, 17.0)) for row in Birds(seed=7).traffic(200)[0]]

    older = ReferenceProfile.from_bytes(buffer.getvalue())

    assert np.isnan(older.batch.statistics[:, 7:]).all()
    assert drift_report(older, batch(rows)).atypical["image statistics"] < 0.04
    assert "warmth" not in {signal.name for signal in drift_report(older, batch(rows)).signals}


def test_a_row_written_before_a_statistic_was_added_keeps_the_others(reference):
    rows = Birds(seed=7).traffic(3)[0]
    rows = [replace(rows[0], statistics=rows[0].statistics[:7]), rows[1], replace(rows[2], statistics=(0.5, 0.5))]

    found = batch(rows).statistics

    assert found[0, :7] == pytest.approx(rows[0].statistics)
    assert np.isnan(found[0, 7:]).all()
    assert np.isnan(found[2]).all()


def test_a_profile_comes_back_from_its_bytes_as_it_was(reference):
    again = ReferenceProfile.from_bytes(reference.to_bytes())

    assert again.limits == reference.limits
    assert again.columns == reference.columns
    assert again.judged_errors == reference.judged_errors
    rows = batch(Birds(seed=9).traffic(100)[0])
    assert drift_report(again, rows).atypical == drift_report(reference, rows).atypical


def test_columns_are_told_apart_by_their_values():
    world = Birds(seed=3)
    pictures, truths = world.traffic(300)
    rows = [
        replace(row, metadata={"camera": "A", "file": f"img-{place}.png", "exposure": str(place % 90 / 7),
                               "count": str(place)})
        for place, row in enumerate(pictures)
    ]  # fmt: skip
    from monitoring.reference.fit import fit

    profile = fit(batch(rows), truths, version=1, classes=BIRDS, rounds=1, judged_errors={})

    kinds = {name: column.kind for name, column in profile.columns.items()}
    assert kinds == {"camera": "category", "file": "identifier", "exposure": "number", "count": "identifier"}
    assert profile.columns["exposure"].is_new("400")
    assert not profile.columns["exposure"].is_new("3.3")
    assert not profile.columns["file"].is_new("never-seen.png")


def test_a_profile_of_one_camera_does_not_know_the_other():
    assert bird_profile(cameras="A").columns["camera"].is_new("B")
