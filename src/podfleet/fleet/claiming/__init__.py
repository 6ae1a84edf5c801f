"""From a free server to a caller's own, and back: the claim, and what goes before and after it.

`protocol` says what to ask of the cluster next and holds no I/O; `allocation` and `claims` carry it
out. What a claim is stands in `claim`, where sessions meet in `registration`.
"""
