"""Trainable modules in a frozen backbone: one file for each method."""
