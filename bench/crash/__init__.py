"""What `crash_matrix.py` is made of: the world outside, a child that is killed, disks that fail."""
