"""A canary answers a share of the callers, a shadow answers nobody; the champion is safe from both."""

import json
import logging
import time

import numpy as np
import onnx
import pytest
from starlette.testclient import TestClient

from infra.clock import new_id, now
from infra.files import sha256_of
from infra.ledger import Ledger
from models import rollouts
from models.rollouts import CANARY, SHADOW
from models.runtime import Runtime
from service.http import create_app
from service.lineup import LoadedModel
from service.records import decode_shadow
from service.rollout import is_chosen
from service.segments import OPEN, SEALED, frames_of
from service.segments import SHADOW as SHADOW_FRAME
from tests.service.cards import Place, picture, wait_for, write_candidate

JPEG = {"Content-Type": "image/jpeg"}
LIGHT = picture((250, 250, 250))


def try_out(place: Place, alias: str, version: int, share: float = 1.0) -> None:
    rollouts.start(place.registry.engine, "cards", alias, version, share=share, actor="test", reason="test")


def stop(place: Place, alias: str) -> None:
    rollouts.end(place.registry.engine, "cards", alias, actor="test", reason="test")


def shadows(place: Place):
    paths = [*place.spool.glob(f"*/*{SEALED}"), *place.spool.glob(f"*/*{OPEN}")]
    return [decode_shadow(f.payload) for path in paths for f in frames_of(path) if f.kind == SHADOW_FRAME]


@pytest.fixture
def client(place):
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client


def on_trial(client, alias):
    return client.get("/v1/model").json()[alias]


def ask(client, image=LIGHT, **fields):
    return client.post("/v1/predict", content=image, headers=JPEG, params=fields).json()


def test_a_canary_answers_its_share_of_the_ids_and_the_same_id_always_alike(place, client):
    try_out(place, CANARY, place.version(sharpness=4.0), 0.25)
    wait_for(lambda: on_trial(client, "canary"))

    ids = [new_id() for _ in range(400)]
    first = {identifier: ask(client, id=identifier)["model"] for identifier in ids}
    again = {identifier: ask(client, id=identifier)["model"] for identifier in ids[:50]}

    tried = sum(model == "cards:2" for model in first.values())
    assert set(first.values()) == {"cards:1", "cards:2"}
    assert 60 <= tried <= 140  # 100 ± 4.6 deviations of a binomial of 400 at 0.25
    assert all(first[identifier] == model for identifier, model in again.items())
    versions = {row.id: row.model_version for row in place.spooled()[0]}
    assert {identifier: f"cards:{version}" for identifier, version in versions.items()} == first


def test_a_share_that_grows_keeps_those_it_had_and_another_version_draws_anew():
    ids = [new_id() for _ in range(1000)]

    def chosen(version, share):
        trial = LoadedModel("cards", version, now(), None, share)  # type: ignore[arg-type]
        return {identifier for identifier in ids if is_chosen(identifier, trial)}

    assert chosen(2, 0.1) < chosen(2, 0.3) < chosen(2, 1.0) == set(ids)
    assert not chosen(3, 0.1) <= chosen(2, 0.3)


def test_one_request_may_be_answered_by_both_and_every_image_gets_its_own_answer(place, client):
    try_out(place, CANARY, place.version(sharpness=4.0), 0.5)
    wait_for(lambda: on_trial(client, "canary"))
    colours = [((250, 250, 250), "light"), ((5, 5, 5), "dark"), ((250, 5, 5), "red")] * 10
    parts = [("image", (f"{place}.jpg", picture(colour), "image/jpeg")) for place, (colour, _) in enumerate(colours)]
    parts.insert(7, ("image", ("bad.jpg", b"no image", "image/jpeg")))

    answers = client.post("/v1/predict", files=parts).json()["predictions"]

    bad = answers.pop(7)
    assert bad["error"]["code"] == "not_an_image"
    assert [answer["label"] for answer in answers] == [label for _, label in colours]
    assert {answer["model"] for answer in answers} == {"cards:1", "cards:2"}


def test_a_shadow_answers_what_was_answered_and_its_agreement_is_recorded(place, client):
    # A negative sharpness turns every answer round.
    try_out(place, SHADOW, place.version(sharpness=-8.0))
    wait_for(lambda: on_trial(client, "shadow"))

    answer = ask(client, camera="A")
    wait_for(lambda: shadows(place))

    (record,) = shadows(place)
    assert (answer["model"], answer["label"]) == ("cards:1", "light")
    assert (record.id, record.champion_version, record.champion_label) == (answer["id"], 1, "light")
    assert (record.version, record.label != "light", record.metadata) == (2, True, {"camera": "A"})
    assert record.forward_ms > 0
    assert record.champion_forward_ms is not None
    page = client.get("/metrics").text
    assert 'kedge_shadow_predictions_total{outcome="differed"} 1.0' in page
    assert 'kedge_forward_duration_seconds_count{model="shadow"} 1.0' in page


