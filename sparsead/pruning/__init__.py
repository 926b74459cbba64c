"""Scores (one file for each pruner), masks that meet an exact budget, and their enforcement."""
