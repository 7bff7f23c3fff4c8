"""The Bento: built and served without the network, and called by BentoML's own client."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
import yaml

from service import commands
from tests.service.cards import Place, answers, picture, wait_for

HOUSE = Path(__file__).resolve().parents[2]


def test_the_bento_installs_what_serving_needs():
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"]]

    listed = yaml.safe_load((HOUSE / "bentofile.yaml").read_text())["python"]["packages"]

    assert sorted(listed) == sorted(wanted)


@pytest.mark.slow
def test_a_bento_is_built_and_served_from_another_folder_without_the_network(place, tmp_path):
    place.champion()
    # No proxy leads anywhere: whoever asks the network fails.
    env = commands.environment(place.settings) | {"BENTOML_HOME": str(tmp_path / "bentos"), "no_proxy": "127.0.0.1"}
    env |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    for leftover in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        env.pop(leftover, None)
    # BentoML insists on finding `uv`, or installs it, although it needs it only to lock versions.
    unused = tmp_path / "bin" / "uv"
    unused.parent.mkdir()
    unused.write_text("#!/bin/sh\nexit 1\n")
    unused.chmod(0o755)
    env["PATH"] = f"{unused.parent}:{env['PATH']}"
    command = (sys.executable, "-m", "bentoml")
    subprocess.run([*command, "build", "--version", "one"], env=env, cwd=HOUSE, check=True, timeout=300)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # What is served must come from the Bento, not from where the house happens to be installed.
    del env["PYTHONPATH"]
    argv = (*command, "serve", "image_classifier:one", "--host", "127.0.0.1", "--port", str(place.settings.serve.port))
    place.start(commands.Child("bento", argv, env, elsewhere))
    wait_for(lambda: answers(f"{place.url}/readyz"), place.output, 120)

    answer = httpx.post(f"{place.url}/v1/predict", content=picture(), headers={"Content-Type": "image/jpeg"}).json()

    source = tmp_path / "bentos/bentos/image_classifier/one/src"
    inside = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    assert answer["label"] == "light"
    assert {"service/app.py", "infra/migrations/script.py.mako", "models/card.html"} <= set(inside)
    strays = (".", "tests/", "flows/", "data/", "build/")
    assert not [path for path in inside if path.startswith(strays) or "__pycache__" in path]


@pytest.fixture
def served(place: Place) -> Place:
    toml = place.settings.root / "kedge.toml"
    toml.write_text(toml.read_text() + 'token = "open sesame"\n')
    place.champion()
    place.serve()
    return place


# In a process of its own: BentoML warns of its own libraries while it is imported.
CLIENT = """
import json, sys
from pathlib import Path
import bentoml

def ask(url, token, image, **options):
    try:
        with bentoml.SyncHTTPClient(url, token=token) as client:
            return client.classify(image=Path(image), **options)
    except bentoml.exceptions.BentoMLException as error:
        return {"status": error.error_code, "told": str(error)}

url, good, bad = sys.argv[1:]
print(json.dumps([
    ask(url, "open sesame", good),
    ask(url, "open sesame", good, metadata={"camera": "A"}),
    ask(url, "open sesame", bad),
    ask(url, "guess", good),
]))
"""


@pytest.mark.slow
def test_bentos_own_client_gets_the_same_answers_and_leaves_the_same_record(served, tmp_path):
    image = tmp_path / "card.png"
    image.write_bytes(picture((5, 5, 5), kind="PNG"))

    argv = [sys.executable, "-W", "ignore", "-c", CLIENT, served.url, str(image), __file__]
    env = commands.environment(served.settings)
    told = subprocess.run(argv, env=env, cwd=tmp_path, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    plain, with_words, refused, kept_out = json.loads(told)

    first, second = sorted(served.spooled()[0], key=lambda prediction: prediction.at)
    assert (plain["label"], plain["model"]) == ("dark", "cards:1")
    assert set(plain) == {"id", "model", "label", "confidence", "probabilities"}
    assert (first.id, second.id) == (plain["id"], with_words["id"])
    assert (dict(first.metadata), dict(second.metadata)) == ({}, {"camera": "A"})
    assert (refused["status"], kept_out["status"]) == (422, 401)
    assert "not_an_image" in refused["told"]
    assert "wrong_token" in kept_out["told"]


@pytest.mark.slow
def test_of_the_shells_own_pages_only_its_schema_is_seen(served):
    token = {"Authorization": "Bearer open sesame"}
    schema = httpx.get(f"{served.url}/schema.json")
    others = {path: httpx.get(f"{served.url}{path}", headers=token) for path in ("/docs.json", "/static_content/x.js")}
    posted = httpx.post(f"{served.url}/schema.json", headers=token)
    stranger = httpx.post(f"{served.url}/classify", content=picture(), headers={"Content-Type": "image/jpeg"})

    assert [route["route"] for route in schema.json()["routes"]] == ["/classify"]
    assert {response.json()["error"]["code"] for response in others.values()} == {"not_found"}
    assert posted.json()["error"]["code"] == "not_found"
    assert stranger.status_code == 401
    assert "googletagmanager" not in httpx.get(served.url).text
