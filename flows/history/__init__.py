"""Looking back: the ledger and its proofs, the line of champions, and why a prediction was answered as it was."""
