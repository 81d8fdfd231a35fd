"""What must not reach an agent, a log or the ledger is taken out here."""
