from dataclasses import replace

import numpy as np

from infra import schema
from infra.clock import now
from monitoring.blocks.rows import load_origin
from monitoring.reference.profile import load_profile, save_profile
from tests.monitoring.birds import bird_profile


def test_a_profile_may_be_its_own_origin_or_have_another_beside_it(open_station):
    place = open_station().place
    first, second, older = bird_profile(11), bird_profile(12), bird_profile(12, cameras="A")

    save_profile(place.engine, place.objects, place.name, first, first)
    save_profile(place.engine, place.objects, place.name, second, older)

    origins = [load_origin(place.engine, place.objects, place.name, version) for version in (11, 12)]
    assert np.array_equal(
        origins[0].batch.embedding, load_profile(place.engine, place.objects, place.name, 11).batch.embedding
    )
    assert set(origins[1].columns["camera"].values) == {"A"}


def test_a_profile_that_forgets_an_image_keeps_its_origin_and_that_it_was_accepted(open_station):
    place = open_station().place
    profile = bird_profile(11)
    save_profile(place.engine, place.objects, place.name, profile, bird_profile(11, cameras="A"))
    mine = schema.profiles.c.version == 11
    with place.engine.begin() as connection:
        connection.execute(schema.profiles.update().where(mine).values(accepted_at=now()))

    save_profile(place.engine, place.objects, place.name, replace(profile, judged_errors={}))

    with place.engine.begin() as connection:
        row = connection.execute(schema.profiles.select().where(mine)).mappings().one()
    assert row["accepted_at"] is not None
    assert set(load_origin(place.engine, place.objects, place.name, 11).columns["camera"].values) == {"A"}
