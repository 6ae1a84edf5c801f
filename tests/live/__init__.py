"""What podfleet does on a real cluster."""
