"""`kedge backtest`: the log replayed under several policies, so that none is switched on blind."""
