"""What a call leaves behind: its step key, its record, and the answers to who did what, on whose authority."""
