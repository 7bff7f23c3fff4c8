"""`kedge gate`, `kedge judge` and `kedge models compare`, run as a person runs them, on real models."""

import json
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.gating.awaited import awaited
from flows.gating.readings import STREAM
from flows.gating.second_reading import read_again
from flows.judging import judge
from flows.workplace import role_key
from infra import schema
from infra.clock import new_id, now
from infra.database import writing
from infra.errors import UserError
from models.examples import role_of
from models.gate_needs import needs_from_json
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key
from tests.flows.gating.opinions import TWO, card, cards, open_project, reader, registered

RED, GREEN = 0, 1


def manifest(folder, wrong: Sequence[float], images: int = 200) -> None:
    """A manifest with every role, whose judge images err as `wrong` says."""
    rows = ["image,label,split"]
    for number, one in enumerate(cards(folder / "images", images, wrong)):
        rows.append(
            f"images/{one.image.name},{one.label},{'train' if number < 20 else 'select' if number < 40 else 'judge'}"
        )
    (folder / "manifest.csv").write_text("\n".join(rows))


@pytest.fixture
def place(tmp_path, monkeypatch):
    place = open_project(tmp_path / "project", '[data]\nmanifest = "manifest.csv"\nnear_duplicate_distance = 0\n')
    manifest(tmp_path / "project", wrong=(0.05, 0.05, 0.0))
    monkeypatch.chdir(tmp_path / "project")
    return place


def candidate_of(place, tmp_path, channel: int = GREEN, reason: str = "manual"):
    """A champion that reads red, and a judged, undecided candidate."""
    from flows.collecting.collect import retrain_snapshot

    champion = registered(place, reader(tmp_path / "a", RED))
    folder = reader(tmp_path / "b", channel)
    judged = judge(place, folder, retrain_snapshot(place, champion, TWO), champion, reason)
    version = place.registry.register(
        folder, reason=reason, parent_version=champion.version, scorecard=judged.scorecard.to_json(),
        gate=json.loads(json.dumps(judged.decision.to_json())), state="waiting",
    )  # fmt: skip
    return champion, version


def labelled(
    place, count: int, wrong: int = 0, scope: str = "recent", channel: int = RED, *, stratum: str | None = "gate"
) -> None:
    """
    Predictions that people labelled, because the gate asked or another did, or nobody (None): pictures to judge by.

    In some a channel is `wrong`.
    """
    key, made, number = role_key(place.engine), [], 0
    while len(made) < count:
        number += 1
        truth = TWO[number % 2]
        opinions = [truth] * 3
        opinions[channel] = TWO[1 - number % 2] if len(made) < wrong else truth
        data = card(opinions, 500_000 + number)
        content = sha256(data).hexdigest()
        if role_of(content, key) != "judge":
            continue
        place.objects.put(image_key(content), data)
        at = now() - timedelta(minutes=10)
        made.append((Prediction(
            id=new_id(at), at=at, model_version=1, label=opinions[RED], confidence=0.9, probabilities=(0.5, 0.5),
            embedding=None, statistics=(), image_sha256=content, image_width=8, image_height=8, image_format="png",
            image_bytes=len(data), image_kept=True, metadata={},
        ), truth))  # fmt: skip
    place.log.append_predictions("p", 1, list(enumerate(one for one, _ in made)))
    labels = [Label(one.id, truth, now(), "ann", sequence=row) for row, (one, truth) in enumerate(made)]
    place.log.append_labels("l", 1, list(enumerate(labels)))
    if stratum is None:
        return
    facts = {"gate": {"version": 2, "group": "overall", "scope": scope}} if stratum == "gate" else None
    with writing(place.engine) as connection:
        for one, truth in made:
            connection.execute(schema.label_requests.insert().values(
                name="cards", prediction_id=one.id, predicted_at=one.at, asked_at=one.at, model_version=1,
                stratum=stratum, probability=0.5, uniform_probability=0.1, in_audit=stratum == "audit",
                policy="poisson-1", state="answered", label=truth, answered_at=now(), image_sha256=one.image_sha256,
                facts=facts,
            ))  # fmt: skip


