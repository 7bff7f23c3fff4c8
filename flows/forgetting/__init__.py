"""What must be done to forget one prediction, place by place; `flows.forget` says in which order."""
