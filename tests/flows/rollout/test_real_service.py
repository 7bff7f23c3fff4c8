"""A rollout beside a real service, its real shipper and callers that never stop asking."""

import threading

import httpx
import pytest

from flows.rollout.begin import begin_rollout
from flows.rollout.following import follow
from flows.workplace import open_workplace
from models import rollout_runs
from models.spoiled import spoil
from service import commands
from tests.service.cards import new_place, picture, write_candidate

COLOURS = ((250, 250, 250), (10, 10, 10), (240, 10, 10))
STAGES = "[rollout]\nshadow_predictions = 40\ncanary_predictions = 40\ncanary_share = 0.5\nprobation_minutes = 0.05\n"
RANDOM = "[monitor]\nfeedback_is_random = true\n"


class Callers:
    """Ask in the background; some say at once what the answer should have been."""

    def __init__(self, url, label=None):
        self.url, self.label = url, label
        self.versions, self.problems = [], []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        self._thread.join()

    def _run(self):
        with httpx.Client(base_url=self.url, timeout=20, trust_env=False) as client:
            number = 0
            while not self._stop.wait(0.01):
                number += 1
                red, green, blue = COLOURS[number % 3]
                # No two pictures are the same: copies of one count once.
                image = picture((abs(red - number % 7), abs(green - number // 7 % 7), blue), 40 + number // 49, "PNG")
                try:
                    answer = client.post("/v1/predict", content=image)
                    answer.raise_for_status()
                    body = answer.json()
                    self.versions.append(body["model"])
                    if self.label is not None:
                        truth = ("light", "dark", "red")[number % 3]
                        client.post("/v1/feedback", json={"id": body["id"], "label": truth}).raise_for_status()
                except httpx.HTTPError as error:
                    self.problems.append(str(error))


@pytest.fixture
def place(tmp_path):
    """A project whose processes end with the test."""
    made = new_place(tmp_path)
    yield made
    for process in made.running:
        process.terminate()
    for process in made.running:
        process.wait(30)


@pytest.fixture
def served(place):
    """A champion served by two workers, with its shipper."""

    def start(rollout):
        path = place.settings.root / "kedge.toml"
        path.write_text(path.read_text() + rollout + RANDOM)
        place.champion()
        place.serve("uvicorn")
        place.start(commands.shipper(place.settings))
        return open_workplace(place.settings.root)

    return start


@pytest.mark.slow
def test_a_sound_candidate_reaches_everybody_and_no_caller_notices(place, served):
    workplace = served(STAGES)
    version = place.version(sharpness=6.0)

    with Callers(place.url) as callers:
        begin_rollout(workplace, version, job_id="job", reason="retrain for harm")
        seen = [run.stage for runs in follow(workplace, every_s=0.3) for run in runs]

    stages = list(dict.fromkeys(seen))
    assert stages == ["shadow", "canary", "probation", "done"]
    assert not callers.problems
    assert callers.versions[0] == "cards:1"
    assert callers.versions[-1] == "cards:2"
    (run,) = rollout_runs.runs(workplace.engine, "cards")
    assert run.words == "its probation is over: 0 labels, and nothing spoke against it"


@pytest.mark.slow
def test_a_bad_candidate_that_got_through_is_sent_back_by_its_labels(place, served):
    workplace = served("[rollout]\nshadow_predictions = 0\ncanary_predictions = 0\n")
    sound = write_candidate(place.base / "sound")
    spoiled = spoil(sound, place.base / "spoiled")

    with Callers(place.url, label="truth") as callers:
        while len(callers.versions) < 120 and not callers.problems:
            threading.Event().wait(0.1)
        version = place.registry.register(spoiled, reason="test", parent_version=1).version
        begun = begin_rollout(workplace, version, job_id="job", reason="retrain for harm")
        for _ in follow(workplace, every_s=0.3):
            pass
        threading.Event().wait(0.5)

    assert begun.promoted
    (run,) = rollout_runs.runs(workplace.engine, "cards")
    assert run.stage == "rolled_back"
    assert "cards:1 answers again, at 2 serving worker(s) after" in run.words
    assert not callers.problems
    assert callers.versions[-1] == "cards:1"
    assert workplace.registry.version(version).state == "disappointed"
