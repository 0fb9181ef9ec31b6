"""What is measured of ours, one file each; the original runs the same files."""
