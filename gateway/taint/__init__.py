"""What agents have read, as labels that follow them (SECURITY.md §4)."""
