"""How right the answers are once labels come: over time, calibration, and how complete the labels are."""
