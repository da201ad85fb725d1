"""Inputs and outputs of `towntwin backtest`."""
