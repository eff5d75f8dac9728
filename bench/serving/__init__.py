"""What `bench/api.py` and `bench/api_faults.py` are made of: processes, clients, books, checks."""
