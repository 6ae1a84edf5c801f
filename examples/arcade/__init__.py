"""A web game whose every match is a Pod of its own, dialed directly by the players' browsers."""
