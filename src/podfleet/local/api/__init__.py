"""The HTTP side of the embedded cluster."""
