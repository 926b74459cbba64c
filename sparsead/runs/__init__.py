"""What is known of a run without torch: its identity and its record on disk."""
