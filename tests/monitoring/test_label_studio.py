"""Label Studio's files, in the shapes that it really writes."""

import json
import xml.etree.ElementTree as ET

import pytest

from monitoring.labelling.label_studio import Chosen, Task, interface, read_export


def annotation(choice: str | None = "owl", who: object = 1, **more: object) -> dict:
    """As of version 1.13: also what nobody here reads."""
    result = [] if choice is None else [
        {"id": "EmgEjJhhLj", "type": "choices", "value": {"choices": [choice]}, "origin": "manual",
         "to_name": "image", "from_name": "label"}
    ]  # fmt: skip
    return {
        "id": 9, "completed_by": who, "result": result, "was_cancelled": False, "ground_truth": False,
        "created_at": "2026-11-20T18:50:53.017134Z", "updated_at": "2026-11-20T18:50:53.017151Z",
        "draft_created_at": None, "lead_time": 10.744, "prediction": {}, "result_count": 1,
        "unique_id": "3bc9da85-967f-47a1-bfa8-410206e54cf9", "import_id": None, "last_action": None, "task": 4,
        "project": 3, "updated_by": 1, "parent_prediction": None, "parent_annotation": None, "last_created_by": None,
    } | more  # fmt: skip


def task(identifier: str | None = "p-1", *annotations: dict, **more: object) -> dict:
    data = {"image": "/data/local-files/?d=pictures/ab.png", "why": "drawn by chance"}
    if identifier is not None:
        data["prediction_id"] = identifier
    return {
        "id": 4, "annotations": list(annotations), "file_upload": "d06c405d-tasks.json", "drafts": [],
        "predictions": [14], "data": data, "meta": {}, "created_at": "2026-11-20T18:50:37.142887Z",
        "updated_at": "2026-11-20T18:50:53.174018Z", "inner_id": 1, "total_annotations": len(annotations),
        "cancelled_annotations": 0, "total_predictions": 1, "comment_count": 0, "unresolved_comment_count": 0,
        "last_comment_updated_at": None, "project": 3, "updated_by": 1, "comment_authors": [],
    } | more  # fmt: skip


def short(identifier: str = "p-1", choice: object = "owl", annotator: object = 1, **more: object) -> dict:
    """JSON-MIN: the task's own id takes the name that the data's might have had."""
    return {
        "image": "/data/local-files/?d=pictures/ab.png", "prediction_id": identifier, "why": "drawn by chance",
        "id": 4, "label": choice, "annotator": annotator, "annotation_id": 9,
        "created_at": "2026-11-20T18:50:53.017134Z", "updated_at": "2026-11-20T18:50:53.017151Z", "lead_time": 10.7,
    } | more  # fmt: skip


def test_a_task_has_its_picture_its_reason_and_the_answer_as_a_pre_annotation():
    found = Task("p-1", "/data/local-files/?d=a.png", "the model was unsure", "birds:2", "owl", 0.61).to_json()

    assert found["data"] == {
        "image": "/data/local-files/?d=a.png", "prediction_id": "p-1", "why": "the model was unsure"
    }  # fmt: skip
    (prediction,) = found["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("birds:2", 0.61)
    (chosen,) = prediction["result"]
    assert (chosen["from_name"], chosen["to_name"], chosen["type"]) == ("label", "image", "choices")
    assert chosen["value"] == {"choices": ["owl"]}
    assert "predictions" not in Task("p-1", "a.png", "drawn by chance", "birds:2").to_json()


def test_the_interface_is_sound_xml_whatever_the_classes_are_called():
    names = ["owl", 'a "b" & <c>', "Łódź 🚢"]

    view = ET.fromstring(interface(names))  # noqa: S314 - written by us a line above

    assert [one.get("value") for one in view.iter("Choice")] == names
    assert view.find("Image").get("value") == "$image"
    choices = view.find("Choices")
    assert (choices.get("name"), choices.get("toName"), choices.get("layout")) == ("label", "image", None)
    assert ET.fromstring(interface([str(n) for n in range(40)])).find("Choices").get("layout") == "select"  # noqa: S314


@pytest.mark.parametrize(
    "who", [1, {"id": 1, "email": "ann@example.org", "first_name": "", "last_name": ""}, "ann@example.org", None]
)
def test_both_kinds_of_export_give_the_label_and_who_gave_it(who):
    name = {int: "Label Studio user 1", type(None): ""}.get(type(who), "ann@example.org")

    long, brief = read_export([task("p-1", annotation(who=who))]), read_export([short(annotator=who)])

    assert long.chosen == brief.chosen == (Chosen(1, "p-1", "owl", name),)


def test_older_and_other_forms_of_one_choice_are_read_alike():
    old = task("p-1")
    old["completions"] = [*old.pop("annotations"), annotation()]

    forms = [old, short("p-2", {"choices": ["owl"]}), short("p-3", [{"choices": ["owl"]}]), short("p-4", ["owl"])]

    assert [one.label for one in read_export(forms).chosen] == ["owl"] * 4


def test_what_was_skipped_or_not_looked_at_gives_no_label():
    cancelled = annotation(None, was_cancelled=True)
    without = {name: value for name, value in short("p-6").items() if name != "label"}

    found = read_export(
        [task("p-1", cancelled), task("p-2"), task("p-3", annotation(None)), task("p-4", cancelled, annotation()),
         without]
    )  # fmt: skip

    assert [one.id for one in found.chosen] == ["p-4"]
    assert found.skipped == ("p-1",)
    assert found.unanswered == 3
    assert found.refused == ()


def test_several_annotators_count_once_and_a_tie_is_refused_by_name():
    found = read_export(
        [
            task("p-1", annotation("owl", 1), annotation("crow", 2), annotation("owl", 3)),
            task("p-2", annotation("owl", 1), annotation("crow", 2)),
            short("p-3", "owl", 1), short("p-3", "owl", 2), short("p-4", "owl", 1), short("p-4", "crow", 2),
        ]
    )  # fmt: skip

    assert [(one.id, one.label, one.labelled_by) for one in found.chosen] == [
        ("p-1", "owl", "Label Studio user 3"), ("p-3", "owl", "Label Studio user 2")
    ]  # fmt: skip
    assert found.refused == (
        "task 2 (p-2): its annotators disagree ('owl', 'crow')",
        "task 5 (p-4): its annotators disagree ('owl', 'crow')",
    )


def test_what_is_none_of_ours_is_refused_by_its_place():
    boxes = annotation(result=[{"from_name": "label", "type": "rectanglelabels", "value": {"x": 1}}])
    found = read_export(
        [task(None, annotation()), task("p-2", annotation(), data="text"), task("p-3", annotations="no"),
         task("p-4", "no"), short("p-5", ["owl", "crow"]), short("p-6", 7), task("p-7", boxes),
         short("  "), {"prediction_id": ["p"]}]
    )  # fmt: skip

    assert found.chosen == ()
    assert [sentence.partition(":")[0] for sentence in found.refused] == [
        "task 1", "task 2", "task 8", "task 9", "task 3 (p-3)", "task 4 (p-4)", "task 5 (p-5)", "task 6 (p-6)"
    ]  # fmt: skip
    assert found.unanswered == 1


@pytest.mark.parametrize("document", [{"tasks": []}, "text", 7, None, [1, 2], [[]]])
def test_what_is_no_list_of_tasks_is_refused(document):
    with pytest.raises(ValueError, match="expected a list of tasks"):
        read_export(json.loads(json.dumps(document)))
