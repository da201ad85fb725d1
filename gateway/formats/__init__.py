"""Response and upload formats: negotiation, JSON, CSV, Parquet, Arrow, plots."""
