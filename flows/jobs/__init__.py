"""Training jobs as flows and people deal with them: what is retried, how a job is told of, and its pages in Prefect."""
