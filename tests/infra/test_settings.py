import dataclasses
import tomllib
from pathlib import Path

import pytest

from infra.database import open_database
from infra.errors import UserError
from infra.objects import open_objects
from infra.settings import SECTIONS, default_toml, load

STRATEGIES = "auto, head, staged, full, layerwise, surgical, scratch"


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "kedge.toml").write_text(text)
        return tmp_path

    return write


def mistakes_of(root, environ=None):
    with pytest.raises(UserError) as refusal:
        load(root, environ or {})
    first, *rest = str(refusal.value).splitlines()
    assert first == f"The settings in {root / 'kedge.toml'} cannot be used:"
    return [line.strip() for line in rest]


def test_without_a_file_everything_has_its_default(tmp_path):
    settings = load(tmp_path, {})

    assert settings.project.name == "classifier"
    assert settings.serve.port == 3000
    assert settings.monitor.false_alarms_per_quarter == 1.0


def test_what_init_writes_is_read_back_as_the_defaults(write, tmp_path):
    defaults = load(tmp_path, {})

    write(default_toml())

    assert load(tmp_path, {}) == defaults


def test_what_init_writes_names_every_setting_with_a_comment():
    written = tomllib.loads(default_toml())
    lines = [line for line in default_toml().splitlines() if " = " in line and not line.startswith("#")]

    assert {name: set(section) for name, section in written.items()} == {
        name: {field.name for field in dataclasses.fields(record)} for name, record in SECTIONS.items()
    }
    assert [line for line in lines if "  # " not in line] == []


def test_a_value_from_the_file_counts_and_one_from_the_environment_counts_more(write):
    root = write("[serve]\nport = 8000\nworkers = 2\n")

    settings = load(root, {"KEDGE_SERVE__PORT": "9000", "PATH": "/bin", "KEDGE_ROOT": "/project"})

    assert (settings.serve.port, settings.serve.workers) == (9000, 2)


@pytest.mark.parametrize(
    ("variable", "text", "section", "field", "value"),
    [
        ("KEDGE_PROJECT__NAME", "123", "project", "name", "123"),
        ("KEDGE_SERVE__KEEP_IMAGES", "false", "serve", "keep_images", False),
        ("KEDGE_MONITOR__EVERY_S", "8", "monitor", "every_s", 8.0),
        ("KEDGE_DATA__SUBGROUPS", "camera, site", "data", "subgroups", ("camera", "site")),
        ("KEDGE_DATA__SUBGROUPS", "2026,true", "data", "subgroups", ("2026", "true")),
        ("KEDGE_DATA__SUBGROUPS", '["camera"]', "data", "subgroups", ("camera",)),
        ("KEDGE_DATA__SUBGROUPS", "", "data", "subgroups", ()),
        ("KEDGE_MODEL__MEAN", "0.5,0.5,1", "model", "mean", (0.5, 0.5, 1.0)),
        ("KEDGE_MODEL__OPTIONS", '{pad_type = "same"}', "model", "options", {"pad_type": "same"}),
    ],
)
def test_a_variable_is_read_as_a_shell_writes_it(tmp_path, variable, text, section, field, value):
    settings = load(tmp_path, {variable: text})

    assert getattr(getattr(settings, section), field) == value


def test_paths_are_told_from_the_folder_of_the_file_not_from_where_one_stands(write):
    root = write('[storage]\nhome = "state"\nobjects = "bytes"\n[data]\nmanifest = "images/list.csv"\n')

    settings = load(root, {})

    assert settings.storage.home == root / "state"
    assert settings.storage.database == f"sqlite:///{root}/state/kedge.db"
    assert settings.storage.objects == f"file://{root}/bytes"
    assert settings.data.manifest == root / "images" / "list.csv"


def test_a_detector_in_a_file_is_found_beside_the_settings_and_one_in_a_package_by_its_name(write):
    root = write('[monitor]\ndetectors = ["own/light.py:too_dark", "acme.drift:too_dark", "nothing.py"]\n')

    found = load(root, {}).monitor.detectors

    assert found == (f"{root / 'own' / 'light.py'}:too_dark", "acme.drift:too_dark", "nothing.py")


