"""Defines the Grafana alert rules, contact points and notification policy."""
