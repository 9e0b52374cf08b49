"""Walnut's speed, as ratios to named peers and to what the disk and the memory can do."""
