"""`kedge data --label-errors` on real files: a champion's network looks at the images, wrong labels are known."""

import csv
import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.collecting.collect import first_snapshot
from flows.label_errors import find_label_errors, write_sheet, write_suspects
from flows.telling import Logged
from flows.workplace import Workplace, open_workplace
from infra.errors import UserError
from tests.service.cards import write_candidate

COLOURS = {"dark": (30, 30, 30), "light": (225, 225, 225), "red": (220, 30, 30)}
WRONG = ("dark3", "light8", "red5")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Dark, light and red cards, three of them with a wrong label; the last four of each colour judge."""
    chance = np.random.default_rng(0)
    rows = ["image,label,split"]
    (tmp_path / "images").mkdir()
    for label, colour in COLOURS.items():
        for number in range(24):
            name = f"{label}{number}"
            pixels = np.clip(np.array(colour) + chance.normal(0, 12, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name, "PNG")
            said = {"dark": "red", "light": "dark", "red": "light"}[label] if name in WRONG else label
            rows.append(f"images/{name},{said},{'judge' if number >= 20 else 'select' if number >= 16 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "kedge.toml").write_text('[data]\nmanifest = "manifest.csv"\n')
    return open_workplace(tmp_path)


def with_champion(place: Workplace, tmp_path: Path) -> Workplace:
    version = place.registry.register(write_candidate(tmp_path / "candidate"), reason="first", parent_version=None)
    place.registry.champions.promote(version.version, actor="test", reason="test")
    return place


def test_wrong_labels_are_found_shown_and_left_out_when_a_person_says_so(place, tmp_path):
    errors = find_label_errors(with_champion(place, tmp_path), Logged(logging.getLogger("test")))
    write_suspects(errors, tmp_path / "errors.csv")
    write_sheet(place, errors, tmp_path / "errors.html")
    (tmp_path / "kedge.toml").write_text('[data]\nmanifest = "manifest.csv"\nexclude = "errors.csv"\n')
    snapshot = first_snapshot(open_workplace(tmp_path))

    assert {suspect.image for suspect in errors.suspects} == {f"images/{name}" for name in WRONG}
    assert {suspect.suggested for suspect in errors.suspects if suspect.image == "images/dark3"} == {"dark"}
    assert (errors.model, errors.examined, errors.untold) == ("classifier:1", 60, 0)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "errors.csv").read_text())))
    assert {row["image"] for row in rows} == {f"images/{name}" for name in WRONG}
    page = (tmp_path / "errors.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "3 of 60 labels look wrong" in page
    assert sum(snapshot.left_out.values()) == 3
    assert not {Path(example.image).name for example in snapshot.train} & set(WRONG)


def test_judge_images_are_never_examined(place, tmp_path):
    text = (tmp_path / "manifest.csv").read_text()
    (tmp_path / "manifest.csv").write_text(text.replace("images/dark22,dark", "images/dark22,light"))

    errors = find_label_errors(with_champion(place, tmp_path), Logged(logging.getLogger("test")))

    assert "images/dark22" not in {suspect.image for suspect in errors.suspects}


def test_without_a_champion_it_is_said_what_to_do_first(place):
    with pytest.raises(UserError, match="Run `kedge train` first"):
        find_label_errors(place, Logged(logging.getLogger("test")))
