"""Trainable modules in a frozen backbone: one file a method."""
