"""The command `podfleet`: one module for each subcommand. Needs `podfleet[cli]`."""
