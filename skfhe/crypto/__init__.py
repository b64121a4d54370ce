"""CKKS: parameters, the backend protocol and its implementations. Knows nothing of privacy."""
