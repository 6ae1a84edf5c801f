"""What the one replica does that tends the fleet: servers are made, and those of no use removed."""
