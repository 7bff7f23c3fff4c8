import hashlib
import threading

import pytest

from infra.database import open_database
from infra.errors import UserError
from infra.ledger import Ledger
from infra.objects import LocalObjects
from models.registry import Registry


@pytest.fixture
def registry(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/kedge.db")
    yield Registry(engine, LocalObjects(tmp_path / "objects"), "digits")
    engine.dispose()


@pytest.fixture
def candidate(tmp_path):
    """Makes a candidate folder whose files tell it from every other."""

    def make(name):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for file in ("model.onnx", "model.safetensors", "artifact.json"):
            (folder / file).write_text(f"{file} of {name}")
        return folder

    return make


@pytest.fixture
def register(registry, candidate):
    """Registers so many versions."""

    def several(count):
        first = len(registry.versions()) + 1
        return [
            registry.register(candidate(f"run {number}"), reason="test", parent_version=number - 1 or None)
            for number in range(first, first + count)
        ]

    return several


def promote(registry, *versions):
    for version in versions:
        registry.champions.promote(version, actor="ada", reason=f"promotes {version}")


def rollback(registry):
    return registry.champions.rollback(actor="ada", reason="it disappoints")


def states(registry):
    return {version.version: version.state for version in registry.versions()}


def test_a_new_registry_is_empty(registry):
    assert registry.versions() == ()
    assert registry.champion() is None
    assert registry.champions.current() is None
    assert registry.champions.history() == ()


def test_a_registered_candidate_is_the_next_version_and_not_yet_champion(registry, candidate):
    scorecard, gate = {"accuracy": 0.9}, {"outcome": "promote"}

    version = registry.register(
        candidate("a"), reason="first", parent_version=None, scorecard=scorecard, gate=gate, card_html="<p>card</p>"
    )

    assert (version.title, version.state, version.reason) == ("digits:1", "registered", "first")
    assert (version.scorecard, version.gate, version.parent_version) == (scorecard, gate, None)
    assert version.onnx_sha256 == hashlib.sha256(b"model.onnx of a").hexdigest()
    assert registry.objects.get(version.card_key) == b"<p>card</p>"
    assert registry.version(1) == version
    assert registry.champion() is None


def test_one_job_registers_one_version_however_often_it_is_begun(registry, candidate):
    other = registry.register(candidate("a"), reason="harm", parent_version=None, job_id="job-1")
    first = registry.register(candidate("b"), reason="harm", parent_version=1, job_id="job-2")

    again = registry.register(candidate("c"), reason="harm", parent_version=1, job_id="job-2")

    assert again == first
    assert [version.version for version in registry.versions()] == [other.version, first.version]
    assert registry.version_of_job("job-2") == first
    assert registry.version_of_job("job-3") is None
    assert registry.version_of_job("") is None
    assert Ledger(registry.engine).rows("models")[-1].facts["job"] == "job-2"


def test_two_processes_that_lost_track_of_each_other_register_one_version_for_their_job(registry, candidate):
    folders = [candidate(name) for name in "abcd"]
    made = []

    def register(folder):
        made.append(registry.register(folder, reason="harm", parent_version=None, job_id="job-1").version)

    threads = [threading.Thread(target=register, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 4
    assert len(set(made)) == 1
    assert len(registry.versions()) == 1


def test_pages_can_name_the_version_they_are_about(registry, candidate):
    version = registry.register(
        candidate("a"), reason="first", parent_version=None, card_html=lambda number: f"card of {number}",
        report_html=lambda number: f"report of {number}",
    )  # fmt: skip

    assert registry.objects.get(version.card_key) == b"card of 1"
    assert registry.objects.get("models/digits/1/report.html") == b"report of 1"


def test_every_artifact_lies_under_its_name_and_version(registry, register):
    register(2)

    assert list(registry.objects.list("models/")) == [
        f"models/digits/{version}/{file}"
        for version in (1, 2)
        for file in ("artifact.json", "model.onnx", "model.safetensors")
    ]


def test_two_that_register_at_once_get_different_versions_and_keep_their_own_bytes(registry, candidate, tmp_path):
    folders = [candidate(name) for name in "abcd"]
    together = threading.Barrier(len(folders))

    def register(folder):
        together.wait()
        registry.register(folder, reason=folder.name, parent_version=None)

    racers = [threading.Thread(target=register, args=(folder,)) for folder in folders]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert [version.version for version in registry.versions()] == [1, 2, 3, 4]
    for version in registry.versions():
        fetched = registry.fetch(version.version, tmp_path / "local", with_weights=True)
        assert (fetched / "model.safetensors").read_text() == f"model.safetensors of {version.reason}"


def test_a_candidate_that_lacks_a_file_leaves_no_version(registry, candidate):
    incomplete = candidate("a")
    (incomplete / "artifact.json").unlink()

    with pytest.raises(FileNotFoundError):
        registry.register(incomplete, reason="first", parent_version=None)

    assert registry.versions() == ()
    assert Ledger(registry.engine).rows("models") == ()


def test_an_unknown_version_is_named_with_those_that_exist(registry, register):
    with pytest.raises(UserError) as before:
        registry.version(1)
    register(3)
    with pytest.raises(UserError) as after:
        registry.champions.promote(7, actor="ada", reason="a slip of the finger")

    assert str(before.value) == "digits has no version 1; there are: none yet. `kedge models` lists them."
    assert str(after.value) == "digits has no version 7; there are: 1, 2, 3. `kedge models` lists them."
    assert registry.champions.history() == ()


def test_promotion_makes_one_champion_and_retires_the_one_before(registry, register):
    register(3)

    promote(registry, 1, 2)

    assert registry.champion().version == 2
    assert states(registry) == {1: "retired", 2: "champion", 3: "registered"}


def test_rollback_returns_to_the_version_before(registry, register):
    register(2)
    promote(registry, 1, 2)

    moved = rollback(registry)

    assert (moved.version, moved.previous_version) == (1, None)
    assert registry.champion().version == 1
    assert states(registry) == {1: "champion", 2: "retired"}


def test_a_second_rollback_goes_one_further_back_and_not_to_the_bad_version_again(registry, register):
    register(3)
    promote(registry, 1, 2, 3)

    assert [rollback(registry).version, rollback(registry).version] == [2, 1]
    with pytest.raises(UserError) as refusal:
        rollback(registry)

    assert str(refusal.value) == (
        "digits cannot go back: no version was champion before. "
        "`kedge models` lists the versions; `kedge promote N` chooses one."
    )
    assert registry.champion().version == 1


def test_what_is_promoted_after_a_rollback_returns_to_the_good_version(registry, register):
    register(3)
    promote(registry, 1, 2)
    rollback(registry)
    promote(registry, 3)

    assert rollback(registry).version == 1


def test_going_back_always_comes_to_an_end(registry, register):
    register(3)
    promote(registry, 1, 2, 1, 3, 2)

    for _ in registry.champions.history():
        try:
            rollback(registry)
        except UserError:
            break
    else:
        pytest.fail("rollback goes round in circles")

    assert registry.champion().version == 1


def test_promoting_the_champion_again_keeps_the_way_back(registry, register):
    register(2)
    promote(registry, 1, 2, 2)

    assert rollback(registry).version == 1


def test_the_history_has_every_change_in_order_without_a_gap(registry, register):
    register(3)
    promote(registry, 1, 2)
    rollback(registry)
    promote(registry, 3)

    history = registry.champions.history()

    assert [(each.sequence, each.version, each.previous_version) for each in history] == [
        (1, 1, None), (2, 2, 1), (3, 1, None), (4, 3, 1),
    ]  # fmt: skip
    assert [each.changed_at for each in history] == sorted(each.changed_at for each in history)
    assert (history[2].actor, history[2].reason) == ("ada", "it disappoints")


def test_every_deed_is_in_the_ledger(registry, register):
    register(2)
    promote(registry, 1, 2)
    rollback(registry)

    ledger = Ledger(registry.engine)

    told = [(row.kind, row.facts["version"], row.actor) for row in ledger.rows("models")]
    assert told == [
        ("registered", 1, "kedge"), ("registered", 2, "kedge"),
        ("promoted", 1, "ada"), ("promoted", 2, "ada"), ("rolled back", 1, "ada"),
    ]  # fmt: skip
    assert ledger.verify("models") is None


def test_two_models_in_one_database_do_not_meet(registry, candidate, register):
    register(2)
    promote(registry, 2)
    other = Registry(registry.engine, registry.objects, "birds")

    version = other.register(candidate("a bird"), reason="first", parent_version=None)

    assert version.title == "birds:1"
    assert other.champion() is None
    assert other.champions.history() == ()


def test_a_fetched_version_is_byte_for_byte_what_was_registered(registry, candidate, tmp_path):
    registry.register(candidate("a"), reason="first", parent_version=None)

    folder = registry.fetch(1, tmp_path / "local", with_weights=True)

    assert folder == tmp_path / "local" / "1"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        file: f"{file} of a" for file in ("model.onnx", "model.safetensors", "artifact.json")
    }


def test_a_corrupt_local_copy_is_repaired(registry, register, tmp_path):
    register(1)
    folder = registry.fetch(1, tmp_path / "local", with_weights=True)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-3])

    registry.fetch(1, tmp_path / "local", with_weights=True)

    assert {path.read_text() for path in folder.iterdir()} == {
        "model.onnx of run 1", "model.safetensors of run 1", "artifact.json of run 1",
    }  # fmt: skip


def test_a_corrupt_object_is_refused_and_not_left_for_anybody_to_load(registry, register, tmp_path):
    (version,) = register(1)
    registry.objects.put("models/digits/1/model.onnx", b"somebody else's bytes")

    with pytest.raises(UserError) as refusal:
        registry.fetch(1, tmp_path / "local", with_weights=True)

    assert str(refusal.value) == (
        f"digits:1 is corrupt: model.onnx is not the file that was registered (SHA-256 {version.onnx_sha256[:12]}… "
        "expected). Restore it, or `kedge rollback`."
    )
    assert not (tmp_path / "local" / "1" / "model.onnx").exists()


def test_a_missing_object_is_named_with_its_store(registry, register, tmp_path):
    register(1)
    registry.objects.delete("models/digits/1/model.safetensors")

    with pytest.raises(UserError) as refusal:
        registry.fetch(1, tmp_path / "local", with_weights=True)

    assert str(refusal.value) == (
        f"digits:1 lacks model.safetensors in {tmp_path / 'objects'}. "
        "Restore the object store, or `kedge rollback` to a version that is whole."
    )
