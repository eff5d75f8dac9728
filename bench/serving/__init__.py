"""What `api_overhead.py` and `api_faults.py` are made of: processes, clients, books, checks."""
