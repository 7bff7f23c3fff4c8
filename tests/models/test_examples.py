from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from infra.errors import UserError
from models.examples import (
    Example,
    check_roles,
    classes_of,
    read_manifest,
    role_of,
    summarise,
    with_roles,
)


@pytest.fixture
def folder(tmp_path):
    """Twelve cats and twelve dogs, each its own picture."""
    chance = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for number in range(12):
            picture = chance.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / f"{label}{number}.png")
    return tmp_path


def rows_of(label: str, count: int = 12) -> list[str]:
    return [f"{label}{number}.png,{label},A" for number in range(count)]


def manifest(folder: Path, rows: list[str], heading: str = "image,label,camera") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([heading, *rows]) + "\n")
    return path


def complaint(path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_manifest(path, **options)
    return str(caught.value)


def test_a_manifest_is_read_with_its_metadata(folder):
    examples = read_manifest(manifest(folder, rows_of("cat") + rows_of("dog")))

    assert len(examples) == 24
    assert examples[0] == Example(folder / "cat0.png", "cat", metadata={"camera": "A"}, group="cat0.png")
    assert classes_of(examples) == ("cat", "dog")


def test_parquet_reads_as_csv_does(folder):
    csv_path = manifest(folder, rows_of("cat") + rows_of("dog"))
    table = pa.table(
        {
            "image": [f"{label}{number}.png" for label in ("cat", "dog") for number in range(12)],
            "label": [label for label in ("cat", "dog") for _ in range(12)],
            "camera": ["A"] * 24,
        }
    )
    pq.write_table(table, folder / "manifest.parquet")

    assert read_manifest(folder / "manifest.parquet") == read_manifest(csv_path)


def test_a_folder_per_class_needs_no_manifest(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(10):
            (tmp_path / label / f"{number}.jpg").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("no image")

    examples = read_manifest(tmp_path)

    assert Counter(example.label for example in examples) == {"cat": 10, "dog": 10}


def test_the_group_column_ties_images_together(folder):
    examples = read_manifest(manifest(folder, rows_of("cat") + rows_of("dog")), group_column="camera")

    assert {example.group for example in examples} == {"A"}


def test_all_mistakes_are_told_at_once(folder):
    rows = [*rows_of("cat"), *rows_of("dog", 3), "gone.png,dog,A", "cat0.png,dog,A", "dog5.png,,A"]

    told = complaint(manifest(folder, rows))

    assert told == (
        f"{folder}/manifest.csv cannot be used:\n"
        "  1 of 18 images is missing: gone.png (row 17)\n"
        "  1 of 18 images is without a label: dog5.png (row 19)\n"
        "  1 images are listed twice with different labels: cat0.png is 'cat' in row 2 and 'dog' in row 18\n"
        "  too few images of 1 classes; each needs at least 10: 'dog' has 4"
    )


def test_of_many_missing_images_five_are_named(folder):
    told = complaint(manifest(folder, [*rows_of("cat"), *rows_of("dog"), *rows_of("cow", 20)]))

    assert "20 of 44 images are missing: cow0.png (row 26), cow1.png (row 27), cow2.png (row 28)," in told
    assert told.endswith("cow4.png (row 30), …")


def test_a_missing_manifest_says_what_to_set(tmp_path):
    assert "data.manifest in kedge.toml" in complaint(tmp_path / "gone.csv")


def test_a_missing_column_brings_a_suggestion(folder):
    told = complaint(manifest(folder, rows_of("cat"), heading="filename,class,camera"))

    assert "no column 'image'; did you mean 'filename'?" in told
    assert "no column 'label'; did you mean 'class'?" in told


def test_semicolons_are_pointed_out(folder):
    assert "separate columns by commas" in complaint(manifest(folder, [], heading="image;label"))


def test_one_class_is_not_enough(folder):
    told = complaint(manifest(folder, rows_of("cat")))

    assert "all 12 images are of one class, 'cat'; a classifier needs at least two" in told


def test_an_empty_manifest_is_refused(folder):
    assert "it has no labelled image" in complaint(manifest(folder, []))


def test_an_unknown_split_is_refused(folder):
    rows = [f"{row.rsplit(',', 1)[0]},validation" for row in rows_of("cat") + rows_of("dog")]

    told = complaint(manifest(folder, rows, heading="image,label,split"))

    assert "split may be train, select, judge or empty; 24 of 24 rows say otherwise: 'validation' (row 2)" in told


def test_a_comma_too_many_is_shown_with_its_row(folder):
    assert "row 2 has 4 cells and the heading 3" in complaint(manifest(folder, ["a,b.png,cat,A"]))


def test_roles_stay_the_same_for_ever():
    roles = [role_of(f"session-{number}", b"key") for number in range(20_000)]

    assert Counter(roles)["train"] / 20_000 == pytest.approx(0.70, abs=0.01)
    assert Counter(roles)["select"] / 20_000 == pytest.approx(0.15, abs=0.01)
    assert roles[:100] == [role_of(f"session-{number}", b"key") for number in range(100)]
    assert roles[:100] != [role_of(f"session-{number}", b"other") for number in range(100)]


def test_the_manifest_overrules_the_hash():
    examples = [Example("a", "cat", split="judge", group="a"), Example("b", "cat", group="b")]

    assert [example.split for example in with_roles(examples, b"key")] == ["judge", role_of("b", b"key")]


def test_a_class_without_a_judge_image_is_named():
    examples = [Example(str(number), "cat", split=role) for number, role in enumerate(("train", "select"))]

    with pytest.raises(UserError, match="class 'cat' has no judge image among its 2"):
        check_roles(examples)


def test_a_summary_counts_classes_roles_and_metadata(folder):
    summary = summarise(read_manifest(manifest(folder, rows_of("cat") + rows_of("dog"))))

    assert summary.classes == {"cat": 12, "dog": 12}
    assert summary.roles == {"by hash": 24}
    assert summary.metadata == {"camera": {"A": 24}}
