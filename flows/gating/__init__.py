"""The gate's surroundings: which images judge, against whom, what is still to be labelled, and how a decision looks."""
