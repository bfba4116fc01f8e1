"""Networks: their records, addresses, live files, and ``engine.networks``."""
