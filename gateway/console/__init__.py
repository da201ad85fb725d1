"""Operators' web console (NiceGUI): map, open anomalies, series with expected bands, platform health."""
