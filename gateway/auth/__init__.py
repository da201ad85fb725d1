"""Authenticates and authorises requests, limits their rate, and audits changes and exports."""
