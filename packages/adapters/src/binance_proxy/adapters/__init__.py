"""How the ports are served: one folder a technology, each an optional extra."""
