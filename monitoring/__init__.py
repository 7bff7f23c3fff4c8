"""The world now, held against the world the champion was trained on."""
