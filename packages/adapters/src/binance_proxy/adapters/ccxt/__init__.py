"""Any exchange that ccxt knows."""
