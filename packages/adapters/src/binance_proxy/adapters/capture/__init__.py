"""Recorded raw frames in files, played as a feed."""
