"""A cache in Valkey, for all processes of a bridge."""
