"""`kedge predict`, `feedback` and `labels list` beside a real service: what a person and a script read."""

import json
from functools import partial

import pytest

from flows.asking import Address, address
from infra import tokens
from tests.service.cards import new_place, picture
from tests.service.served_cards import served_cards, ship

LIGHT, DARK, RED = picture((250, 250, 250)), picture((5, 5, 5)), picture((250, 0, 0))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with served_cards(tmp_path_factory.mktemp("served")) as place:
        yield place


@pytest.fixture
def kedge(served, kedge, monkeypatch):
    """The command in the served project's folder, on a terminal of usual width."""
    monkeypatch.chdir(served.settings.root)
    monkeypatch.delenv("KEDGE_TOKEN", raising=False)
    return partial(kedge, width=100)


@pytest.fixture
def photos(served, tmp_path):
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name, image in (("b-light.jpg", LIGHT), ("a-dark.JPG", DARK), ("inner/red.jpeg", RED), ("notes.txt", b"hi")):
        (folder / name).write_bytes(image)
    return folder


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def answered(served, identifier):
    return next(row for row in served.spooled()[0] if row.id == identifier)


def test_a_folders_images_are_answered_sorted_with_ids_and_a_hint(kedge, photos):
    code, out, err = kedge("predict", str(photos), width=240)

    assert (code, err) == (0, "")
    assert "3 images, answered by cards:1" in out
    places = [out.index(name) for name in ("a-dark.JPG", "b-light.jpg", "red.jpeg")]
    assert places == sorted(places)
    assert "notes.txt" not in out
    assert "`kedge feedback ID LABEL`" in out


def test_a_scripts_answers_are_one_object_a_line(kedge, photos):
    code, out, _ = kedge("predict", str(photos), "--json")

    rows = lines(out)
    assert code == 0
    names = ("a-dark.JPG", "b-light.jpg", "inner/red.jpeg")
    assert [row["file"] for row in rows] == [str(photos / name) for name in names]
    assert [row["label"] for row in rows] == ["dark", "light", "red"]
    assert set(rows[0]) == {"file", "id", "model", "label", "confidence", "probabilities"}


def test_metadata_and_an_id_of_ones_own_reach_the_log(kedge, served, photos):
    one = str(photos / "a-dark.JPG")

    code, _, err = kedge("predict", one, "--meta", "camera=hall-1", "--meta", "lens=a=b", "--id", "mine", "--json")

    assert (code, err) == (0, "")
    assert answered(served, "mine").metadata == {"camera": "hall-1", "lens": "a=b"}


def test_an_image_comes_from_standard_input(kedge):
    code, out, _ = kedge("predict", "-", "--json", stdin=RED)

    assert (code, lines(out)[0]["label"]) == (0, "red")


def test_what_cannot_be_read_does_not_stop_the_others_and_ends_with_1(kedge, photos):
    (photos / "c-broken.jpg").write_bytes(b"hello")

    code, out, err = kedge("predict", "gone.jpg", str(photos), "also-gone.jpg", "--json")

    rows = lines(out)
    assert code == 1
    assert [row["error"]["code"] if "error" in row else row["label"] for row in rows] == [
        "unreadable_file", "dark", "light", "not_an_image", "red", "unreadable_file"
    ]  # fmt: skip
    assert err == "kedge: 3 of 6 images got no answer.\n"


def test_a_person_reads_what_was_answered_and_what_was_not(kedge, photos):
    (photos / "c-broken.jpg").write_bytes(b"hello")

    code, out, err = kedge("predict", str(photos), "gone.jpg", width=80)

    assert code == 1
    assert "3 images, answered by cards:1" in out
    assert f"{photos}/c-broken.jpg: the 5 bytes are no image" in out
    assert "gone.jpg: No such file or directory (unreadable_file)" in out
    assert err == "kedge: 2 of 5 images got no answer.\n"


def test_many_images_are_answered_in_their_order(kedge, tmp_path):
    colours = [(DARK, "dark"), (LIGHT, "light"), (RED, "red")] * 14
    for number, (image, _) in enumerate(colours):
        (tmp_path / f"{number:03}.jpg").write_bytes(image)

    code, out, _ = kedge("predict", str(tmp_path), "--json")

    assert code == 0
    assert [row["label"] for row in lines(out)] == [label for _, label in colours]


def test_a_folder_without_images_says_so(kedge, tmp_path):
    (tmp_path / "notes.txt").write_text("hi")

    code, out, err = kedge("predict", str(tmp_path))

    assert (code, out) == (1, "")
    assert err.startswith(f"kedge: {tmp_path} holds no image; looked for files ending in .bmp, .gif,")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict"], "Missing argument"),
        (["predict", "a.jpg", "--meta", "camera"], "'camera' should be NAME=VALUE, as in camera=hall-1"),
        (["predict", "a.jpg", "--meta", "a=1", "--meta", "a=2"], "'a' is given twice"),
        (["predict", "a.jpg", "b.jpg", "--id", "x"], "--id names one image, and there are 2"),
        (["feedback", "some-id"], "Missing argument"),
    ],
)
def test_wrong_usage_ends_with_2(kedge, arguments, words):
    code, out, err = kedge(*arguments)

    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9", "No service answers at http://127.0.0.1:9 "),
        ("127.0.0.1:9", "'127.0.0.1:9' is no address of a service; expected one like http://127.0.0.1:3000."),
    ],
)
def test_where_no_service_is_a_message_says_so(kedge, photos, monkeypatch, url, words):
    monkeypatch.setattr("flows.commands_predict._PATIENCE_S", 0.0)

    code, out, err = kedge("predict", str(photos), "--url", url)

    assert (code, out) == (1, "")
    assert err.startswith(f"kedge: {words}")


