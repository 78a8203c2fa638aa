"""Held-out loss of a tuned model, and its answers to a data set."""
