"""What makes the embedded cluster's objects come true, but for running Pods."""
