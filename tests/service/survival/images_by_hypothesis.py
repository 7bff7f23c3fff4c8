"""Read by schemathesis where it starts: what our description calls bytes are images, or nothing would be answered."""

import schemathesis
from hypothesis import strategies as st

from tests.service.survival.traffic import cards

schemathesis.openapi.format("binary", st.sampled_from([card.data for card in cards(12)]))
