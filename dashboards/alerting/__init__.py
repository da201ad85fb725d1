"""Alerting as code: rules, contact points, and the way from one to the other."""
