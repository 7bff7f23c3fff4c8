import json
from dataclasses import replace

from monitoring.blocks.distance_from_origin import DistanceFromOrigin
from monitoring.evidence_records import BLOCKS, GROSS, HARM, DetectorEvidence, Evidence
from monitoring.identification import LABEL, NONE, ShiftReport
from monitoring.incoming.faults import Look
from monitoring.incoming.volume import ArrivalReport
from monitoring.triage import decide
from monitoring.triage_records import LabelsSoFar, Situation, TriageRules

RULES = TriageRules()
CHANGED = DetectorEvidence(GROSS, "embedding", 6.0, 5.5, 300, 0.6, 0.2, 209)
HARMED = DetectorEvidence(HARM, "overall", 4.0, 3.6, 120, 0.35, 0.115, 88)
DRIFTED = DetectorEvidence(BLOCKS, "embedding", 3.0, 2.9, 31, 0.2, 0.5, 31)
CALM = Situation(
    evidence=Evidence((), (), "calibrating: 3 of 14 blocks; gross change and labelled harm are watched"),
    look=Look(predictions=200),
    labels=LabelsSoFar(),
    predictions=5_000,
    window=200,
    source="camera",
    feedback_is_random=True,
    harm_labels=40,
)


def alarmed(*detectors: DetectorEvidence, labels: LabelsSoFar = CALM.labels, look: Look = CALM.look) -> Situation:
    return replace(CALM, evidence=Evidence(detectors, (), CALM.evidence.block_lane), labels=labels, look=look)


def test_without_an_alarm_nothing_is_to_be_done():
    verdict = decide(CALM, RULES)

    assert verdict.action == "nothing"
    assert verdict.reasons[0] == "No alarm in 5,000 predictions and 40 labels."
    assert "calibrating: 3 of 14 blocks" in verdict.reasons[1]


def test_too_little_traffic_is_said_to_be_no_evidence():
    verdict = decide(replace(CALM, predictions=12), RULES)

    assert verdict.reasons[0] == "Not enough evidence yet: 12 of 200 predictions."


def test_a_gross_change_alone_never_retrains_however_many_labels_there_are():
    many = LabelsSoFar(fresh=5_000, in_region=4_000, right_in_region=3_900)

    verdict = decide(alarmed(CHANGED, labels=many), RULES)

    assert verdict.action == "label_first"
    assert "Of 4000 labelled pictures from where the change is, 3900 were answered right." in verdict.reasons
    assert not verdict.starts_retrain


def test_harm_with_enough_labels_retrains():
    verdict = decide(alarmed(HARMED, labels=LabelsSoFar(fresh=120, in_region=60)), RULES)

    assert verdict.action == "retrain"
    assert verdict.starts_retrain
    assert verdict.reasons[0] == (
        "Labelled harm: so many wrong answers came close together that 11.5%, which would be fine, cannot explain them "
        "(35.0% of all 120 labelled so far)."
    )
    assert (round(verdict.avoidable_error, 3), verdict.avoidable_basis) == (0.235, "labels")


def test_what_one_class_alone_suffers_counts_by_its_share_of_all_answers():
    owls = DetectorEvidence(HARM, "class=owl", 4.0, 3.6, 10, 0.515, 0.115, 9)
    harmed = replace(alarmed(owls, labels=LabelsSoFar(fresh=120, in_region=60)), harm_labels=40)

    assert round(decide(harmed, RULES).avoidable_error, 3) == 0.1


def test_harm_with_too_few_labels_says_how_many_are_missing():
    verdict = decide(alarmed(HARMED, labels=LabelsSoFar(fresh=70, in_region=20, not_kept=9)), RULES)

    assert verdict.action == "label_first"
    labels, region = verdict.would_change
    assert labels == "30 more fresh labels (70 so far)."
    assert region.startswith("30 more labels from where the change is (20 so far); 9 labels cannot train")


def test_a_person_may_keep_the_start_of_a_retrain_to_themselves():
    verdict = decide(
        alarmed(HARMED, labels=LabelsSoFar(fresh=120, in_region=60)), replace(RULES, retrain_on_harm=False)
    )

    assert verdict.action == "retrain"
    assert not verdict.starts_retrain
    assert "trigger.retrain_on_harm is off" in verdict.reasons[-1]


def test_broken_input_is_mended_first_even_when_labels_show_harm():
    dark = Look(predictions=200, fault="90% of the newest 200 pictures are blank")

    verdict = decide(alarmed(CHANGED, HARMED, labels=LabelsSoFar(fresh=500, in_region=500), look=dark), RULES)

    assert verdict.action == "fix_input"
    assert decide(replace(CALM, look=dark), RULES).action == "nothing"


def test_a_known_source_that_changed_is_an_input_fault_until_labels_show_that_it_can_be_read():
    changed = Look(predictions=200, known_source_changed=0.8, new_sources={})

    assert decide(alarmed(CHANGED, look=changed), RULES).action == "fix_input"
    read = LabelsSoFar(fresh=6, in_region=6, right_in_region=2)
    assert decide(alarmed(CHANGED, look=changed, labels=read), RULES).action == "label_first"
    undeclared = replace(alarmed(CHANGED, look=changed), source="")
    assert decide(undeclared, RULES).action == "label_first"


def test_a_new_source_is_named():
    new = Look(predictions=200, new_sources={"C": 150})

    verdict = decide(alarmed(CHANGED, look=new), RULES)

    assert verdict.action == "label_first"
    assert "camera = C is new: 150 of the newest 200 predictions." in verdict.reasons


