"""Runs the periodic analytics tasks on the store; also network state, backtests and monthly reports."""
