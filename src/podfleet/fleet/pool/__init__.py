"""Which servers are free, in which order they are taken, and who waits for one."""
