"""Images varied afresh each time they are seen."""
