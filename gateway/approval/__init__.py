"""Approvals: a refused call becomes a question to people, and their consent is good for exactly that call, once."""