def test_slow_change_without_harm_is_a_note_and_no_more():
    verdict = decide(alarmed(DRIFTED), RULES)

    assert verdict.action == "nothing"
    assert verdict.reasons[0].startswith("Slow change in embedding: so many blocks close together")
    assert "No harm is shown: 2 windows in a row" in verdict.reasons[1]
    assert "kedge watch --accept-as-normal" in verdict.reasons[2]
    assert verdict.would_change[0] == "An estimated loss above tolerance in 2 windows in a row."


def test_slow_change_with_an_estimated_loss_in_two_windows_retrains_once_labels_suffice():
    losing = replace(alarmed(DRIFTED), estimated_loss_windows=2, estimated_loss=0.07)

    few = decide(replace(losing, labels=LabelsSoFar(fresh=70, in_region=60)), RULES)
    enough = decide(replace(losing, labels=LabelsSoFar(fresh=120, in_region=60)), RULES)

    assert (few.action, enough.action) == ("label_first", "retrain")
    assert few.would_change == ("30 more fresh labels (70 so far).",)
    assert enough.starts_retrain
    assert enough.avoidable_error == 0.07
    assert (
        "in the newest 2 windows the estimated accuracy lies below what is tolerated, in the newest by 7.0%"
        in (enough.reasons[0])
    )


def test_one_window_of_estimated_loss_is_not_harm():
    once = replace(alarmed(DRIFTED, labels=LabelsSoFar(fresh=900, in_region=900)), estimated_loss_windows=1)

    assert decide(once, RULES).action == "nothing"


def test_an_estimated_loss_without_an_alarm_is_nothing():
    losing = replace(CALM, estimated_loss_windows=9, labels=LabelsSoFar(fresh=900, in_region=900))

    assert decide(losing, RULES).action == "nothing"


def test_broken_input_explains_slow_change_too():
    dark = Look(predictions=200, fault="90% of the newest 200 pictures are blank")

    verdict = decide(replace(alarmed(DRIFTED, look=dark), estimated_loss_windows=5), RULES)

    assert verdict.action == "fix_input"
    assert not [reason for reason in verdict.reasons if reason.startswith("Seen beside it")]


def test_a_broken_known_source_is_mended_before_an_estimate_is_believed():
    changed = Look(predictions=200, known_source_changed=0.8, new_sources={})
    losing = replace(alarmed(CHANGED, DRIFTED, look=changed), estimated_loss_windows=5)

    assert decide(losing, RULES).action == "fix_input"


def test_the_missing_labels_are_named_by_where_the_change_is():
    new = Look(predictions=200, new_sources={"C": 150})

    by_camera = decide(alarmed(HARMED, CHANGED, look=new, labels=LabelsSoFar(fresh=200, in_region=20)), RULES)
    by_channel = decide(alarmed(HARMED, CHANGED, labels=LabelsSoFar(fresh=200, in_region=20)), RULES)

    assert by_camera.would_change == ("30 more labels from where the change is (20 so far), of camera = C.",)
    assert by_channel.would_change[0].endswith("of pictures atypical in embedding.")


def test_a_retrain_names_the_classes_that_no_fresh_label_is_of():
    verdict = decide(alarmed(HARMED, labels=LabelsSoFar(fresh=120, in_region=60, unlabelled=("owl", "wren"))), RULES)

    assert verdict.action == "retrain"
    assert "None of them is of owl, wren: of these a successor learns nothing new." in verdict.reasons


def test_the_kind_of_shift_is_told_beside_an_alarm_and_not_without_one():
    mix = ShiftReport(LABEL, 500, words=("Label shift: the classes come in another mix.",))
    none = ShiftReport(NONE, 500, words=("The window differs from the reference by no more than chance.",))

    assert mix.words[0] in decide(replace(alarmed(CHANGED), shift=mix), RULES).reasons
    assert mix.words[0] in decide(replace(alarmed(DRIFTED), shift=mix), RULES).reasons
    assert none.words[0] not in decide(replace(alarmed(CHANGED), shift=none), RULES).reasons
    assert mix.words[0] not in decide(replace(CALM, shift=mix), RULES).reasons


def test_arrivals_and_the_distance_from_the_origin_stand_beside_every_verdict_and_make_none():
    late = ArrivalReport(("Nothing has arrived since 2026-11-20 09:12 UTC; at this hour 130 are usual.",))
    far = DistanceFromOrigin(0.6, 0.5, 20_000, {"embedding": 0.6})

    for situation in (CALM, alarmed(CHANGED), alarmed(HARMED), alarmed(DRIFTED)):
        plain, told = (
            decide(one, RULES) for one in (situation, replace(situation, arrivals=late, origin_distance=far))
        )
        assert told.action == plain.action
        assert told.reasons[:-2] == plain.reasons
        assert told.reasons[-2] == late.notes[0]
        assert "kedge watch --accept-as-normal" in told.reasons[-1]


def test_a_distance_within_its_limit_asks_nobody():
    near = DistanceFromOrigin(0.3, 0.5, 20_000, {"embedding": 0.3})

    assert decide(replace(CALM, origin_distance=near), RULES) == decide(CALM, RULES)


def test_a_verdict_is_a_row_that_json_can_hold():
    document = decide(replace(alarmed(DRIFTED), estimated_loss_windows=2), RULES).to_json()

    assert set(document) == {
        "action", "reasons", "would_change", "starts_retrain", "avoidable_error", "avoidable_basis",
    }  # fmt: skip
    assert json.loads(json.dumps(document))["action"] == "label_first"
