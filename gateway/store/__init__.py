"""Storage: ports, and adapters for memory and SQLite that keep the same promises."""
