"""How every champion came to be: trigger, job, gate, rollout, promotion; read from rows, with the ledger's proof."""
