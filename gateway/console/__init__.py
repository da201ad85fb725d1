"""The operators' console: map, open anomalies, series with expected bands, platform health."""
