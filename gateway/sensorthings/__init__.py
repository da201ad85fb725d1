"""Read-only OGC SensorThings API 1.1 (OGC 18-088): paths, query options, filters, paging, rendering."""
