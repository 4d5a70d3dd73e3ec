"""What every room may use: errors, configuration, statistics, the run folder and its ledger. Knows no torch."""