def test_a_label_given_by_hand_is_kept_and_an_unknown_class_noted(kedge, served):
    kept = kedge("feedback", "some-id", "red", "--by", "Ada")
    noted = kedge("feedback", "some-id", "zebra", "--json")

    assert kept == (0, "Kept: some-id is red.\n", "")
    assert [note["code"] for note in json.loads(noted[1])["notes"]] == ["unknown_class"]
    labels = [(label.label, label.labelled_by) for label in served.spooled()[1] if label.id == "some-id"]
    assert labels == [("red", "Ada"), ("zebra", "")]


@pytest.mark.slow
def test_labels_that_nothing_can_use_yet_are_listed_and_counted(tmp_path, kedge, monkeypatch):
    with served_cards(tmp_path) as place:
        monkeypatch.chdir(place.settings.root)
        kedge("predict", "-", "--id", "asked", stdin=RED)
        for identifier, label in (("asked", "zebra"), ("mistyped", "dark"), ("asked-too", "red")):
            kedge("feedback", identifier, label, "--by", "Ada")
        kedge("predict", "-", "--id", "asked-too", stdin=RED)
        ship(place)

        everything = json.loads(kedge("labels", "list", "--json")[1])
        orphans = json.loads(kedge("labels", "list", "--orphans", "--json")[1])
        quarantine = json.loads(kedge("labels", "list", "--quarantine", "--json")[1])
        newest = kedge("labels", "list", "--last", "1")[1]
        counts = json.loads(kedge("status", "--json")[1])["labels"]

    assert [row["id"] for row in everything] == ["asked-too", "mistyped", "asked"]
    assert [(row["id"], row["labelled_by"], row["quarantined"]) for row in orphans] == [("mistyped", "Ada", False)]
    assert [(row["id"], row["label"], row["orphan"]) for row in quarantine] == [("asked", "zebra", False)]
    assert "The newest 1 of 3; --last 0 shows all." in newest
    assert counts == {"labelled": 3, "orphans": 1, "quarantined": 1}


def test_tables_that_cannot_be_read_do_not_hide_the_rest_of_the_status(tmp_path, kedge, monkeypatch):
    place = new_place(tmp_path)
    place.champion()
    monkeypatch.chdir(place.settings.root)
    (place.settings.root / "labels.csv").write_text("id,label\na,dark\n")
    kedge("labels", "import", "labels.csv")
    before = json.loads(kedge("status", "--json")[1])["labels"]
    for file in place.settings.storage.home.glob("**/labels/_delta_log/*.json"):
        file.write_text("damaged")

    code, out, _ = kedge("status", "--json")
    read = kedge("status")[1]

    assert before == {"labelled": 1, "orphans": 1, "quarantined": 0}
    assert (code, json.loads(out)["labels"], json.loads(out)["champion"]["version"]) == (0, None, 1)
    assert "unknown: the tables cannot be read" in read


def test_a_token_that_is_missing_wrong_or_of_another_role_is_asked_for_by_name(tmp_path, kedge, monkeypatch):
    with served_cards(tmp_path) as place:
        monkeypatch.chdir(place.settings.root)
        monkeypatch.delenv("KEDGE_TOKEN", raising=False)
        secret = tokens.create(place.registry.engine, "labeller", "feedback", actor="test").secret
        # Workers learn of a token within a moment.
        while (missing := kedge("predict", "-", stdin=RED))[0] == 0:
            pass
        wrong = kedge("predict", "-", "--token", "nonsense", stdin=RED)
        monkeypatch.setenv("KEDGE_TOKEN", secret)
        of_another_role = kedge("predict", "-", stdin=RED)
        right = kedge("feedback", "some-id", "red")

    hint = "Set KEDGE_TOKEN or give --token; `kedge token create NAME --role predict` makes one."
    assert missing[2].rstrip().endswith(hint)
    assert "401 token_required" in missing[2]
    assert wrong[2].rstrip().endswith(hint)
    assert (of_another_role[0], "403" in of_another_role[2]) == (1, True)
    assert "This needs a token with the role predict" in of_another_role[2]
    assert right[0] == 0


def test_the_token_of_the_projects_own_settings_is_used_for_its_own_address(tmp_path, monkeypatch):
    place = new_place(tmp_path)
    monkeypatch.chdir(place.settings.root)
    monkeypatch.setenv("KEDGE_SERVE__TOKEN", "secret")
    monkeypatch.setenv("KEDGE_SERVE__HOST", "0.0.0.0")

    assert address(None, None) == Address(place.url, "secret")
    assert address(None, "mine") == Address(place.url, "mine")
    assert address("http://elsewhere", None) == Address("http://elsewhere", "")