def test_a_shadow_that_is_too_slow_skips_and_counts_and_no_caller_waits(place, monkeypatch):
    place.champion()
    try_out(place, SHADOW, place.version(sharpness=4.0))
    import threading

    gate = threading.Event()
    run = Runtime.run
    monkeypatch.setattr(
        Runtime, "run", lambda self, batch: gate.wait(20) and run(self, batch) if by_shadow() else run(self, batch)
    )

    def by_shadow():
        return threading.current_thread().name == "shadow"

    from dataclasses import replace

    settings = replace(place.settings, serve=replace(place.settings.serve, shadow_queue_images=2))
    with TestClient(create_app(settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200 and on_trial(client, "shadow"))
        answered = [ask(client)["label"] for _ in range(40)]
        skipped = client.get("/metrics").text
        gate.set()
        wait_for(lambda: shadows(place))

    assert answered == ["light"] * 40
    count = float(skipped.split('kedge_shadow_predictions_total{outcome="skipped"} ')[1].split("\n")[0])
    assert 40 - 2 - 16 <= count < 40


def test_a_canary_that_fails_is_answered_by_the_champion(place, client, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    try_out(place, CANARY, place.version(sharpness=4.0))
    wait_for(lambda: on_trial(client, "canary"))
    run = Runtime.run

    def broken(self, batch):
        if self.artifact.onnx_sha256 != place.registry.version(1).onnx_sha256:
            raise RuntimeError("out of memory")
        return run(self, batch)

    monkeypatch.setattr(Runtime, "run", broken)

    answer = ask(client)

    assert (answer["model"], answer["label"]) == ("cards:1", "light")
    assert 'kedge_canary_predictions_total{outcome="failed"} 1.0' in client.get("/metrics").text


def test_a_trial_that_cannot_be_loaded_is_refused_in_words_and_the_champion_goes_on(place, client):
    bad = place.version(sharpness=2.0)
    (place.settings.storage.home / "objects" / f"models/cards/{bad}/model.onnx").write_bytes(b"damaged")
    try_out(place, CANARY, bad)
    wait_for(lambda: client.get("/v1/model").json()["trial_error"])
    told = client.get("/v1/model").json()

    stop(place, CANARY)
    wait_for(lambda: client.get("/v1/model").json()["trial_error"] is None)

    assert "version 2 was refused" in told["trial_error"]
    assert (told["canary"], told["error"], told["version"]) == (None, None, 1)
    assert ask(client)["model"] == "cards:1"
    rows = Ledger(place.registry.engine).rows("serving")
    assert [(row.kind, row.facts["alias"], row.facts["version"]) for row in rows] == [("refused", "canary", 2)]


def test_a_trial_with_other_classes_is_refused(place, client):
    folder = write_candidate(place.base / "other")
    record = json.loads((folder / "artifact.json").read_text())
    record["classes"] = ["dark", "light", "blue"]
    (folder / "artifact.json").write_text(json.dumps(record))
    version = place.registry.register(folder, reason="test", parent_version=None).version
    try_out(place, SHADOW, version)

    wait_for(lambda: client.get("/v1/model").json()["trial_error"])
    time.sleep(2.5)  # it tries again after one second, and after two more

    assert "its classes are not those of the champion" in client.get("/v1/model").json()["trial_error"]
    assert [row.kind for row in Ledger(place.registry.engine).rows("serving")] == ["refused"]


def register_wider(place: Place) -> int:
    """A version that knows one class more: 'blue', the twin of 'dark'."""
    folder = write_candidate(place.base / "wider", sharpness=4.0)
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        node.output[:] = ["three" if name == "logits" else name for name in node.output]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1, 2, 0]), "order"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["three", "order"], ["logits"], axis=1))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(model, folder / "model.onnx")
    record = json.loads((folder / "artifact.json").read_text())
    record |= {"classes": [*record["classes"], "blue"], "onnx_sha256": sha256_of(folder / "model.onnx"), "golden": None}
    (folder / "artifact.json").write_text(json.dumps(record))
    return place.registry.register(folder, reason="test", parent_version=None).version


def test_a_version_that_knows_a_class_more_may_be_shadow_but_answers_no_caller_yet(place, client):
    version = register_wider(place)

    try_out(place, SHADOW, version)
    wait_for(lambda: on_trial(client, "shadow"))
    ask(client)
    wait_for(lambda: shadows(place))
    try_out(place, CANARY, version)
    wait_for(lambda: client.get("/v1/model").json()["trial_error"])

    assert [(one.version, one.label) for one in shadows(place)] == [(version, "light")]
    assert "its classes are not those of the champion" in client.get("/v1/model").json()["trial_error"]
    assert ask(client)["model"] == "cards:1"


def test_a_trial_ends_and_everything_is_the_champions_again(place, client):
    try_out(place, CANARY, place.version(sharpness=4.0))
    wait_for(lambda: on_trial(client, "canary"))
    before = ask(client)["model"]

    stop(place, CANARY)
    wait_for(lambda: on_trial(client, "canary") is None)

    assert (before, ask(client)["model"]) == ("cards:2", "cards:1")
