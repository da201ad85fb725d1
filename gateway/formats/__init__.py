"""Response and upload formats: content negotiation, JSON, CSV, Parquet, Arrow, NGSI-LD, downsampled plots."""
