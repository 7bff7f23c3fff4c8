"""Plots are files that a browser can show, whatever the classes are called and however many there are."""

import dataclasses
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from models.learning_curves import draw_curves, read_epochs
from models.mistakes import worst_mistakes
from models.plots import classes_shown, draw_classes, draw_confusion, draw_mistakes, draw_reliability, draw_subgroups
from models.scorecard import score
from tests.models import finished_runs as made_up

SVG = "{http://www.w3.org/2000/svg}"


def words_in(path) -> list[str]:
    """The texts of an SVG; that it can be parsed shows that it is one."""
    root = ET.fromstring(path.read_bytes())  # noqa: S314 - written a moment ago
    assert root.tag == f"{SVG}svg"
    assert len(list(root.iter(f"{SVG}path"))) > 5
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("classes", [2, 12, 50])
def test_every_class_is_named_in_the_plots_of_classes_and_confusion(tmp_path, classes):
    names = tuple(f"class-{number:02d}" for number in range(classes))
    card = score(made_up.judged(names))

    draw_confusion(card, tmp_path / "confusion.svg")
    draw_classes(card, tmp_path / "classes.svg")

    assert set(names) <= set(words_in(tmp_path / "confusion.svg"))
    assert all(any(text.startswith(name) for text in words_in(tmp_path / "classes.svg")) for name in names)


def test_beyond_fifty_classes_those_with_errors_are_shown(tmp_path):
    names = tuple(f"class-{number:02d}" for number in range(80))
    answers = made_up.judged(names, images=160, share_right=1.0)
    wrong = answers.predictions.copy()
    wrong[79] = 3
    card = score(dataclasses.replace(answers, predictions=wrong))

    shown = classes_shown(card)
    draw_confusion(card, tmp_path / "confusion.svg")

    assert len(shown) == 50
    assert {3, 79} <= set(shown)
    assert "class-79" in words_in(tmp_path / "confusion.svg")


def test_odd_names_are_drawn_as_they_are(tmp_path):
    card = score(made_up.judged(("<b>&", "$x^2$", "naïve 猫", "")))

    draw_confusion(card, tmp_path / "confusion.svg")

    assert {"<b>&", "$x^2$", "(none)"} <= set(words_in(tmp_path / "confusion.svg"))


def test_subgroups_and_confidence_are_drawn_with_their_figures(tmp_path):
    card = score(made_up.judged(("a", "b")), ["camera"], temperature=2.0)

    draw_subgroups(card.subgroups, card.accuracy, tmp_path / "subgroups.svg")
    draw_reliability(card, tmp_path / "reliability.svg")

    assert "camera = A  (n = 67)" in words_in(tmp_path / "subgroups.svg")
    assert any(text.startswith("temperature 2.00: error") for text in words_in(tmp_path / "reliability.svg"))


def test_curves_show_every_stage_and_an_epoch_told_twice_once(tmp_path):
    run = made_up.finished_run(tmp_path / "run", ("a", "b"))

    epochs = read_epochs(run.run_dir)
    draw_curves(epochs, "macro_recall", tmp_path / "curves.svg")

    assert len(epochs) == sum(count for _, count in made_up.STAGES)
    assert epochs[0].loss == 1.0, "the last telling counts"
    assert {"1 · head", "2 · top 2 of 5 groups", "3 · whole network"} <= set(words_in(tmp_path / "curves.svg"))


def test_the_same_plot_is_the_same_file(tmp_path):
    card = score(made_up.judged(("a", "b")))

    for name in ("one.svg", "two.svg"):
        draw_confusion(card, tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_of_the_images_only_the_worst_mistakes_are_read(tmp_path):
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    opened = []

    def read(place: int) -> bytes:
        opened.append(place)
        return made_up.png()

    found = worst_mistakes(probabilities, np.array([1, 0, 0, 1]), ("cat", "dog"), tuple("wxyz"), read, most=2)
    draw_mistakes(found, tmp_path / "mistakes.png")

    assert [(one.name, one.label, one.answer) for one in found] == [("w", "dog", "cat"), ("y", "cat", "dog")]
    assert (found[0].confidence, found[0].label_confidence) == pytest.approx((0.9, 0.1))
    assert opened == [0, 2]
    with Image.open(tmp_path / "mistakes.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(maxcolors=1_000_000)) > 10


def test_where_nothing_is_wrong_there_is_no_mistake():
    probabilities = np.array([[0.9, 0.1]], dtype=np.float32)

    assert worst_mistakes(probabilities, np.array([0]), ("cat", "dog"), ("x",), lambda place: b"") == ()
