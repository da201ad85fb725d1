"""What `towntwin backtest` reads and writes."""
