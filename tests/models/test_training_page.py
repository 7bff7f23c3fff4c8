"""The report of a run and the model card: whole, self-contained, and honest about what they show."""

import re
from dataclasses import replace
from html import unescape

import pytest

from models.card import render_card
from models.gate_records import REJECT, Objection
from models.training_page import class_counts, draw_plots, most_confused, render_page
from tests.models import finished_runs as made_up

CLASSES = ("cat", "dog & <b>pup</b>", "emu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_up.finished_run(tmp_path_factory.mktemp("report") / "run", CLASSES)


@pytest.fixture(scope="module")
def plots(run):
    return draw_plots(run)


def test_every_plot_is_a_file_of_its_own(run, plots):
    assert {path.name for path in (run.run_dir / "report").iterdir()} == {
        "learning_curves.svg", "confusion.svg", "classes.svg", "subgroups.svg", "reliability.svg",
        "select_mistakes.png", "judge_mistakes.png",
    }  # fmt: skip
    assert all(path.stat().st_size > 1_000 for path in plots.values())


def test_the_page_names_every_class_stage_and_score_and_needs_nothing_else(run, plots):
    page = render_page(run, plots, "cards:7")

    text = unescape(re.sub(r"data:[^\"]+", "", page))
    assert all(name in text for name in ("cards:7", *CLASSES, "top 2 of 5 groups", "camera = (none)", "4.5 ms"))
    assert "<b>pup" not in page
    assert page.count('src="data:image/') == len(plots)
    addresses = re.findall(r'(?:src|href|url|action)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert all(address.startswith("data:") for address in addresses)
    assert "<script" not in page


def test_the_page_says_which_mistakes_are_of_which_images(run, plots):
    page = render_page(run, plots, "cards:7")
    without = render_page(
        replace(run, select_mistakes=None, judge_mistakes=()),
        {name: path for name, path in plots.items() if "mistakes" not in name},
        "cards:7",
    )

    select, judge = page.index("<h3>Select images</h3>"), page.index("<h3>Judge images</h3>")
    assert select < page.index("may be looked at freely") < judge < page.index("do not tune to these")
    assert "The answers to them were not kept." in without
    assert "There was none." in without


def test_the_page_tells_the_gates_objections(run, plots):
    words = "Recall of class=cat on 67 old images is 0.400; at least 0.500 required."
    refused = replace(
        run.decision, outcome=REJECT, objections=(Objection(REJECT, "recall floor", "old", "cat", words),)
    )

    page = render_page(replace(run, decision=refused), plots, "cards:7")

    assert words in page
    assert "<b>Reject</b>" in page


def test_the_page_says_where_the_weights_began(run, plots, tmp_path):
    unreached = made_up.finished_run(tmp_path / "run", CLASSES, licence="none")

    begun, alone = (render_page(each, plots, "cards:7") for each in (run, unreached))

    assert "timm&#39;s pretrained weights of test_resnet" in begun
    assert "apache-2.0" in begun
    assert "from scratch: weights drawn at random" in alone
    assert "The rate was lowered once." in begun


def test_pretrained_weights_that_could_not_be_fetched_are_told_loudly(plots, tmp_path):
    run = made_up.finished_run(tmp_path / "run", CLASSES, licence="none")
    (run.run_dir / "progress.jsonl").unlink()

    page = render_page(replace(run, training={**run.training, "remarks": []}), plots, "cards:7")

    assert "The pretrained weights could not be fetched, so it was trained from scratch." in page


def test_images_are_counted_by_class_and_role(run):
    cat = class_counts(run)[0]

    assert (cat.label, cat.train_manifest, cat.train_production, cat.select) == ("cat", 1, 0, 1)
    assert cat.judge == run.scorecard.per_class[0].images


def test_confusions_are_listed_by_how_often_they_happen(run):
    found = most_confused(replace(run.scorecard, confusion=((5, 0, 2), (3, 4, 0), (0, 0, 6))))

    assert [(one.label, one.answer, one.count) for one in found] == [(CLASSES[1], "cat", 3), ("cat", "emu", 2)]


def test_the_card_names_its_version_and_links_to_the_report(run, plots):
    card = render_card(run.artifact, run.scorecard, "cards:7", plots)

    assert "<h1>cards:7</h1>" in card
    assert 'href="report.html"' in card
    assert card.count('src="data:image/svg+xml') == 4
    assert "apache-2.0" in card


def test_a_card_without_plots_falls_back_on_tables(run):
    card = render_card(run.artifact, run.scorecard)

    assert "<h1>cards</h1>" in card
    assert "label \\ answer" in card
