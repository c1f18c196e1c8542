"""A made-up venue: markets whose trades and books agree, and the faults of a bad line."""
