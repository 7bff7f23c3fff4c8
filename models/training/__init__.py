"""The training job: staged fine-tuning in a run directory that needs nothing outside itself."""
