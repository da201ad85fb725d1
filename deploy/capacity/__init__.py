"""Calculates what a number of devices needs: processors, memory, disk, and which limit comes next."""
