"""`kedge backtest` on a real log: ninety days of a champion that became worse after thirty."""

import json
from dataclasses import replace

import pytest

from flows.backtest.backtesting import Asked, backtest, training_cost
from flows.backtest.policies import policies_of
from flows.backtest.policy_kinds import Usual
from infra.errors import UserError
from infra.jobs import claim_job, jobs, queue_job
from infra.settings import load
from tests.flows.logged_quarter import logged_quarter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return logged_quarter(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def report(place):
    return backtest(place, Asked("never,schedule=15,labels=200,drift,accuracy=0.9,kedge"))


@pytest.fixture
def usual(tmp_path):
    return Usual(load(tmp_path, {}), days=80.0, accuracy=0.95, training_minutes=3.0)


@pytest.fixture
def kedge(place, kedge, monkeypatch):
    """The command in the project's folder."""
    monkeypatch.chdir(place.settings.root)
    return kedge


def scores(report):
    return {score.policy: score for score in report.scores}


def test_the_champion_that_is_never_retrained_is_as_right_as_its_logged_answers(place, report):
    frame = place.log.labelled()

    logged = (frame["label"] == frame["true_label"]).mean()

    assert report.labelled == frame.height
    assert scores(report)["never"].accuracy == pytest.approx(logged)
    assert scores(report)["never"].retrains == 0


def test_a_policy_that_retrains_is_more_often_right_after_the_change(report):
    found = scores(report)

    for name in ("schedule=15", "labels=200"):
        assert found[name].accuracy > found["never"].accuracy + 0.01, name
        assert found[name].promoted >= 1, name


def test_retrains_cost_what_a_retrain_costs(report):
    found = scores(report)["schedule=15"]

    assert found.retrains == 5
    assert [(one.asked_at - report.since).days for one in found.when] == pytest.approx([15, 30, 45, 60, 75], abs=1)
    assert found.training_minutes == found.retrains * report.training_minutes


def test_kedges_own_policy_waits_for_harm_and_says_why(report):
    found = scores(report)["kedge"]

    assert all((one.asked_at - report.since).days >= 30 for one in found.when)
    assert found.when[0].reason == "harm"
    assert "Labelled harm" in found.when[0].words
    assert found.verdicts[0][1] == "nothing"


def test_what_nothing_beats_for_less_is_marked(report):
    best = [score for score in report.scores if score.on_frontier]

    assert "never" in {score.policy for score in best}
    by_cost = sorted(best, key=lambda score: score.training_minutes)
    assert [score.accuracy for score in by_cost] == sorted(score.accuracy for score in by_cost)


def test_the_figures_never_stand_without_what_they_mean(report):
    told = " ".join(report.notes)

    assert "fitted anew to logged embeddings" in told
    assert "label that had come by then" in told
    assert report.cost_basis == "train.budget_minutes, for no job has ended yet"


def test_the_command_writes_a_report_and_a_picture(kedge, tmp_path):
    code, said, _ = kedge("backtest", "--policies", "never,labels=300", "--out", str(tmp_path / "out"))

    assert code == 0
    assert "best for its cost" in said
    written = json.loads((tmp_path / "out" / "backtest.json").read_text())
    assert [score["policy"] for score in written["scores"]] == ["never", "labels=300"]
    picture = (tmp_path / "out" / "backtest.svg").read_text()
    assert "labels=300" in picture
    assert "accuracy over time" in picture


def test_the_command_reports_in_json(kedge):
    code, said, _ = kedge("backtest", "--policies", "never", "--json")

    assert code == 0
    assert json.loads(said)["scores"][0]["retrains"] == 0


def test_the_gate_may_judge_in_a_replay(place):
    found = backtest(place, Asked("labels=300", judge="gate"))

    assert all(
        "judged" in one.judged or "Undecided" in one.judged or "Reject" in one.judged for one in found.scores[0].when
    )
    assert any("The gate judged on fewer images" in note for note in found.notes)
    assert any("Only labels that are in the log can come" in note for note in found.notes)
    waited = [one for one in found.scores[0].when if one.waited_days]
    assert all(one.asked_labels == 0 and one.judged_again for one in waited)


def test_that_a_candidate_waits_is_said_only_where_somebody_labels(place):
    nobody = replace(place.settings, labels=replace(place.settings.labels, per_day=0))

    notes = backtest(replace(place, settings=nobody), Asked("never", judge="gate")).notes

    assert any("The gate judged on fewer images" in note for note in notes)
    assert not any("waits for labels" in note for note in notes)


def test_policies_of_a_file_have_settings_of_their_own(usual, tmp_path):
    path = tmp_path / "policies.toml"
    path.write_text('[cautious]\nkind = "kedge"\nleast_fresh_labels = 400\n\n[often]\nkind = "schedule"\ndays = 2\n'
                    'judge = "nobody"\n')  # fmt: skip

    cautious, often = policies_of(str(path), usual, "guard")

    assert (cautious.name, cautious.judge) == ("cautious", "guard")
    assert "least_fresh_labels = 400" in cautious.made.words
    assert (often.judge, often.made.words) == ("nobody", "every 2 days")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("shedule", "did you mean schedule?"),
        ("labels=many", "'many' is no number"),
        ("never=3", "never takes no number"),
        ("schedule=0", "should be a number above 0; found 0.0"),
        (",", "names none"),
        ("missing.toml", "is not there"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused_in_words(usual, asked, said):
    with pytest.raises(UserError, match=said):
        policies_of(asked, usual, "guard")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[a]\nkind = "kedge"\nleast_fresh_label = 3\n', "did you mean least_fresh_labels?"),
        (
            '[a]\nkind = "kedge"\nleast_fresh_labels = "many"\n',
            "Policy 'a': least_fresh_labels should be a whole number",
        ),
        ('[a]\nkind = "kedge"\nwhen = "harmful"\n', "Policy 'a': trigger.when is 'harmful'"),
        ('[a]\nkind = "schedule"\njudge = "gates"\n', "did you mean gate?"),
        ("days = 3\n", "days outside any section"),
        ("[a\n", "is not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_of_policies_is_named(usual, tmp_path, content, said):
    path = tmp_path / "policies.toml"
    path.write_text(content)

    with pytest.raises(UserError) as refused:
        policies_of(str(path), usual, "guard")

    assert said in str(refused.value)


def test_a_log_without_labels_has_nothing_to_replay(tmp_path):
    from flows.workplace import open_workplace

    with pytest.raises(UserError, match="No answer in the log has a label"):
        backtest(open_workplace(tmp_path), Asked("never"))


def test_a_retrain_costs_what_past_ones_took(tmp_path):
    from flows.workplace import open_workplace

    engine = open_workplace(tmp_path).engine
    assert training_cost(jobs(engine), 30.0) == (30.0, "train.budget_minutes, for no job has ended yet")
    job = queue_job(engine, "retrain", "manual")
    assert claim_job(engine, job.id) is not None

    assert training_cost(jobs(engine), 30.0)[0] == 30.0
