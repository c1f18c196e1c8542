"""Answers to whoever asks: what is stored, and how it is now."""
