"""How the Pods of the embedded cluster are reached."""
