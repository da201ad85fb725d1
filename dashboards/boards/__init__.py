"""Defines the eight dashboards, one for each role: duty officer, water engineer, traffic office, ..."""
