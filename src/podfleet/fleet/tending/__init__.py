"""What the one replica does that tends the fleet: it keeps servers ready."""
