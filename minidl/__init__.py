"""minidl: a readable neural-network engine on NumPy."""
