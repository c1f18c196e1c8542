"""Events that wait on disk for a store that is away."""
