import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from flows.collecting.snapshot import Snapshot
from flows.judging import Judgement
from flows.profile import write_profile
from flows.workplace import open_workplace
from models.examples import Example
from models.gate_records import Answers
from monitoring.blocks.rows import load_origin
from monitoring.prediction_log import image_key
from monitoring.reference.profile import load_profile
from tests.service.cards import CLASSES, write_candidate


def picture(path, seed):
    chance = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(chance.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def test_the_origin_holds_the_images_of_the_manifest_alone_as_the_new_model_sees_them(tmp_path):
    (tmp_path / "kedge.toml").write_text("")
    place = open_workplace(tmp_path)
    candidate = write_candidate(tmp_path / "candidate")
    first = [Example(tmp_path / f"{seed}.png", CLASSES[seed % 3], metadata={"camera": "A"}) for seed in range(45)]
    for seed, example in enumerate(first):
        picture(example.image, seed)
    fed_back = []
    for seed in range(100, 115):
        place.objects.put(image_key(str(seed)), picture(tmp_path / "sent.png", seed))
        fed_back.append(Example(image_key(str(seed)), CLASSES[0], metadata={"camera": "B"}, source="production"))
    nothing = Answers("", CLASSES, np.empty(0, int), np.empty(0, int), np.empty(0), (), ())
    judgement = Judgement(None, None, nothing, None)

    for version, select in ((1, first), (2, [*first, *fed_back])):
        snapshot = Snapshot(CLASSES, (), tuple(select), (), (), {}, "")
        write_profile(place, SimpleNamespace(version=version), candidate, snapshot, judgement)

    name = place.settings.project.name
    own = [load_profile(place.engine, place.objects, name, version) for version in (1, 2)]
    origins = [load_origin(place.engine, place.objects, name, version) for version in (1, 2)]
    assert origins[0].to_bytes() == own[0].to_bytes()
    assert (own[1].images, origins[1].images, origins[1].version) == (60, 45, 2)
    assert set(own[1].columns["camera"].values) == {"A", "B"}
    assert set(origins[1].columns["camera"].values) == {"A"}
    assert np.allclose(origins[1].plain.embedding, own[1].plain.embedding[:45])
