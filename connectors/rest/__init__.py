"""What every connector to an HTTP API shares: settings, placing of arguments, the exchange, the reading of answers."""
