"""Implements `towntwin backtest`: loads histories and labels, judges, and writes results and plots."""