def kedge(*words: str):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_a_decision_is_shown_with_its_checks_and_what_it_waits_for(place, tmp_path):
    candidate_of(place, tmp_path)

    shown = kedge("gate", "2")
    told = json.loads(kedge("gate", "2", "--json").stdout)

    assert "Undecided: too few labelled images to know" in shown.stdout
    assert "labels of any image, old have come" in shown.stdout
    assert "●" in shown.stdout
    assert told["outcome"] == "undecided"
    assert told["waits_for"][0]["come"] == 0


def test_a_decision_can_be_drawn(place, tmp_path):
    candidate_of(place, tmp_path)

    kedge("gate", "2", "--picture", str(tmp_path / "gate.svg"))

    assert "margin: what must be ruled out" in (tmp_path / "gate.svg").read_text()


def test_a_version_that_was_never_judged_says_so(place, tmp_path):
    registered(place, reader(tmp_path / "a", RED))

    with pytest.raises(UserError, match=r"cards:1 was never judged.*`kedge models compare 1 N`"):
        kedge("gate", "1")
    with pytest.raises(UserError, match=r"cards:1 was not judged again: it was registered without the gate"):
        kedge("judge", "1")


def test_while_labels_are_missing_a_second_reading_is_not_spent(place, tmp_path):
    candidate_of(place, tmp_path)

    with pytest.raises(UserError, match=r"was not judged again: 0 of .* labels of any image, old have come"):
        read_again(place, 2, anyway=False, actor="ada")

    assert len(place.ledger.rows(STREAM)) == 1


def test_when_the_labels_have_come_the_second_reading_decides_and_there_is_no_third(place, tmp_path):
    _, version = candidate_of(place, tmp_path)
    most = max(one.labels for one in needs_from_json(version.gate))
    # In the world that the champion was made for, and enough of them; the candidate is right in all.
    labelled(place, most + 60, wrong=most // 8, scope="old")

    waits = awaited(place, version)
    done = read_again(place, 2, anyway=False, actor="ada")

    assert all(one.enough for one in waits if one.need.group == "overall")
    assert done.decision.outcome == "promote"
    assert place.registry.version(2).state == "registered"
    row = place.ledger.rows("decisions")[-1]
    assert (row.kind, row.actor, row.facts["reading"]) == ("gate", "ada", 2)
    with pytest.raises(UserError, match=r"was not judged again: the gate has decided, promote; expected an undecided"):
        read_again(place, 2, anyway=True, actor="ada")


def test_anyway_uses_up_the_last_reading(place, tmp_path):
    candidate_of(place, tmp_path)
    labelled(place, 5, scope="old")

    again = kedge("judge", "2", "--anyway")

    assert "Undecided" in again.stdout
    assert place.registry.version(2).state == "refused"
    with pytest.raises(UserError, match="has no reading of the judge images left"):
        read_again(place, 2, anyway=True, actor="ada")


def test_a_candidate_of_a_champion_that_is_gone_is_not_judged_again(place, tmp_path):
    candidate_of(place, tmp_path)
    registered(place, reader(tmp_path / "c", RED, mark=0.5))

    with pytest.raises(UserError, match="compared with version 1 as champion, and that is cards:3 now"):
        read_again(place, 2, anyway=True, actor="ada")


def test_a_version_is_not_compared_with_itself_and_no_judge_image_wears(place, tmp_path):
    registered(place, reader(tmp_path / "a", RED))

    with pytest.raises(UserError, match="cards:1 was not compared with itself: expected two versions"):
        kedge("models", "compare", "1", "1")

    assert place.ledger.rows(STREAM) == ()


def test_two_versions_are_compared_and_it_counts_as_a_reading(place, tmp_path):
    candidate_of(place, tmp_path)

    shown = kedge("models", "compare", "2", "1")
    told = json.loads(kedge("models", "compare", "2", "1", "--json").stdout)

    assert "it decides nothing" in shown.stdout
    assert told["images_old"] == 160
    assert (told["first"]["version"], told["second"]["version"]) == (2, 1)
    assert told["readings"] == 3
    assert [row.kind for row in place.ledger.rows(STREAM)] == ["reading", "comparison", "comparison"]
    assert place.registry.version(2).state == "waiting"
