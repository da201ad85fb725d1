"""What months are measured by: water classes, trophic state, congestion, rates, the index. Numbers only."""
