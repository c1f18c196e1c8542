"""The exchange's bulk files, as a history."""
