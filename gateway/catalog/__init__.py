"""The tools agents may name, with pinned, versioned schemas."""
