"""Loops: the same call again and again, two calls in turn, answers that say nothing new."""
