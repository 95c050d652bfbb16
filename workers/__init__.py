"""Runs a pack of trials on one warm backbone. No ray."""
