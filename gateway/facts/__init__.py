"""Facts: what agents found out, kept where the context of a model cannot lose it (LEDGER.md §7)."""
