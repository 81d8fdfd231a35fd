"""The reference server: everything the conformance scenarios call by name, in both eras of the protocol.

Every tool that needs something from the client is written once (see `asking`), so that it exists in both eras: as a
request to the client in 2025-11-25, as an `input_required` result in 2026-07-28.
"""
