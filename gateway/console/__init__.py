"""The console: the town as a live picture, what is wrong, a series with its band; Chinese and English."""
