"""The embedded cluster's nodes: how a Pod becomes a process of this machine."""
