"""How right the answers probably are where nobody has said so yet, and how a few asked labels correct that."""
