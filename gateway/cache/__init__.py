"""Answers of reads, kept for a while."""
