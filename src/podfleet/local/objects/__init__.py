"""The objects of the embedded cluster: how they are kept, changed, checked and refused."""
