"""Scores (one file a pruner), masks of an exact budget, and their enforcement."""
