"""A fleet over a StatefulSet: its Pods are taken, added and given up by their numbers."""