def test_a_team_names_its_own_database_and_bucket(write):
    root = write('[storage]\ndatabase = "postgresql+psycopg://kedge@db/kedge"\nobjects = "s3://team/kedge"\n')

    storage = load(root, {}).storage

    assert storage.database == "postgresql+psycopg://kedge@db/kedge"
    assert storage.objects == "s3://team/kedge"


def test_a_project_in_a_folder_with_a_difficult_name_works(tmp_path):
    root = tmp_path / "100 % of Müller's #1"
    root.mkdir()

    storage = load(root, {}).storage
    open_database(storage.database).dispose()
    open_objects(storage).put("a/b", b"c")

    assert (root / ".kedge" / "kedge.db").exists()
    assert (root / ".kedge" / "objects" / "a" / "b").read_bytes() == b"c"


def test_an_unknown_key_is_refused_with_the_nearest_known_one(write):
    root = write("[serve]\nprot = 8000\n")

    assert mistakes_of(root) == ["serve.prot is not a setting; did you mean port?"]


def test_an_unknown_key_that_looks_like_nothing_gets_no_guess(write):
    root = write("[serve]\nzzz = 1\n")

    assert mistakes_of(root) == ["serve.zzz is not a setting"]


def test_all_mistakes_are_named_at_once_whether_from_the_file_or_the_environment(write):
    root = write("""
        zzz = "red"
        trigger = 5
        [sreve]
        [train]
        strategy = "stagd"
        budget_minutes = "long"
        seed = true
        [serve]
        port = 0
        host = 7
        [gate]
        min_recall = 95
        [data]
        subgroups = "camera"
        [model]
        mean = [0.5, "half", 0.5]
    """)
    environ = {
        "KEDGE_SERVE__WORKERS": "many",
        "KEDGE_SERVE__WOKERS": "2",
        "KEDGE_SERVE_PORT": "8000",
        "KEDGE_WATCH__EVERY_S": "8",
        "KEDGE_MONITOR__EVERY_S": "nan",
    }

    assert sorted(mistakes_of(root, environ)) == sorted([
        "[zzz] is not a section",
        "trigger should be a section, [trigger]; found 5",
        "[sreve] is not a section; did you mean serve?",
        "KEDGE_SERVE_PORT is not a setting; did you mean KEDGE_SERVE__PORT?",
        "KEDGE_WATCH__EVERY_S: 'watch' is not a section",
        f"train.strategy should be one of {STRATEGIES}; found 'stagd'; did you mean staged?",
        "train.budget_minutes should be a number; found 'long'",
        "train.seed should be a whole number; found True",
        "serve.port should be at least 1; found 0",
        "serve.host should be a text; found 7",
        "KEDGE_SERVE__WORKERS: serve.workers should be a whole number; found 'many'",
        "KEDGE_SERVE__WOKERS: serve.wokers is not a setting; did you mean workers?",
        "KEDGE_MONITOR__EVERY_S: monitor.every_s should be at least 1; found nan",
        "gate.min_recall should be at most 1; found 95",
        "data.subgroups should be a list; found 'camera'",
        "model.mean should be a list of numbers; found [0.5, 'half', 0.5]",
    ])  # fmt: skip


def test_a_file_that_is_not_toml_is_named_with_the_place(write):
    root = write("[serve\nport = 1\n")

    with pytest.raises(UserError) as refusal:
        load(root, {})

    assert str(refusal.value) == (
        f"{root / 'kedge.toml'} is not valid TOML: Expected ']' at the end of a table declaration "
        "(at line 1, column 7). Mend that place; `kedge init FOLDER` writes a valid file to compare."
    )


def test_settings_cannot_be_changed_under_way(tmp_path):
    settings = load(tmp_path, {})

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.serve.port = 1
    assert isinstance(settings.root, Path)
