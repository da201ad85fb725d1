"""Who may come in, how far they see, and what is kept of what they did."""
