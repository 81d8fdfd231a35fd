"""Budgets: how much agents may use up, of what, in which time (LEDGER.md §7)."""
